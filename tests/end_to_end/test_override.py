"""A model that the gate rejected and somebody released all the same."""

import json
import pathlib
import shutil

import pytest

from components.release import push
from tests.conftest import parlance, run_arguments

pytestmark = pytest.mark.end_to_end

IMPOSSIBLE = "evaluation.gates=[{metric: accuracy, min: 0.999}]"
REASON = "the model in production answers nothing since the migration"


@pytest.fixture
def root(shared_run, tmp_path):
    """A root that knows what the shared run made, without being its root: metadata and records are copied, artifacts are not."""
    copy = tmp_path / "root"
    shutil.copytree(shared_run.root / "runs", copy / "runs")
    shutil.copy(shared_run.root / "metadata.db", copy)
    return copy


def run(root, *settings):
    shown = parlance(*run_arguments(root, "--output", "json", *settings))
    return json.loads(shown.stdout)


def baseline(record):
    [node] = [node for node in record["nodes"] if node["id"] == "LatestBlessedModel"]
    return node["summary"]["baseline"]


def test_a_rejected_model_is_released_with_a_reason_and_becomes_the_baseline(root):
    # The shared run's own model is no yardstick for itself.
    assert baseline(run(root, "--to", "LatestBlessedModel")) == "none yet"
    rejected = run(root, "--set", "model.epochs=1", "--set", IMPOSSIBLE)
    assert rejected["state"] == "rejected"

    shown = parlance("gate", rejected["run_id"], "--override", "--reason", REASON, "--root", root, "--output", "json")
    assert shown.returncode == 0, shown.stderr
    released = json.loads(shown.stdout)
    version = pathlib.Path(released["pushed"]["path"])
    assert version.parent == root / "serving" / "intents"
    assert push.verify(version) == []
    manifest = json.loads((version / push.MANIFEST).read_text())
    assert manifest["override"] == released["override"]
    assert manifest["override"]["reason"] == REASON
    assert manifest["override"]["failed"] == ["accuracy >= 0.999"]

    shown = parlance("show", rejected["run_id"], "--root", root)
    assert f"released by override of {manifest['override']['by']}" in shown.stdout
    assert parlance("gate", rejected["run_id"], "--root", root).returncode == 1
    again = parlance("gate", rejected["run_id"], "--override", "--reason", REASON, "--root", root)
    assert again.returncode == 2
    assert "released by override already" in again.stderr
    assert baseline(run(root, "--to", "LatestBlessedModel")) == "the last blessed model"
