"""How texts are held against earlier ones."""

import random

import numpy as np
import pyarrow as pa
import pytest

from components.findings import Severity
from components.ingestion import text_statistics
from components.ingestion.text_statistics import TextStatistics
from components.validation import text_drift
from components.validation.options import DRIFT, Limit, TextLimits, ValidationOptions

OPTIONS = ValidationOptions()
THINGS = [f"thing{number}" for number in range(200)]


def sentences(seed, count, longer=0, things=THINGS, ending=""):
    draw = random.Random(seed)
    return [" ".join(draw.choices(things, k=draw.randint(2, 9) + longer)) + f" {ending}" for _ in range(count)]


def texts_of(tmp_path, texts, languages=None):
    """What ingestion says of texts, four of five in train."""
    counted = TextStatistics(["text"])
    splits = np.where(np.arange(len(texts)) % 5 == 0, 2, 0).astype(np.int8)
    rows = pa.RecordBatch.from_pydict({"text": pa.array(texts)})
    counted.add(splits, rows, languages={"text": pa.array(languages)} if languages else None)
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    folder.mkdir()
    counted.write(folder)
    return text_drift.of_data({"texts": counted.report()}, folder)


def compared(tmp_path, before, after, options=OPTIONS):
    results = text_drift.compare(texts_of(tmp_path, before), texts_of(tmp_path, after), options)
    return {result.measure: result for result in results}


def different(results):
    return {measure for measure, result in results.items() if result.different}


