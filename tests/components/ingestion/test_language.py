"""Which language a text is in."""

import pathlib
import pickle
import sys

import numpy as np
import pyarrow as pa
import pytest

from components.errors import EnvironmentFailure, UsageError
from components.ingestion import ingest
from components.ingestion.language import UNDETERMINED, Agreement, Detector, LanguageColumn, LanguageOptions

TEXTS = {
    "de": "Schalte bitte das Licht in der Küche ein",
    "en": "Please turn on the light in the kitchen",
    "fr": "Allume la lumière dans la cuisine s'il te plaît",
    "nb": "Skru på lyset på kjøkkenet og i gangen",
    "ru": "Включи свет на кухне, пожалуйста",
    "th": "เปิดไฟในห้องครัว",
}


@pytest.fixture(scope="module")
def detector():
    pytest.importorskip("py3langid", reason="the extra `language` is not installed")
    return Detector(LanguageOptions(languages=tuple(TEXTS)))


class TestDetect:
    def test_each_language(self, detector):
        languages, confidences = detector.detect(pa.array(TEXTS.values()))
        assert languages.to_pylist() == list(TEXTS)
        assert confidences.dtype == np.float32
        assert (confidences > 0.5).all()

    @pytest.mark.parametrize("text", [None, "", "  ", "4711", "?!", "\N{WAVING HAND SIGN}"])
    def test_what_has_no_letter_has_no_language(self, detector, text):
        languages, confidences = detector.detect(pa.array([text, TEXTS["de"]], pa.string()))
        assert languages.to_pylist() == [UNDETERMINED, "de"]
        assert confidences[0] == 0

    def test_repeated_texts_and_other_batches_have_one_answer(self, detector):
        texts = [TEXTS["ru"], TEXTS["en"], TEXTS["ru"]]
        together, _ = detector.detect(pa.array(texts).dictionary_encode())
        alone = [detector.detect(pa.array([text]))[0][0].as_py() for text in texts]
        assert together.to_pylist() == alone == ["ru", "en", "ru"]

    def test_no_rows(self, detector):
        languages, confidences = detector.detect(pa.array([], pa.string()))
        assert (len(languages), len(confidences)) == (0, 0)

    def test_chunks(self, detector):
        languages, _ = detector.detect(pa.chunked_array([[TEXTS["de"]], [TEXTS["fr"]]]))
        assert languages.to_pylist() == ["de", "fr"]


class TestOptions:
    def test_below_the_confidence_a_text_is_undetermined(self):
        pytest.importorskip("py3langid", reason="the extra `language` is not installed")
        languages, confidences = Detector(LanguageOptions(min_confidence=1.0)).detect(pa.array(["ok"]))
        assert languages.to_pylist() == [UNDETERMINED]
        assert 0 < confidences[0] < 1

    def test_an_unknown_language_is_an_error_that_lists_the_known_ones(self):
        pytest.importorskip("py3langid", reason="the extra `language` is not installed")
        with pytest.raises(UsageError, match=r"'xx'; it knows .*de, .*en,"):
            Detector(LanguageOptions(languages=("de", "xx")))

    def test_a_missing_package_names_the_extra(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "py3langid.langid", None)
        with pytest.raises(EnvironmentFailure, match=r"parlance-tfx\[language\]"):
            Detector()


COLUMN = {"column": "language", "languages": list(TEXTS)}
TABLE = pathlib.Path("t.csv")
GIVEN = ["de-DE", "EN", "de", None, "und", " "]


@pytest.fixture
def read(detector, make_options, make_schema):
    """Reads TEXTS with GIVEN as their languages; keywords are of `data.language`."""

    def read_rows(given=GIVEN, texts=None, **settings):
        options = make_options(TABLE, language=COLUMN | settings)
        column = LanguageColumn(options, make_schema(text="BYTES", label="BYTES", language="BYTES"), detector)
        columns = {"text": texts or TEXTS.values(), "language": given}
        rows = pa.RecordBatch.from_pydict({name: pa.array(values, pa.string()) for name, values in columns.items()})
        filled, spoken = column.read(rows)
        return options.language, filled.column("language").to_pylist(), spoken

    return read_rows


class TestColumn:
    def test_what_is_missing_is_filled_and_what_is_given_stays(self, read):
        _, filled, spoken = read()
        assert filled == ["de-DE", "EN", "de", "nb", "ru", "th"]
        assert spoken.detected.to_pylist() == list(TEXTS)
        assert spoken.given.to_pylist() == ["de-DE", "EN", "de", None, None, None]

    def test_a_text_that_says_too_little_is_undetermined(self, read):
        _, filled, _ = read(given=[None, "de"], texts=["42", "42"])
        assert filled == [UNDETERMINED, "de"]

    def test_a_column_that_is_only_checked_stays_as_it_is(self, read):
        _, filled, spoken = read(fill="check")
        assert filled == GIVEN
        assert spoken.detected.to_pylist() == list(TEXTS)

    def test_nothing_is_done_where_nobody_asked(self, make_options, make_schema):
        rows = pa.RecordBatch.from_pydict({"text": ["hello"]})
        column = LanguageColumn(make_options(TABLE), make_schema(text="BYTES", label="BYTES"))
        assert (column.read(rows), column.optional) == ((rows, None), None)

    def test_a_column_that_the_schema_does_not_list_is_an_error(self, detector, make_options, make_schema):
        with pytest.raises(UsageError, match="'language'.*add a feature 'language' of type BYTES"):
            LanguageColumn(make_options(TABLE, language=COLUMN), make_schema(text="BYTES", label="BYTES"), detector)

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"language": {"column": "label"}}, "neither excluded nor label"),
            ({"language": {"text": "body"}}, "a column of data.text .text.; received 'body'"),
            ({"language": {}, "text": []}, "which names none"),
            ({"language": {"fill": False}}, "fill"),
        ],
    )
    def test_options_that_do_not_fit(self, make_options, settings, said):
        with pytest.raises(ValueError, match=said):
            make_options(TABLE, **settings)


