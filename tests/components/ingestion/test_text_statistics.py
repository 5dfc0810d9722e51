"""What is counted of texts, and that no word is kept."""

import pickle

import numpy as np
import pyarrow as pa
import pytest

from components.ingestion import ingest, near_duplicates
from components.ingestion.options import SPLITS
from components.ingestion.text_statistics import (
    NO_SCRIPT,
    OTHER_SCRIPT,
    TextStatistics,
    main_scripts,
    read_vocabulary,
    word_hashes,
)
from components.privacy.options import PrivacyOptions

LABELS = ["ask", "tell"] * 100
TRAIN = ["Turn on the light", "turn on the LIGHT!", "turn it off", None, " ", "42 1 7", "Включи свет"]
TEST = ["turn on the lamp", "lamp"]


def words(*texts):
    return word_hashes(near_duplicates.plain_form(pa.array(texts, pa.string())))


def counted(texts, splits=None, **more):
    made = TextStatistics(["text"])
    rows = pa.RecordBatch.from_pydict({"text": pa.array(texts, pa.string())})
    made.add(np.zeros(len(texts), np.int8) if splits is None else np.array(splits, np.int8), rows, **more)
    return made


@pytest.fixture
def report():
    return counted([*TRAIN, *TEST, "set aside"], [0] * len(TRAIN) + [2] * len(TEST) + [-1]).report()["text"]


class TestReport:
    def test_rows_without_a_text(self, report):
        assert [(report[split]["rows"], report[split]["empty"]) for split in SPLITS] == [(7, 2), (0, 0), (2, 0)]

    def test_lengths_in_characters_and_words(self, report):
        assert report["train"]["length"]["histogram"] == [[6, 1], [11, 2], [17, 1], [18, 1]]
        assert report["train"]["words"]["histogram"] == [[2, 1], [3, 2], [4, 2]]
        assert report["train"]["length"]["quantiles"] == {"p5": 6, "p50": 11, "p95": 18, "max": 18}
        assert report["eval"]["length"] == {"histogram": [], "quantiles": {}}

    def test_scripts(self, report):
        assert report["train"]["scripts"] == {"Latin": 3, "Cyrillic": 1, NO_SCRIPT: 1}

    def test_near_duplicates_are_one_text(self, report):
        assert (report["train"]["different"], report["train"]["duplicates"]) == (4, 0.2)
        assert report["train"]["repeats"] == [[1, 3], [2, 1]]

    def test_words_that_train_does_not_have(self, report):
        assert report["test"]["all_words"] == 5
        assert report["test"]["unknown_words"] == pytest.approx(2 / 5)
        assert "unknown_words" not in report["train"]

    def test_languages_where_somebody_detected_them(self, report):
        assert report["train"]["languages"] == {}
        spoken = counted(["a", "b", None], languages={"text": pa.array(["de", "en", "und"])})
        assert spoken.report()["text"]["train"]["languages"] == {"de": 1, "en": 1}

    def test_long_texts_are_counted_in_ranges(self):
        told = counted(["x" * 1000, "x" * 5000]).report()["text"]["train"]["length"]
        assert [rows for _, rows in told["histogram"]] == [1, 1]
        assert told["quantiles"]["max"] == 5000
        assert 1000 * 0.95 < told["histogram"][0][0] <= 1000

    def test_hashes_that_are_there_already_change_nothing(self):
        texts = pa.array(TRAIN, pa.string())
        plain = near_duplicates.plain_form(texts)
        rows = pa.RecordBatch.from_pydict({"text": texts})
        exact, near, _ = near_duplicates.hash_texts(rows, ["text"], {"text": np.zeros(len(TRAIN), np.uint64)})
        assert counted(TRAIN, plain={"text": plain}, near=near).report() == counted(TRAIN).report()


def test_parts_in_any_order_make_the_whole():
    rng = np.random.default_rng(1)
    texts = [f"word{number} on" for number in rng.integers(0, 300, 2000)]
    splits = rng.choice(3, 2000)
    whole = counted(texts, splits).report()
    parts = [counted(texts[start : start + 300], splits[start : start + 300]) for start in range(0, 2000, 300)]
    for order in (parts, parts[::-1]):
        merged = TextStatistics(["text"])
        for part in order:
            merged.merge(pickle.loads(pickle.dumps(part)))
        assert merged.report() == whole


