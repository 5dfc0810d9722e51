"""What a run leaves in its folder for people to read."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import pytest

from components.reporting import slice_pages
from pipeline import config as config_module
from pipeline import record
from tests.components.reporting import runs

RUN = "intents-20261121-101500-3fa2"


@dataclasses.dataclass(frozen=True)
class Launched:
    """A node that ran, as the launcher tells it."""

    state: str
    execution_id: int
    inputs: dict
    outputs: dict


@pytest.fixture(scope="module")
def pipeline_config():
    return config_module.load(config_module.DEFAULT)


@pytest.fixture
def close(tmp_path, pipeline_config):
    """Closes a run whose evaluator wrote the given files, by name."""

    def closed(smoke_test=None, **files):
        evaluation, folder = tmp_path / "evaluation", tmp_path / "run"
        evaluation.mkdir()
        folder.mkdir()
        for name, content in files.items():
            (evaluation / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
        launched = {"Evaluator": Launched("complete", 9, {}, {"evaluation": [str(evaluation)]})} if files else {}
        if smoke_test:
            (tmp_path / "blessing").mkdir()
            (tmp_path / "blessing" / "smoke_test.json").write_text(json.dumps(smoke_test), encoding="utf-8")
            launched["InfraValidator"] = Launched("complete", 10, {}, {"blessing": [str(tmp_path / "blessing")]})
        nodes = [{"id": "Evaluator", "state": "complete", "seconds": 1.0, "summary": {}, "execution_id": 9}] if files else []
        return record.close(RUN, pipeline_config, folder, nodes, launched, None, 1.0, 100.0)

    return closed


@pytest.fixture
def evaluated():
    data = runs.intents()
    return {"metrics": data.metrics, "confusion": data.confusion, "verdict": data.verdict}


class TestReport:
    def test_has_verdict_fairness_and_the_interactive_matrix(self, close, evaluated):
        page = pathlib.Path(close(**evaluated)["report"]).read_text(encoding="utf-8")
        assert 'id="fairness"' in page
        assert 'id="explorer-data"' in page

    def test_every_link_leads_to_a_file(self, close, evaluated):
        report = pathlib.Path(close(**evaluated)["report"])
        links = [part.split('"')[0] for part in report.read_text(encoding="utf-8").split('href="slices/')[1:]]
        assert len(links) > 10
        assert all((report.parent / "slices" / link).is_file() for link in links)


class TestPagesOfValues:
    def test_are_below_the_runs_folder_with_an_index(self, close, evaluated):
        written = close(**evaluated)
        index = pathlib.Path(written["slices"])
        assert index.relative_to(pathlib.Path(written["report"]).parent).as_posix() == slice_pages.INDEX
        assert (index.parent / "language" / "ru.html").is_file()
        assert not (index.parent / "language" / "zh-cn.html").exists()

    def test_name_the_run_and_the_day_but_not_the_machine(self, close, evaluated):
        written = close(**evaluated)
        page = (pathlib.Path(written["slices"]).parent / "language" / "ru.html").read_text(encoding="utf-8")
        assert RUN in page
        assert "measured " in page
        assert str(pathlib.Path(written["slices"]).parent) not in page

    def test_are_none_for_a_run_without_segments(self, close, evaluated):
        evaluated["metrics"]["segments"] = []
        written = close(**evaluated)
        assert written["slices"] is None
        assert not (pathlib.Path(written["report"]).parent / "slices").exists()

    def test_are_none_for_a_run_that_measured_nothing(self, close):
        assert close()["slices"] is None


class TestSmokeTest:
    CHECK = {
        "check": "smoke test: p99 of a request", "rule": "smoke test: p99 of a request", "severity": "error", "outcome": "fail",
        "message": "p99 is 300 ms", "reason": "p99 is 300 ms", "subject": "", "slice": {}, "n": None, "value": 300.0,
        "interval": None, "limit": "<= 250 ms", "expected": "<= 250 ms", "observed": "300",
    }  # fmt: skip
    RESULT = {"state": "failed", "summary": "failed: p99 of a request", "rows": 64, "findings": [CHECK], "request": [], "log": []}

    def test_that_failed_rejects_a_model_the_gate_blessed(self, close, evaluated):
        written = close(**evaluated, smoke_test=self.RESULT)
        assert evaluated["verdict"]["blessed"]
        assert (written["state"], written["verdict"]["blessed"]) == ("rejected", False)
        assert written["verdict"]["findings"] == [*evaluated["verdict"]["findings"], self.CHECK]
        assert written["smoke_test"] == self.RESULT
        page = pathlib.Path(written["report"]).read_text(encoding="utf-8")
        assert "P99 is 300 ms. The model was not released." in page

    def test_that_passed_changes_nothing_but_adds_its_checks(self, close, evaluated):
        passed = {**self.CHECK, "severity": "info", "outcome": "pass"}
        written = close(**evaluated, smoke_test={**self.RESULT, "state": "passed", "findings": [passed]})
        assert (written["state"], written["verdict"]["blessed"]) == ("succeeded", True)
        assert passed in written["verdict"]["findings"]

    def test_that_was_skipped_leaves_the_gates_no(self, close, evaluated):
        skipped = {"state": "skipped", "summary": "skipped", "findings": [], "request": [], "log": []}
        written = close(**{**evaluated, "verdict": {**evaluated["verdict"], "blessed": False}}, smoke_test=skipped)
        assert (written["state"], written["smoke_test"]["state"]) == ("rejected", "skipped")

    def test_a_run_that_did_not_get_there_has_none(self, close, evaluated):
        written = close(**evaluated)
        assert written["smoke_test"] is None
        assert 'id="smoke-test"' not in pathlib.Path(written["report"]).read_text(encoding="utf-8")


class TestData:
    MANIFEST = {
        "source": {"type": "csv", "path": "t.csv"},
        "span": 3,
        "paths": ["/data/t-3.csv"],
        "splits": {"train": {"rows": 8, "fingerprint": "ab"}},
        "schema": "feature {}",
    }

    def test_the_manifest_is_kept_with_the_run_where_it_outlives_the_examples(self, tmp_path, pipeline_config):
        examples, folder = tmp_path / "examples", tmp_path / "run"
        examples.mkdir()
        folder.mkdir()
        (examples / "manifest.json").write_text(json.dumps(self.MANIFEST), encoding="utf-8")
        launched = {"ExampleGen": Launched("complete", 2, {}, {"examples": [str(examples)]})}
        written = record.close(RUN, pipeline_config, folder, [], launched, None, 1.0, 100.0)
        assert written["data"] == {name: self.MANIFEST[name] for name in ("source", "span", "splits")}
        kept = json.loads((folder / "data.json").read_text(encoding="utf-8"))
        assert kept == {**self.MANIFEST, "examples": str(examples)}

    def test_a_run_without_examples_has_none(self, close, tmp_path):
        assert close()["data"] is None
        assert not (tmp_path / "run" / "data.json").exists()


class TestDataGate:
    def test_its_comparisons_are_in_the_report_and_its_warnings_in_the_record(self, tmp_path, pipeline_config):
        gate, folder = tmp_path / "gate", tmp_path / "run"
        gate.mkdir()
        folder.mkdir()
        warning = {"check": "drift", "severity": "warning", "message": "m", "subject": "fare", "expected": "", "observed": ""}
        (gate / "findings.json").write_text(json.dumps([warning, {**warning, "severity": "info"}]), encoding="utf-8")
        comparison = {"against": "the previous data", "kind": "drift", "rows": [8, 9], "columns": []}
        (gate / "drift.json").write_text(json.dumps([comparison]), encoding="utf-8")
        launched = {"DataGate": Launched("complete", 5, {}, {"verdict": [str(gate)]})}
        written = record.close(RUN, pipeline_config, folder, [], launched, None, 1.0, 100.0)
        assert written["data_findings"] == [warning]
        page = pathlib.Path(written["report"]).read_text(encoding="utf-8")
        assert "Drift: 9 rows of this run beside the previous data (8 rows)" in page

    @pytest.mark.parametrize(
        ("outputs", "words"),
        [
            ({}, "nothing yet"),
            ({"training": ["a"], "previous": []}, "the training data of the current model"),
            ({"training": ["a"], "previous": ["b"]}, "the training data of the current model and the previous data"),
        ],
    )
    def test_a_run_says_what_its_data_is_compared_with(self, outputs, words):
        entry = record.node_entry("BaselineStatistics", Launched("complete", 4, {}, outputs), 0.1, None)
        assert entry["summary"] == {"to compare with": words}