class TestAgreement:
    def counted(self, read, stored=None, **settings):
        options, _, spoken = read(**settings)
        agreement = Agreement()
        agreement.add(spoken, np.ones(len(GIVEN), bool) if stored is None else np.array(stored))
        return agreement, options

    def test_given_and_detected_languages_are_compared(self, read):
        agreement, options = self.counted(read)
        found = agreement.report(options)
        assert (found["rows"], found["silent"], found["compared"]) == (6, 3, 3)
        assert found["agreement"] == pytest.approx(2 / 3, abs=1e-6)
        assert found["by_language"]["de"] == {"rows": 1, "agreement": 0.0, "detected": {"fr": 1}}
        assert found["by_language"]["de-DE"]["agreement"] == 1

    def test_what_was_not_to_choose_from_is_not_compared(self, read):
        _, _, spoken = read(given=["da", "en", "fr", "no", "ru", "en"], texts=[TEXTS["nb"], *list(TEXTS.values())[1:]])
        agreement = Agreement()
        agreement.add(spoken, np.ones(6, bool))
        found = agreement.report(LanguageOptions(**{**COLUMN, "languages": ["nb", "fr", "ru", "th", "en"]}))
        assert found["beyond"] == {"da": 1}
        assert (found["compared"], found["agreement"]) == (5, 0.8)

    def test_rows_set_aside_do_not_count(self, read):
        agreement, options = self.counted(read, stored=[True, False, False, True, False, False])
        found = agreement.report(options)
        assert (found["rows"], found["compared"], found["detected"]) == (2, 1, {"de": 1, "nb": 1})

    def test_parts_make_the_whole(self, read):
        whole, options = self.counted(read)
        half = [True] * 3 + [False] * 3
        first, _ = self.counted(read, stored=half)
        second, _ = self.counted(read, stored=np.invert(half))
        second.merge(pickle.loads(pickle.dumps(first)))
        found, expected = second.report(options), whole.report(options)
        assert found == expected

    def test_without_a_column_languages_are_counted(self, read):
        agreement, options = self.counted(read, column=None)
        assert agreement.report(options) == {"rows": 6, "detected": dict.fromkeys(TEXTS, 1), "undetermined": 0.0}

    def test_there_is_nothing_to_say_where_nobody_asked(self):
        assert Agreement().report(None) == {}


def test_ingestion_fills_a_column_that_the_table_does_not_have(tmp_path, write_rows, make_options, make_schema):
    pytest.importorskip("py3langid", reason="the extra `language` is not installed")
    texts = [f"{text} {number}" for number in range(30) for text in TEXTS.values()]
    path = write_rows("parquet", text=texts, label=["ask", "tell"] * (len(texts) // 2))
    options = make_options(path, language=COLUMN, segments=["language"])
    schema = make_schema(text="BYTES", label="BYTES", language="BYTES")
    summary = ingest.ingest(options, schema, None, str(tmp_path / "out"), str(tmp_path / "quarantine"))
    assert summary["segments"]["language"] == dict.fromkeys(TEXTS, 30)
    assert summary["languages"]["detected"] == dict.fromkeys(TEXTS, 30)
    assert sum(summary["texts"]["text"]["train"]["languages"].values()) == summary["rows"]["train"]
    with pytest.raises(UsageError, match="language"):
        ingest.ingest(
            make_options(path, language=COLUMN | {"fill": "check"}, segments=["language"]), schema, None,
            str(tmp_path / "out2"), str(tmp_path / "quarantine2"),
        )  # fmt: skip


def test_most_of_people_s_short_commands_are_recognised(real_data):
    pytest.importorskip("py3langid", reason="the extra `language` is not installed")
    import pyarrow.parquet as pq

    table = pq.read_table(real_data / "ohf_intents_tests" / "data.parquet", columns=["text", "language"])
    chosen = ("de", "el", "en", "es", "fr", "nl", "pl", "ru", "th")
    rows = table.filter(pa.compute.is_in(table["language"], pa.array(chosen))).slice(0, 2000)
    found, _ = Detector(LanguageOptions(languages=chosen)).detect(rows["text"])
    right = sum(a == b for a, b in zip(found.to_pylist(), rows["language"].to_pylist(), strict=True))
    assert right / len(found) > 0.95
