"""What tests of serving share: small SavedModels, exported once by a process that imports TensorFlow."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest


@pytest.fixture(scope="session")
def saved_models(request) -> pathlib.Path:
    """Folder of the models that export_models.py exports, one folder of versions each. Not to be changed: later sessions reuse it."""
    script = pathlib.Path(__file__).with_name("export_models.py")
    made_by = script.read_bytes() + importlib.metadata.version("tensorflow").encode()
    cache = request.config.cache.mkdir("serving")
    folder = cache / f"models-{hashlib.sha256(made_by).hexdigest()[:16]}"
    if not folder.exists():
        made = pathlib.Path(tempfile.mkdtemp(dir=cache))
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
        shown = subprocess.run(
            [sys.executable, str(script), str(made)], capture_output=True, text=True, check=False, env=environment
        )
        assert shown.returncode == 0, shown.stderr[-4000:]
        try:
            made.rename(folder)
        except OSError:  # another session was faster
            shutil.rmtree(made)
    return folder
