from __future__ import annotations

import base64
import collections
import dataclasses
import functools
import hashlib
import html.parser
import json
import re

import pytest

from components.reporting.confusion import EXPLORER_BYTES, FULL_MATRIX_CLASSES
from components.reporting.report import ReportData, render
from tests.components.reporting import runs

MEGABYTE = 1_000_000
SAMPLES = {
    "blessed": runs.intents,
    "two classes, first run": runs.taxi,
    "baseline with other labels": runs.other_labels,
    "150 classes, 40 slices": runs.many_slices,
    "hostile names": runs.hostile,
    "without values": runs.without_values,
    "failed": runs.failed,
    "data rejected": runs.rejected_data,
    "model rejected": runs.rejected_model,
    "huge": runs.huge,
    "largest full matrix": lambda: runs.huge(FULL_MATRIX_CLASSES),
    "nothing": ReportData,
}
_VOID = {"meta", "br", "path", "link", "img", "input"}


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
        self.scripts: list[tuple[str | None, str]] = []
        self.policy = ""
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
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"]
        if tag == "script":
            self.scripts.append((values.get("type"), ""))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            kind, before = self.scripts[-1]
            self.scripts[-1] = kind, before + data

    def handle_startendtag(self, tag, attrs):
        self.elements[tag] += 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def text_of(page: str) -> str:
    """The page without tags, white space folded."""
    shown = re.sub(r"<(style|script)\b.*?</\1>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", shown))


def _digest(text):
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@pytest.mark.parametrize("sample", SAMPLES)
class TestEveryReport:
    def test_is_well_formed_and_stands_alone(self, sample):
        text = rendered(sample)
        page = _Page(text)
        assert page.elements["link"] == page.elements["img"] == page.elements["iframe"] == page.elements["form"] == 0
        beside = {address for address in page.addresses if not address.startswith("#")}
        assert all(re.fullmatch(r"slices/[a-z0-9/_-]+\.html", address) for address in beside)
        assert {address[1:] for address in page.addresses if address not in beside} <= page.ids
        assert "url(" not in text
        assert "@import" not in text

    def test_runs_only_the_one_script_its_policy_names(self, sample):
        page = _Page(rendered(sample))
        running = [text for kind, text in page.scripts if kind != "application/json"]
        named = re.findall(r"script-src ([^;]*)", page.policy)
        assert named == [f"'sha256-{_digest(text)}'" for text in running]
        assert len(running) == len(page.scripts) / 2 <= 1
        assert "default-src 'none'" in page.policy

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
        told = (
            "Accuracy on 6,012 test rows 0.880 0.871 to 0.888 this model 0.880 baseline 0.863 , a change of +0.017 (+0.003 to +0.031) "
            "always “HassTurnOn” 0.102"
        )
        assert told in text
        assert "Worst language ru 0.778" in text

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
        assert re.search(r"Model rejected Accuracy on [\w =]+ is 0\.\d+, must be at least 0\.76 .*this is the first", text)
        assert text.index("✕ failed") < text.index("! warning") < text.index("✓ passed")

    def test_fairness_has_gap_and_ratio_with_intervals_and_both_ends(self):
        text = text_of(render(runs.intents()))
        told = "Accuracy by language Gap 0.168 0.128 to 0.198 Ratio 0.822 0.782 to 0.862 Worst: ru 0.778 676 rows Best: fr 0.946 167 rows"
        assert told in text

    def test_small_slices_are_named_and_set_apart(self):
        text = text_of(render(runs.intents()))
        assert "1 slice too small to judge: fewer than 100 rows" in text
        assert "zh-CN too small 39" in text

    def test_says_on_what_models_with_other_labels_are_compared(self):
        text = text_of(render(runs.other_labels()))
        assert "whose label both know, without “HassLegacyScene”, “HassLegacyScript”." in text

    def test_says_that_rows_have_weights(self):
        whole = runs.taxi()
        whole.metrics["weight"] = "fare"
        assert "Every row counts as much as its fare says." in text_of(render(whole))

    def test_says_that_there_are_no_intervals(self):
        assert "No intervals were computed" in text_of(render(runs.intents(replicates=0)))

    def test_shows_the_notes_and_why_a_baseline_was_not_compared(self):
        whole = runs.taxi()
        whole.metrics["baseline_problem"] = "its columns are gone"
        whole.metrics["notes"] = ["three rows are odd"]
        text = text_of(render(whole))
        assert "Not compared with the last blessed model: its columns are gone" in text
        assert "Three rows are odd" in text

    def test_two_classes_have_roc_and_precision_recall(self):
        assert {"ROC", "Precision and recall"} <= set(re.findall(r"<figcaption><h3>(.*?)</h3>", render(runs.taxi())))
        assert "ROC" not in text_of(render(runs.intents()))

    def test_says_what_it_leaves_out(self):
        text = text_of(rendered("huge"))
        assert "slices left out" in text
        assert "250 columns left out" in text
        assert "200 classes with the fewest confusions are not shown one by one" in text
        assert re.search(r"the \d+ slices with the fewest rows are not among the choices", text)
        assert "376 classes with fewer or smaller confusions left out" in text

    def test_the_matrix_without_script_is_there(self):
        page = render(runs.intents())
        static = page[page.index("<div data-static>") :]
        assert "The most frequent confusions" in static
        assert '<table class="matrix' in static

    def test_links_each_large_value_to_its_page(self):
        page = render(runs.intents())
        assert '<a href="slices/language/ru.html">ru</a>' in page
        assert "slices/language/zh-cn" not in page

    def test_lineage_is_below_one_folder(self):
        text = text_of(render(runs.intents()))
        assert "Below /home/someone/project/.parlance/pipelines/intents/" in text
        assert " ExampleGen/examples/2 " in text

    def test_personal_data_is_counted_by_kind_column_and_segment(self):
        text = text_of(render(runs.intents()))
        assert "phone hash 401 390 text 401" in text
        assert "Rows with personal data, by segment and kind Segment Value Kind Rows language de phone 390" in text

    def test_labels_unseen_in_training_have_a_row(self):
        assert "(unseen in training)" in text_of(render(runs.taxi()))

    def test_the_matrix_keeps_to_its_budget(self):
        data = next(text for kind, text in _Page(rendered("huge")).scripts if kind == "application/json")
        assert EXPLORER_BYTES / 2 < len(data.encode()) <= EXPLORER_BYTES
        assert len(json.loads(data)["labels"]) == 200


