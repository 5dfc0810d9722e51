"""What tests of Kubeflow share: an API in this process, nothing of the machine they run on, and a small pipeline file."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import pytest

from pipeline import config
from tests.pipeline.kubeflow.fake_kfp import FakeKfp

SCHEMA = """
feature { name: "text" type: BYTES presence { min_fraction: 1.0 } }
feature { name: "queue" type: BYTES presence { min_fraction: 1.0 } not_in_environment: "SERVING" }
feature { name: "language" type: BYTES not_in_environment: "SERVING" }
default_environment: "TRAINING"
default_environment: "SERVING"
"""

FILE = """
name: tickets
data:
  source: {{type: csv, path: /parlance/data/tickets.csv}}
  text: text
  label: queue
  segments: [language]
schema: {schema}
evaluation:
  gates: [{{metric: accuracy, above_majority: 0.05}}]
"""


@pytest.fixture
def kfp():
    """An API of Kubeflow Pipelines."""
    with FakeKfp() as fake:
        yield fake


@pytest.fixture
def no_cluster(monkeypatch, tmp_path):
    """No cluster is configured."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (
        "KUBERNETES_SERVICE_HOST", "KUBECONFIG", "KF_PIPELINES_SA_TOKEN_PATH", "KF_PIPELINES_ENDPOINT",
        "PARLANCE_KFP_ENDPOINT", "PARLANCE_KFP_NAMESPACE", "PARLANCE_KFP_TOKEN_FILE", "PARLANCE_KFP_CA_FILE",
    ):  # fmt: skip
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def tickets(tmp_path_factory) -> Callable[..., config.PipelineConfig]:
    """Loads a small pipeline file of text messages with `a.b=value` settings laid over it."""
    folder: pathlib.Path = tmp_path_factory.mktemp("tickets")
    (folder / "schema.pbtxt").write_text(SCHEMA)
    path = folder / "tickets.yaml"
    path.write_text(FILE.format(schema=folder / "schema.pbtxt"))

    def load(*settings: str) -> config.PipelineConfig:
        return config.load(path, settings)

    return load
