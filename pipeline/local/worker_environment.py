"""Environment variables of the processes that executors run in."""

from __future__ import annotations

from collections.abc import Mapping

WORKER_ENVIRONMENT: Mapping[str, str] = {
    "TF_CPP_MIN_LOG_LEVEL": "1",
    # Vocabularies and hashes must not depend on the process they were made in.
    "PYTHONHASHSEED": "0",
    # Some containers forbid Python to keep compiled modules, which makes every import of TensorFlow ten seconds longer.
    "PYTHONDONTWRITEBYTECODE": "",
    # Training allocates and frees the same large tensors at every step. By default each goes back to the kernel and comes anew as
    # zeroed pages; keeping them took a third off the training time of the default pipeline.
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
}