class TestSmokeTest:
    PASSED = {
        "state": "passed", "summary": "passed: 64 rows by gRPC and REST", "rows": 64, "max_score_difference": 2.98e-8,
        "latency_ms": {"grpc": {"p50": 2.1, "p99": 4.6}, "rest": {"p50": 2.0, "p99": 2.97}}, "load_seconds": 1.24,
        "memory_mib": 1499, "tf_serving": "2.20", "findings": [], "request": [], "log": [],
    }  # fmt: skip

    def page(self, **changes):
        return render(dataclasses.replace(runs.intents(), smoke_test={**self.PASSED, **changes}))

    def test_has_a_section_with_what_was_measured(self):
        page = self.page()
        section = page[page.index('<section id="smoke-test"') :].split("</section>")[0]
        for part in (
            "Passed: 64 rows by gRPC and REST.", ">3.0e-08<", ">2.1 ms, p99 4.6 ms<", ">1.2 s<", ">1,499 MiB<", "TensorFlow Serving 2.20",
        ):  # fmt: skip
            assert part in section
        assert "<pre" not in section
        assert '<a href="#smoke-test">' in page

    def test_of_a_failure_shows_the_request_and_the_servers_last_lines(self):
        request = ["gRPC Predict on serving_default, row 3", "text: text of 5 characters: 'xxxxx'"]
        page = self.page(state="failed", summary="failed: requests answered", request=request, log=["<b>Killed</b>", "bye"])
        section = page[page.index('<section id="smoke-test"') :].split("</section>")[0]
        assert "row 3\ntext: text of 5 characters" in section
        assert "&lt;b&gt;Killed&lt;/b&gt;\nbye" in section

    def test_that_was_skipped_says_so_in_a_sentence(self):
        skipped = {"state": "skipped", "summary": "skipped: the gate said no", "findings": [], "request": [], "log": []}
        page = render(dataclasses.replace(runs.intents(), smoke_test=skipped))
        assert "Skipped: the gate said no." in page


class TestWhatTheReportMustNotHold:
    HOSTILE = "<script>alert(1)</script>\"'&"

    def test_names_and_messages_are_escaped(self):
        hostile = self.HOSTILE
        page = render(
            ReportData(
                record={"run_id": hostile, "pipeline": hostile, "state": "failed", "error": hostile, "nodes": [
                    {"id": hostile, "state": "failed", "seconds": 1.0, "summary": {hostile: hostile}}]},
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

    def test_names_of_classes_and_slices_are_escaped(self):
        page = render(runs.hostile())
        assert "<img" not in page
        assert "window.hacked" in text_of(page)
        assert page.count("<script") == page.count("</script>") == 2
        assert "{{ 7 * 7 }}" in page

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
        whole = runs.without_values()
        for row in whole.metrics["candidate"]["slices"]:
            row["metrics"] = dict.fromkeys(row["metrics"], value)
        page = render(whole)
        assert not re.search(r"\bnan\b|\bNone\b", text_of(page))
        assert "Accuracy on 6,012 test rows – " in text_of(page)
        assert not re.search(r":(nan|None)%", page)

    def test_metrics_without_their_matrices_still_make_a_report(self):
        page = render(dataclasses.replace(runs.intents(), confusion=None))
        assert "Accuracy by language" in text_of(page)
        assert "<script" not in page
        assert "slices/" not in page


def test_the_first_line_says_that_a_run_is_about_a_sample():
    data = runs.intents()
    page = render(dataclasses.replace(data, record={**data.record, "sample": 0.1}))
    assert "10 % sample" in page.partition("<h1>")[0].partition("<header")[2]
    assert " % sample" not in rendered("blessed")
