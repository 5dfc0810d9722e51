from __future__ import annotations

import datetime
import functools
import json
import pathlib
import re

import pytest

from components.release import model_card
from components.release.options import CardOptions, ReleaseOptions
from components.release.push import MANIFEST, push, verify
from tests.components.reporting import runs

OVERRIDE = {"reason": "the old one is broken", "by": "ann", "at": "2026-11-21T10:00:00+00:00", "failed": ["accuracy >= 0.9"]}
INGESTION = {
    "rows": {"train": 10, "eval": 2, "test": 2},
    "fingerprint": "sha256:7d40",
    "labels": {"train": {"a": 5}, "test": {"b": 1}},
}


def made(sample, options=None, override=None, share=1.0):
    data = sample()
    return model_card.card(
        model={"name": "intents", "version": "1795000000", "run": "intents-20261121-101500-3fa2", "config_sha256": "4be1"},
        date=datetime.date(2026, 11, 21),
        metrics=data.metrics,
        cells=data.confusion,
        judged=data.verdict,
        ingestion={**(data.ingestion or INGESTION), "sample": share},
        columns=["text", "channel"],
        options=options or CardOptions(),
        override=override,
    )


@functools.cache
def intents():
    return made(runs.intents)


def lines(text, heading):
    """The lines of a section, without its heading."""
    _, _, rest = text.partition(f"{heading}\n")
    return rest.partition("\n## ")[0].split("\n")


def test_a_card_of_a_sample_says_so():
    text = model_card.markdown(made(runs.intents, share=0.1))
    assert lines(text, "## Data")[1] == "These are a 10 % sample of the rows there were."
    assert "sample of" not in model_card.markdown(intents())


class TestContent:
    def test_is_plain_json(self):
        assert json.loads(json.dumps(intents(), allow_nan=False)) == intents()

    def test_data(self):
        data = intents()["data"]
        assert data["rows"]["train"] == 48011
        assert data["labels"] == 42
        assert data["columns"] == ["text", "channel"]
        assert data["segments"] == [["language"], ["channel"], ["language", "channel"]]

    def test_metrics_have_intervals_and_the_paired_change(self):
        accuracy = next(row for row in intents()["metrics"]["overall"] if row["metric"] == "accuracy")
        assert accuracy["interval"][0] < accuracy["value"] < accuracy["interval"][1]
        assert accuracy["change"] == pytest.approx(accuracy["value"] - accuracy["baseline"])
        assert accuracy["change_interval"][0] < accuracy["change"]

    def test_groups_are_worst_first_and_small_ones_counted(self):
        language = next(entry for entry in intents()["metrics"]["segments"] if entry["segment"] == "language")
        accuracies = [group["accuracy"] for group in language["groups"]]
        assert accuracies == sorted(accuracies)
        assert language["groups"][0]["value"] == "ru"
        assert language["too_small"] == 1

    def test_many_groups_are_cut_after_the_worst(self):
        [entry] = made(runs.many_slices)["metrics"]["segments"]
        assert len(entry["groups"]) == model_card.GROUPS
        assert len(entry["groups"]) + entry["left_out"] + entry["too_small"] == 40

    def test_fairness_names_both_ends_with_their_size(self):
        entry = next(entry for entry in intents()["fairness"] if entry["segment"] == "language")
        assert (entry["worst"]["value"], entry["best"]["value"]) == ("ru", "fr")
        assert entry["worst"]["rows"] > 100

    def test_the_gate_has_its_failures_first(self):
        gate = made(runs.rejected_model)["gate"]
        assert gate["blessed"] is False
        outcomes = [finding["outcome"] for finding in gate["findings"]]
        assert outcomes == sorted(outcomes)
        assert {"failed", "warning"} == set(outcomes)
        assert gate["override"] is None

    def test_an_override_is_on_it(self):
        assert made(runs.rejected_model, override=OVERRIDE)["gate"]["override"] == OVERRIDE

    def test_limits(self):
        limits = intents()["limits"]
        assert limits["small_slices"] > 0
        assert len(limits["weakest_classes"]) == model_card.WEAKEST_CLASSES
        assert limits["weakest_classes"][0]["f1"] <= limits["weakest_classes"][1]["f1"]
        assert limits["most_confused"][0]["rows"] >= limits["most_confused"][1]["rows"]
        assert limits["abstains"]["threshold"] == 0.62
        assert made(runs.taxi)["limits"]["abstains"] is None

    def test_of_a_model_without_values_has_none(self):
        card = made(runs.without_values)
        assert {row["value"] for row in card["metrics"]["overall"]} == {None}
        assert "nan" not in model_card.markdown(card).lower().split()


