"""The notebooks on the shared run: executed in a clean kernel, exported as a page, and read as somebody without network would."""

from __future__ import annotations

import ast
import base64
import functools
import html
import json
import os
import re

import nbclient
import nbconvert
import nbformat
import pytest
from tensorflow_metadata.proto.v0 import statistics_pb2

from pipeline import results
from tests.conftest import PROJECT

NOTEBOOKS = {name: PROJECT / "notebooks" / f"{name}.ipynb" for name in ("data_validation", "model_analysis")}
IMPORTED = "import sys; print(sorted(name for name in sys.modules if name.split('.')[0] == 'tfx'))"
LONGEST_CELL = 14


@functools.cache
def source(name):
    return nbformat.read(NOTEBOOKS[name], as_version=4)


class Executed:
    """A notebook after its execution on the newest run of a root.

    Attributes:
      cells: Its code cells.
      imported: What a last cell, which is not part of the notebook, says about imported modules of TFX.
      page: The notebook as HTML.
      static: The page without scripts, and so without what only scripts would show.
    """

    def __init__(self, name, root, scratch):
        notebook = nbformat.from_dict(source(name))
        notebook.cells.append(nbformat.v4.new_code_cell(IMPORTED))
        environment = {**os.environ, results.ROOT_VARIABLE: str(root), "IPYTHONDIR": str(scratch)}
        client = nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3")
        client.execute(cwd=str(NOTEBOOKS[name].parent), env=environment)
        self.imported = notebook.cells.pop().outputs[0].text.strip()
        self.cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
        self.page, _ = nbconvert.HTMLExporter().from_notebook_node(notebook)
        self.static = re.sub(r"<script\b.*?</script>", "", self.page, flags=re.DOTALL)
        self.pieces = [
            output.data["text/html"]
            for cell in self.cells
            for output in cell.outputs
            if 'class="parlance"' in output.get("data", {}).get("text/html", "")
        ]


@pytest.fixture(scope="module")
def executed(shared_run, tmp_path_factory):
    """Executes a notebook by name, once."""
    return functools.cache(lambda name: Executed(name, shared_run.root, tmp_path_factory.mktemp("ipython")))


@pytest.fixture(scope="module")
def run(shared_run):
    return results.latest("Evaluator", shared_run.root)


@pytest.mark.parametrize("name", NOTEBOOKS)
class TestSource:
    def test_is_stored_without_outputs(self, name):
        for cell in source(name).cells:
            assert not cell.get("outputs")
            assert cell.get("execution_count") is None

    def test_explains_itself_before_every_step(self, name):
        kinds = [cell.cell_type for cell in source(name).cells]
        assert kinds[0] == "markdown"
        assert "code code code" not in " ".join(kinds)

    def test_its_cells_are_short_because_the_logic_is_elsewhere(self, name):
        for cell in source(name).cells:
            if cell.cell_type == "code":
                assert len(cell.source.splitlines()) <= LONGEST_CELL

    def test_it_imports_no_tfx(self, name):
        for cell in source(name).cells:
            nodes = ast.walk(ast.parse(cell.source)) if cell.cell_type == "code" else ()
            modules = [alias.name for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for alias in node.names]
            modules += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
            assert not any(module.split(".")[0] == "tfx" for module in modules)


@pytest.mark.end_to_end
@pytest.mark.parametrize("name", NOTEBOOKS)
class TestExecuted:
    def test_ends_without_errors_warnings_or_tfx(self, executed, name):
        outputs = [output for cell in executed(name).cells for output in cell.outputs]
        assert {output.output_type for output in outputs} <= {"execute_result", "display_data"}
        assert executed(name).imported == "[]"

    def test_every_cell_shows_something(self, executed, name):
        assert all(cell.outputs for cell in executed(name).cells)

    def test_its_pictures_need_neither_script_nor_network(self, executed, name):
        facets = re.compile(r'<details class="own-view">.*</details>', re.DOTALL)
        for piece in executed(name).pieces:
            piece = facets.sub("", piece)
            assert "<script" not in piece
            assert not re.search(r"(src|href)=|url\(|@import", piece)

    def test_no_message_is_in_the_page(self, executed, name, run):
        messages = _messages(run)
        assert len(messages) > 100
        embedded = [base64.b64decode(text) for text in re.findall(r'proto-input="([^"]+)"', executed(name).page)]
        assert len(embedded) == (name == "data_validation")
        for message in messages:
            for form in {message, html.escape(message), json.dumps(message)[1:-1]}:
                assert form not in executed(name).page
            assert not any(message.encode() in data for data in embedded)


@pytest.mark.end_to_end
class TestDataValidation:
    def test_labels_and_segments_are_charted_by_split(self, executed, run):
        counts = run.json("ExampleGen", "examples", "summary.json")["labels"]
        static = executed("data_validation").static
        for label in counts["train"]:
            assert re.search(rf'<svg [^>]*aria-label="{label}: train [^"]*test ', static)
        for language in ("de", "en", "es"):
            assert f'aria-label="{language}: train ' in static

    def test_schema_anomalies_and_findings_are_there(self, executed):
        static = executed("data_validation").static
        for expected in ("Feature name", "No anomalies found", "quarantine", "train against test"):
            assert expected in static


@pytest.mark.end_to_end
class TestModelAnalysis:
    def test_known_numbers_are_in_the_page(self, executed, run):
        metrics = run.json("Evaluator", "evaluation", "metrics.json")
        overall, *slices = metrics["candidate"]["slices"]
        static = executed("model_analysis").static
        # Once as TFMA stored it, once as ours.
        assert static.count(f"<b>{overall['metrics']['accuracy']:.3f}</b>") >= 2
        for row in slices:
            if row["slice"].keys() == {"language"}:
                assert f"<b>{row['metrics']['accuracy']:.3f}</b>" in static
                assert f"language={row['slice']['language']}" in static

    def test_curves_and_dots_are_drawn(self, executed):
        static = executed("model_analysis").static
        for curve in ("Calibration", "Scores of right and wrong answers", "Coverage and accuracy"):
            assert re.search(rf'<svg [^>]*aria-label="{curve}: ', static)
        assert static.count('class="dots') > 10

    def test_verdict_fairness_and_confusions_are_there(self, executed, run):
        static = executed("model_analysis").static
        blessed = run.json("Evaluator", "evaluation", "verdict.json")["blessed"]
        assert ("✓ blessed" in static) == blessed
        for expected in ("Accuracy by language", "Confusion matrix", "The most frequent confusions", "Calibration"):
            assert expected in static

    def test_tfmas_own_views_are_offered(self, executed):
        widgets = [
            output for cell in executed("model_analysis").cells for output in cell.outputs if _WIDGET in output.get("data", {})
        ]
        assert len(widgets) >= 2


_WIDGET = "application/vnd.jupyter.widget-view+json"


def _messages(run):
    """Messages of all splits that TFDV keeps in its statistics, those that cannot be there by chance."""
    found = set()
    for file in run.folder("StatisticsGen", "statistics").glob("Split-*/FeatureStats.pb"):
        statistics = statistics_pb2.DatasetFeatureStatisticsList.FromString(file.read_bytes())
        for feature in statistics.datasets[0].features:
            if feature.path.step[0] in run.config["data"]["text"]:
                found |= {bucket.label for bucket in feature.string_stats.rank_histogram.buckets}
    return {message for message in found if len(message) >= 12 and " " in message}
