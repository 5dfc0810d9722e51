"""Serving: an embedded server that honours TensorFlow Serving's contract, a client for both, and manifests for the real one."""
