"""The same pipeline on Kubeflow Pipelines: compiled to a package whose every task launches one node of it."""
