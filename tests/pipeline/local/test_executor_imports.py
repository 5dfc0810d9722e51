"""What executors' processes import, and what they leave out."""

import json
import os
import subprocess
import sys

import pytest

from pipeline.local import executor_imports
from tests.conftest import PROJECT

IMPORTING = """
import json, os, sys
os.environ.update(OPENBLAS_NUM_THREADS="1", JE_ARROW_MALLOC_CONF="background_thread:false")
from pipeline.local import executor_imports
seen = list(executor_imports.stages([
    "components.validation.component.StatisticsGenExecutor",
    "components.validation.component.ExampleValidatorExecutor",
    "components.transform.component.TransformExecutor",
    "tfx.components.trainer.executor.GenericExecutor",
    "components.evaluation.component.EvaluatorExecutor",
]))
threads = len(os.listdir("/proc/self/task"))
unwanted = (
    "sklearn", "kubernetes", "docker", "google.cloud.storage", "googleapiclient", "keras_tuner", "pymongo", "tensorboard", "tf_keras",
    "IPython", "nltk", "scipy.optimize",
)
loaded = [name for name in unwanted if name in sys.modules]
import sklearn
from scipy import stats
from tfx.components.example_validator import executor
print(json.dumps({
    "seen": seen,
    "threads": threads,
    "loaded": loaded,
    "sklearn": sklearn.__version__,
    "quantile": float(stats.norm.ppf(0.5)),
}))
"""


@pytest.mark.parametrize(
    ("messages", "asks"),
    [
        ((b"--runner=FnApiRunner", b"uri: /data/pipelines"), False),
        ((b"", b"uri: gs://bucket/pipelines"), True),
        ((b"--runner=DataflowRunner", b""), True),
    ],
)
def test_googles_clients_are_imported_for_who_names_them(messages, asks):
    assert executor_imports.asks_for_cloud(*messages) is asks


@pytest.mark.tensorflow
def test_all_executors_are_there_without_a_second_thread_and_without_what_no_node_uses():
    # What TensorFlow Transform, imported by another test, tells TensorFlow, which would have it import Keras 2.
    environment = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    command = [sys.executable, "-c", IMPORTING]
    shown = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT, env=environment)
    assert shown.returncode == 0, shown.stderr[-2000:]
    facts = json.loads(shown.stdout.splitlines()[-1])
    assert facts["seen"][:3] == ["tensorflow", "apache_beam", "tfx"]
    assert facts["threads"] == 1
    assert facts["loaded"] == []
    # What was absent for a while is there for who wants it.
    assert facts["sklearn"]
    assert facts["quantile"] == 0.0