class TestCompare:
    @pytest.mark.parametrize("rows", [50, 500, 5000])
    def test_texts_of_one_kind_do_not_differ(self, tmp_path, rows):
        results = compared(tmp_path, sentences(1, rows), sentences(2, rows // 2))
        assert set(results) == {"script", "length", "unknown_words", "duplicates"}
        assert different(results) == set()

    def test_another_script(self, tmp_path):
        results = compared(tmp_path, sentences(1, 1000), sentences(2, 900) + ["Включи свет"] * 100)
        assert "script" in different(results)
        assert results["script"].distance == pytest.approx(0.1, abs=0.01)
        cells = {cell.cell: (cell.before, cell.after) for cell in results["script"].cells}
        assert cells["Cyrillic"] == (0, pytest.approx(0.1, abs=0.01))

    def test_a_few_rows_are_no_evidence(self, tmp_path):
        results = compared(tmp_path, sentences(1, 30), [*sentences(2, 18), "Включи свет"])
        assert results["script"].distance > OPTIONS.texts.script.warn
        assert not results["script"].different

    def test_a_small_difference_of_many_rows_does_not_matter(self, tmp_path):
        results = compared(tmp_path, sentences(1, 4000), sentences(2, 3920) + ["Включи свет"] * 80)
        assert results["script"].p_value < 1e-6
        assert not results["script"].different

    def test_longer_texts(self, tmp_path):
        results = compared(tmp_path, sentences(1, 1000), sentences(2, 1000, longer=4))
        assert different(results) == {"length"}
        assert results["length"].distance > 0.4
        assert sum(cell.before for cell in results["length"].cells) == pytest.approx(1)

    def test_lengths_that_one_value_dominates(self, tmp_path):
        results = compared(tmp_path, ["yes"] * 900 + ["no thanks"] * 100, ["yes"] * 500 + ["no thanks"] * 500)
        assert "length" in different(results)
        assert results["length"].distance == pytest.approx(0.4, abs=0.02)

    def test_words_that_nobody_used(self, tmp_path):
        results = compared(tmp_path, sentences(1, 1000), sentences(2, 1000, things=[*THINGS, *map("new{}".format, range(50))]))
        assert "unknown_words" in different(results)
        assert results["unknown_words"].cells[1].after == pytest.approx(0.2, abs=0.02)

    def test_fewer_new_words_are_no_news(self, tmp_path):
        varied = [f"{text} only{number}" for number, text in enumerate(sentences(1, 1000))]
        varied = [text.replace("only", "".join(random.Random(text).choices("abcdefgh", k=9))) for text in varied]
        results = compared(tmp_path, varied, sentences(2, 1000))
        assert results["unknown_words"].cells[1].before > 0.1
        assert results["unknown_words"].distance == 0

    def test_repetitions_do_not_depend_on_the_number_of_rows(self, tmp_path):
        few = [f"{first} {second}" for first in THINGS[:50] for second in THINGS[:50]]
        draw = random.Random(3)
        results = compared(tmp_path, draw.choices(few, k=10_000), draw.choices(few, k=1_000))
        assert results["duplicates"].distance < 0.03

    def test_one_text_over_and_over(self, tmp_path):
        results = compared(tmp_path, sentences(1, 1000), sentences(2, 600) + ["buy now"] * 400)
        assert "duplicates" in different(results)
        assert results["duplicates"].distance == pytest.approx(0.4, abs=0.05)

    def test_languages_where_both_were_detected(self, tmp_path):
        before = texts_of(tmp_path, sentences(1, 500), ["de", "en"] * 250)
        after = texts_of(tmp_path, sentences(2, 500), ["de", "nl"] * 250)
        [language] = [one for one in text_drift.compare(before, after, OPTIONS) if one.measure == "language"]
        assert (language.different, round(language.distance, 2)) == (True, 0.5)

    def test_data_from_before_there_were_statistics_is_not_compared(self, tmp_path):
        assert text_drift.compare(text_drift.of_data({}, tmp_path), texts_of(tmp_path, sentences(1, 50)), OPTIONS) == ()

    def test_words_need_both_vocabularies(self, tmp_path):
        before = texts_of(tmp_path, sentences(1, 50))
        (tmp_path / "0" / text_statistics.VOCABULARY_FILE).unlink()
        again = text_drift.of_data({"texts": before.columns}, tmp_path / "0")
        assert "unknown_words" not in {one.measure for one in text_drift.compare(again, before, OPTIONS)}


class TestFindings:
    def found(self, tmp_path, **options):
        chosen = ValidationOptions(**options)
        results = compared(tmp_path, sentences(1, 1000), sentences(2, 900) + ["Включи свет"] * 100, chosen)
        [finding] = [
            one for one in text_drift.findings(results.values(), "the previous data", DRIFT, chosen) if "script" in one.check
        ] or [None]
        return finding

    def test_it_says_what_changed_by_how_much_and_the_limit(self, tmp_path):
        finding = self.found(tmp_path)
        assert (finding.severity, finding.subject) == (Severity.WARNING, "text")
        assert finding.message.startswith("Column 'text': the scripts of texts differ from the previous data in 1")
        for part in ("Cyrillic 0.0% -> 1", "chance below 1e-12", "validation.texts.script: warning above 3.00%"):
            assert part in finding.message

    @pytest.mark.parametrize(
        ("limit", "severity"),
        [
            (Limit(warn=0.03, fail=0.05), "error"),
            (Limit(warn=0.03, fail=0.2), "warning"),
            (Limit(warn=0.2), None),
            (Limit(), None),
        ],
    )
    def test_the_limits_say_how_severe_it_is(self, tmp_path, limit, severity):
        finding = self.found(tmp_path, texts=TextLimits(script=limit))
        assert (finding and finding.severity.value) == severity

    @pytest.mark.parametrize(("chosen", "severity"), [("error", Severity.ERROR), ("info", Severity.INFO)])
    def test_the_severity_of_the_column_counts_more(self, tmp_path, chosen, severity):
        assert self.found(tmp_path, severity={"text": {"drift": chosen}}).severity is severity

    def test_an_ignored_column_has_none(self, tmp_path):
        assert self.found(tmp_path, severity={"text": {"drift": "ignore"}}) is None

    def test_no_text_is_in_any_finding(self, tmp_path):
        after = sentences(2, 500, longer=5, things=["verysecret"]) + ["Тайна тайна"] * 500
        results = compared(tmp_path, sentences(1, 1000), after)
        messages = [one.message for one in text_drift.findings(results.values(), "the previous data", DRIFT, OPTIONS)]
        assert len(messages) == 4
        assert not any("secret" in message or "айна" in message for message in messages)