class TestMarkdown:
    def test_has_the_sections_of_a_model_card(self):
        headings = [line for line in model_card.markdown(intents()).split("\n") if line.startswith("## ")]
        assert headings == [f"## {name}" for name in ("Intended use", "Data", "Metrics", "Fairness", "Gate", "Limits")]

    def test_says_what_the_pipeline_file_says(self):
        options = CardOptions(
            intended_use="Voice commands at home.", limitations=("No emergencies.",), contact="team@example.org"
        )
        text = model_card.markdown(made(runs.taxi, options=options))
        assert "Voice commands at home." in lines(text, "## Intended use")
        assert "- No emergencies." in lines(text, "## Limits")
        assert "- Contact: team@example.org" in text

    def test_says_what_was_not_stated(self):
        assert "Not stated; `release.card.intended_use`" in model_card.markdown(intents())

    def test_numbers_stand_as_in_the_report(self):
        text = model_card.markdown(intents())
        assert "| Accuracy | 0.880 | 0.871 to 0.888 | 0.863 | +0.017 | +0.003 to +0.031 |" in text
        assert "| Cost per 1,000 messages | 120.4 |" in text
        assert "It abstains below a score of 0.620" in text

    def test_an_override_cannot_be_overlooked(self):
        text = model_card.markdown(made(runs.rejected_model, override=OVERRIDE))
        assert "**Released against the verdict of the gate.**" in text
        assert "- reason: the old one is broken" in text
        assert "- failed: accuracy &gt;= 0.9" in text

    @pytest.mark.parametrize("sample", [runs.intents, runs.taxi, runs.hostile, runs.rejected_model])
    def test_every_row_of_a_table_has_the_cells_of_its_header(self, sample):
        width = None
        for line in model_card.markdown(made(sample, override=OVERRIDE)).split("\n"):
            cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else None
            assert width is None or cells is None or cells == width
            width = cells

    @pytest.mark.parametrize(
        ("value", "line"),
        [
            ("a|b`c`", r"a\|b\`c\`"),
            ("two\nlines\r\n# heading", "two lines  # heading"),
            ("- list", r"\- list"),
            ("# heading", r"\# heading"),
            ("1. first", r"1\. first"),
            ("1.5 times", r"1\.5 times"),
            ("<script>&amp;", "&lt;script&gt;&amp;amp;"),
            ("[link](http://x)", r"\[link\](http://x)"),
            ("\u202egnp.exe\u2028", "gnp.exe"),
            ("back\\slash", r"back\\slash"),
        ],
    )
    def test_text_is_shown_as_it_is(self, value, line):
        text = model_card.markdown(made(runs.taxi, options=CardOptions(intended_use=value)))
        assert line in lines(text, "## Intended use")

    def test_hostile_names_make_no_element_of_their_own(self):
        markdown_it = pytest.importorskip("markdown_it")
        options = CardOptions(intended_use=runs.HOSTILE[0], limitations=runs.HOSTILE, contact=runs.HOSTILE[1])
        text = model_card.markdown(made(runs.hostile, options=options, override={"reason": runs.HOSTILE[4]}))
        page = markdown_it.MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
        known = {"h1", "h2", "h3", "p", "ul", "li", "strong", "table", "thead", "tbody", "tr", "th", "td"}
        assert set(re.findall(r"<(\w+)", page)) == known


class TestFiles:
    @pytest.fixture
    def folders(self, tmp_path):
        data = runs.intents()
        contents = {"metrics": data.metrics, "confusion": data.confusion, "verdict": data.verdict, "summary": data.ingestion}
        for name, content in contents.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
        return {"evaluation_dir": tmp_path, "examples_dir": tmp_path}

    @pytest.fixture
    def files(self, folders):
        return model_card.files(
            pipeline="intents", run="r1", config_sha256="4be1", columns=["text"], options=ReleaseOptions().card, **folders
        )

    def test_are_beside_the_manifest_and_under_its_checksums(self, files, tmp_path):
        model = tmp_path / "model"
        model.mkdir()
        (model / "saved_model.pb").write_bytes(b"graph")
        pushed = push(model, tmp_path / "serving", {}, extra_files=files)
        version = pathlib.Path(pushed.path)
        assert json.loads((version / model_card.JSON).read_text())["model"]["version"] == pushed.version
        assert f"version {pushed.version}" in (version / model_card.MARKDOWN).read_text()
        assert {model_card.JSON, model_card.MARKDOWN} < json.loads((version / MANIFEST).read_text())["files"].keys()
        assert verify(version) == []
        (version / model_card.MARKDOWN).write_text("better")
        assert verify(version) == [f"{model_card.MARKDOWN}: changed since the push"]

    def test_a_missing_evaluation_is_noticed_before_a_version_is_begun(self, folders):
        (folders["evaluation_dir"] / "metrics.json").unlink()
        with pytest.raises(FileNotFoundError, match=r"metrics\.json"):
            model_card.files(pipeline="p", run="r", config_sha256="c", columns=[], options=CardOptions(), **folders)