class TestWords:
    def test_a_word_is_the_same_wherever_it_stands(self):
        hashes, per_row = words("light on", None, "", "On, light")
        assert per_row.tolist() == [2, 0, 0, 2]
        assert hashes.tolist() == [hashes[0], hashes[1], hashes[1], hashes[0]]
        assert hashes.max() < 2**32

    def test_numbers_of_as_many_digits_are_one(self):
        hashes, _ = words("call 5551234", "call 5559876", "call 12")
        assert hashes[1] == hashes[3] != hashes[5]

    def test_chinese_and_japanese_characters_are_words(self):
        hashes, per_row = words("今日は晴れ", "abc今def", "привет мир")
        assert per_row.tolist() == [5, 3, 2]
        assert hashes[0] == hashes[6]

    def test_batches_and_slices_do_not_matter(self):
        texts = pa.array([f"text {number} of many" for number in range(9000)])
        plain = near_duplicates.plain_form(texts)
        hashes, per_row = word_hashes(plain)
        part, _ = word_hashes(plain.slice(8990))
        assert (hashes[-len(part) :] == part).all()
        assert per_row.sum() == len(hashes) == 36_000


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("hello", "Latin"),
        ("Привет, Anna", "Cyrillic"),
        ("今日は", "Han"),
        ("สวัสดี", "Thai"),
        ("Ελλάδα", "Greek"),
        ("42 🎉", NO_SCRIPT),
        ("", NO_SCRIPT),
        ("ᚠᚢᚦ", OTHER_SCRIPT),
        (None, None),
    ],
)
def test_the_script_of_most_letters(text, script):
    assert main_scripts(pa.array([text, "a"], pa.string())).to_pylist() == [script, "Latin"]


class TestVocabulary:
    def test_it_is_read_as_it_was_written(self, tmp_path):
        made = counted([*TRAIN, *TEST], [0] * len(TRAIN) + [2] * len(TEST))
        made.write(tmp_path)
        known = read_vocabulary(tmp_path)["text"]
        hashes, _ = words("turn on the light it off 42 1 7 включи свет")
        assert set(known.hashes.tolist()) == set(hashes.tolist())
        assert known.total == 16

    def test_no_word_is_in_the_file(self, tmp_path):
        counted(["the secret word is abracadabra 4111111111111111"] * 3).write(tmp_path)
        content = (tmp_path / "vocabulary.npz").read_bytes()
        with np.load(tmp_path / "vocabulary.npz") as arrays:
            content += b"".join(array.tobytes() for array in arrays.values())
        assert b"abracadabra" not in content
        assert b"4111" not in content

    def test_there_is_none_without_text_columns(self, tmp_path):
        TextStatistics([]).write(tmp_path)
        assert read_vocabulary(tmp_path) == {}


class TestIngestion:
    def test_it_counts_stored_rows_after_personal_data_is_gone(self, tmp_path, write_rows, make_options, make_schema):
        texts = [f"call me at peter{number}@example.com number {number + 100}" for number in range(200)]
        path = write_rows("csv", text=texts, label=[*LABELS[:-1], None])
        summary = ingest_table(tmp_path, make_options(path), make_schema(text="BYTES", label="BYTES"), redact=["email"])
        told = summary["texts"]["text"]
        assert {split: told[split]["rows"] for split in SPLITS} | {"quarantined": 1} == summary["rows"]
        words, _ = word_hashes(near_duplicates.plain_form(pa.array(["call me at <EMAIL> number 999"])))
        assert read_vocabulary(tmp_path / "out")["text"].hashes.tolist() == sorted(words.tolist())

    def test_tables_without_text_have_none(self, tmp_path, write_rows, make_options, make_schema):
        path = write_rows("csv", fare=list(range(200)), label=LABELS)
        summary = ingest_table(tmp_path, make_options(path, text=[]), make_schema(fare="FLOAT", label="BYTES"))
        assert summary["texts"] == {}
        assert summary["languages"] == {}

    def test_empty_cells_are_counted_by_column(self, tmp_path, write_rows, make_options, make_schema):
        path = write_rows("csv", text=[f"text {number}" for number in range(200)], label=LABELS, city=["Bonn", None] * 100)
        summary = ingest_table(tmp_path, make_options(path), make_schema(text="BYTES", label="BYTES", city="BYTES"))
        assert summary["missing"] == {"text": 0, "label": 0, "city": 100}


def ingest_table(folder, options, schema, **privacy):
    return ingest.ingest(
        options, schema, None, str(folder / "out"), str(folder / "quarantine"), PrivacyOptions.model_validate(privacy)
    )
