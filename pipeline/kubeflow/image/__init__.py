"""The container image of Kubeflow's steps, and what builds it."""
