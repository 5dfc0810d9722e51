import numpy as np
import pyarrow as pa
import pytest

from components.ingestion import row_hash
from components.ingestion.near_duplicates import hash_texts, plain_form


def _form(text):
    return plain_form(pa.array([text], pa.string())).to_pylist()[0]


class TestPlainForm:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("Turn ON the light!", "turn on  the\tlight"),
            ("ＴＵＲＮ　ｏｎ", "turn on"),
            ("ÉTEINS la lumière...", "éteins la lumière"),
            ("e\u0301teins", "éteins"),
            ("الساعة ٤٢", "الساعة 42"),
            ("¿Qué hora es?", "qué hora es"),
            ("don't!", "don’t"),
        ],
    )
    def test_spelling_does_not_count(self, one, other):
        assert _form(one) == _form(other)

    @pytest.mark.parametrize(
        ("one", "other"),
        [("brightness 10", "brightness 100"), ("का", "क"), ("ที่", "ที"), ("!", "?"), ("👍", "👎"), ("resume", "résumé")],
    )
    def test_words_numbers_and_marks_do(self, one, other):
        assert _form(one) != _form(other)

    def test_missing_stays_missing_and_nothing_is_left_empty(self):
        texts = pa.array([None, "...", "٣ and ۴", "plain"])
        assert plain_form(texts).to_pylist() == [None, "...", "3 and 4", "plain"]

    def test_a_slice_is_read_from_its_own_place(self):
        texts = pa.array(["!!", "One  two ", "", None, " Привет, МИР!", "a.b", "?!"])
        plain = plain_form(texts)
        assert plain.to_pylist() == ["!!", "one two", "", None, "привет мир", "a b", "?!"]
        for start in range(len(texts)):
            for length in range(len(texts) - start + 1):
                assert plain_form(texts.slice(start, length)).to_pylist() == plain.to_pylist()[start : start + length]


class TestHashTexts:
    def test_near_duplicates_share_one_hash_and_texts_the_other(self):
        rows = pa.RecordBatch.from_pydict(
            {
                "title": pa.array(["Help", "help!", "Help", None], pa.string()),
                "body": pa.array(["No sound", "no sound", "No sound", None], pa.string()),
                "label": pa.array(["a", "b", "c", "d"]),
            }
        )
        exact, near, there = hash_texts(rows, ["title", "body"], row_hash.hash_columns(rows))
        assert exact[0] == exact[2] != exact[1]
        assert near[0] == near[1] == near[2] != near[3]
        assert there.tolist() == [True, True, True, False]

    def test_a_table_without_text_has_none(self):
        rows = pa.RecordBatch.from_pydict({"fare": pa.array([1.0, 2.0])})
        exact, near, there = hash_texts(rows, [], {})
        assert len(exact) == len(near) == 2
        assert not np.any(there)
