"""Gates that could not say anything stop a run before it trains."""

import json
import shutil

import pytest

from tests.conftest import parlance, run_arguments

pytestmark = pytest.mark.end_to_end

NOTHING = (
    "evaluation.gates=["
    "{metric: accuracy, min: 0.5, slices: {language: fr}}, "
    "{metric: recall, class: HassTurnOff, min: 0.5, slices: {language: de}}, "
    "{metric: recall, class: HassTurnUp, min: 0.5}]"
)


def test_a_slice_or_a_class_that_does_not_exist_is_an_error_before_training(shared_run, tmp_path):
    shutil.copytree(shared_run.root / "runs", tmp_path / "runs")
    shutil.copy(shared_run.root / "metadata.db", tmp_path)
    shown = parlance(*run_arguments(tmp_path, "--set", NOTHING, "--output", "json"))
    assert shown.returncode == 2
    record = json.loads(shown.stdout)
    states = {node["id"]: node["state"] for node in record["nodes"]}
    assert (states["DataGate"], states["Transform"], states["Trainer"]) == ("failed", "cached", "skipped")
    assert record["error"].splitlines() == [
        "evaluation.gates[0]: no test row has language=fr; one of: de, en, es",
        "evaluation.gates[2]: there is no class 'HassTurnUp'; did you mean 'HassTurnOn'?",
    ]
