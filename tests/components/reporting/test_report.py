from __future__ import annotations

import collections
import functools
import html.parser
import re

import pytest

from components.reporting.confusion import FULL_MATRIX_CLASSES
from components.reporting.report import ReportData, render
from tests.components.reporting import runs

MEGABYTE = 1_000_000
SAMPLES = {
    "blessed": runs.intents,
    "two classes, first run": runs.taxi,
    "150 classes": lambda: runs.intents(150),
    "failed": runs.failed,
    "data rejected": runs.rejected_data,
    "model rejected": runs.rejected_model,
    "huge": runs.huge,
    "largest full matrix": lambda: runs.huge(FULL_MATRIX_CLASSES),
    "nothing": ReportData,
}
_VOID = {"meta", "br", "path", "link", "img"}


@functools.cache
def rendered(sample):
    return render(SAMPLES[sample]())


class _Page(html.parser.HTMLParser):
    """Checks that elements nest, and collects what tests ask about."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.elements: collections.Counter[str] = collections.Counter()
        self.addresses: list[str] = []
        self.headings: list[int] = []
        self.ids: set[str] = set()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements[tag] += 1
        values = dict(attrs)
        self.ids |= {values["id"]} if "id" in values else set()
        self.addresses += [values[name] for name in ("href", "src", "action") if name in values]
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements[tag] += 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def text_of(page: str) -> str:
    """The page without tags, white space folded."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", page, flags=re.S)))


@pytest.mark.parametrize("sample", SAMPLES)
class TestEveryReport:
    def test_is_well_formed_and_stands_alone(self, sample):
        text = rendered(sample)
        page = _Page(text)
        assert page.elements["script"] == page.elements["link"] == page.elements["img"] == 0
        assert all(address.startswith("#") and address[1:] in page.ids for address in page.addresses)
        assert "url(" not in text
        assert "@import" not in text

    def test_has_one_title_and_captioned_tables(self, sample):
        page = _Page(rendered(sample))
        assert page.headings.count(1) == 1
        assert all(deeper - level <= 1 for level, deeper in zip(page.headings, page.headings[1:], strict=False))
        assert page.elements["caption"] == page.elements["table"]

    def test_is_small(self, sample):
        assert len(rendered(sample).encode()) < 2 * MEGABYTE


class TestWhatTheReportSays:
    def test_begins_with_the_verdict_and_the_accuracy_beside_baseline_and_majority(self):
        text = text_of(render(runs.intents()))
        assert "Blessed and pushed" in text
        assert "Version 1795000000 is ready to serve." in text
        told = "Accuracy on 6,012 test rows 0.910 this model 0.910 baseline 0.887 , a change of +0.023 always “HassTurnOn” 0.080"
        assert told in text

    def test_says_that_a_first_run_has_no_baseline(self):
        assert "no baseline: no model was blessed before this run" in text_of(render(runs.taxi()))

    def test_a_failed_run_begins_with_what_went_wrong(self):
        text = text_of(render(runs.failed()))
        assert text.index("Failed in ExampleGen") < text.index("no file matches messages.csv") < text.index("What ran")
        assert "Give a file, a folder or a glob" in text
        assert "ingested data, column statistics, metrics" in text

    def test_rejected_data_is_decided_before_anything_else_is_told(self):
        text = text_of(render(runs.rejected_data()))
        assert "Data rejected" in text
        assert text.index("Checks of the data: 2 failed") < text.index("What ran")

    def test_a_rejected_model_says_which_rule(self):
        text = text_of(render(runs.rejected_model()))
        assert "Model rejected Accuracy on all test rows is 0.7400, must be at least 0.76" in text

    def test_says_what_it_leaves_out(self):
        text = text_of(render(runs.huge()))
        assert "950 slices left out" in text
        assert "250 columns left out" in text
        assert "176 classes with fewer or smaller confusions left out" in text

    def test_lineage_is_below_one_folder(self):
        text = text_of(render(runs.intents()))
        assert "Below /home/someone/project/.parlance/pipelines/intents/" in text
        assert " ExampleGen/examples/2 " in text

    def test_labels_unseen_in_training_have_a_row(self):
        whole = runs.taxi()
        whole.metrics["candidate"]["confusion"].append([2, 0, 5])
        assert "(unseen in training)" in render(whole)


class TestWhatTheReportMustNotHold:
    HOSTILE = "<script>alert(1)</script>\"'&"

    def test_names_and_messages_are_escaped(self):
        hostile = self.HOSTILE
        page = render(
            ReportData(
                record={"run_id": hostile, "pipeline": hostile, "state": "failed", "error": hostile, "nodes": [
                    {"id": hostile, "state": "failed", "seconds": 1.0, "summary": {hostile: hostile}}]},
                metrics={
                    "classes": [hostile, "b"],
                    "train_majority_class": hostile,
                    "candidate": {"slices": [{"slice": {}, "n": 4, "metrics": {"accuracy": 0.5}},
                                             {"slice": {hostile: hostile}, "n": 4, "metrics": {"accuracy": 0.5}}],
                                  "confusion": [[0, 1, 2], [1, 1, 2]]},
                    "per_class": [{"class": hostile, "n": 2, "precision": 0.0, "recall": 0.0, "f1": 0.0}],
                },
                statistics={"train": {"rows": 4, "features": [
                    {"name": hostile, "type": "categorical", "missing": 0.0, "unique": 1, "top": [[hostile, 9]]}]}},
                ingestion={"rows": {"train": 4}, "quarantine_reasons": {hostile: 1}, "labels": {"train": {hostile: 4}},
                           "segments": {hostile: {hostile: 4}}, "fingerprint": hostile},
                findings=[{"check": hostile, "severity": "warning", "message": hostile, "subject": hostile}],
                config={hostile: hostile},
                versions={hostile: hostile},
                lineage=[{"node": hostile, "inputs": [hostile], "outputs": [], "execution_id": 1, "state": "failed"}],
            )
        )  # fmt: skip
        _Page(page)
        assert "<script" not in page
        assert "&lt;script&gt;" in page

    def test_values_of_text_columns_stay_out_even_if_statistics_hold_some(self):
        feature = {"name": "text", "type": "text", "missing": 0.0, "unique": 2, "avg_length": 9.0, "top": [["my name is Ann", 7]]}
        assert "Ann" not in render(ReportData(statistics={"train": {"rows": 9, "features": [feature]}}))

    def test_passwords_in_addresses_are_hidden(self):
        page = render(ReportData(config={"data": {"source": {"uri": "mongodb://reader:s3cret@db.example/messages"}}}))
        assert "s3cret" not in page
        assert "mongodb://reader:***@db.example/messages" in page


class TestMissingValues:
    @pytest.mark.parametrize("value", [None, float("nan")])
    def test_a_metric_without_a_value_is_a_dash(self, value):
        whole = runs.taxi()
        for row in whole.metrics["candidate"]["slices"]:
            row["metrics"] = dict.fromkeys(row["metrics"], value)
        page = render(whole)
        assert "nan" not in text_of(page)
        assert "Accuracy on 3,000 test rows – " in text_of(page)
        assert "nan%" not in page
