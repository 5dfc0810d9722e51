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

    def closed(**files):
        evaluation, folder = tmp_path / "evaluation", tmp_path / "run"
        evaluation.mkdir()
        folder.mkdir()
        for name, content in files.items():
            (evaluation / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
        launched = {"Evaluator": Launched("complete", 9, {}, {"evaluation": [str(evaluation)]})} if files else {}
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
