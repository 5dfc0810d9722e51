"""Which fault of the data explains a difference."""

import numpy as np
import pytest

from components.validation import distances, faults
from tests.components.validation.test_distances import DECILES, categorical, numeric

LANGUAGES, CHANNELS = {"de": 700, "en": 300}, {"web": 500, "phone": 300, "chat": 200}
CUSTOMERS = {f"c{number}": 2 for number in range(500)}


def texts(average, unique=1000):
    feature = categorical({"hello": 9}, unlisted=991, unique=unique)
    feature.string_stats.avg_length = average
    return feature


def category(rows):
    feature = categorical(rows)
    feature.string_stats.avg_length = sum(len(value) * count for value, count in rows.items()) / sum(rows.values())
    return feature


def find(old, new, text=(), different=None):
    cells = {
        name: distances.of_presence(old[name], new[name], (1000.0, 1000.0))
        if name in text or not distances.present(new[name])
        else distances.of_features(old[name], new[name], (1000.0, 1000.0))
        for name in old
    }
    different = different if different is not None else [name for name in old if distances.psi(cells[name]) > 0.1]
    return faults.find(old, new, cells, different, text)


class TestFactor:
    @pytest.mark.parametrize("times", [100, 1000, 60, 1 / 100, 1.609344, 1 / 3.28084])
    def test_of_two_units_is_found(self, times):
        before, after = numeric(DECILES), numeric([edge * times for edge in DECILES])
        assert faults.factor(before, after) == pytest.approx(times)

    @pytest.mark.parametrize(("times", "text"), [(100.0, "multiplied by 100"), (1 / 1000, "divided by 1,000")])
    def test_is_certain_if_large(self, times, text):
        old, new = {"fare": numeric(DECILES)}, {"fare": numeric([edge * times for edge in DECILES])}
        [fault] = find(old, new).values()
        assert text in fault.text
        assert fault.certain

    def test_of_small_units_is_a_guess_that_names_them(self):
        old, new = {"way": numeric(DECILES)}, {"way": numeric([edge / 1.609344 for edge in DECILES])}
        [fault] = find(old, new).values()
        assert fault.text.endswith("as from kilometres to miles")
        assert not fault.certain

    def test_survives_that_both_sides_are_samples(self):
        generator = np.random.default_rng(3)

        def sample(times):
            return numeric(np.quantile(generator.lognormal(3, 0.8, 500) * times, np.linspace(0, 1, 11)).tolist())

        assert [faults.factor(sample(1), sample(100)) for _ in range(20)] == [100] * 20
        assert {faults.factor(sample(1), sample(1)) for _ in range(20)} == {None}

    @pytest.mark.parametrize(
        "after",
        [
            pytest.param(numeric([edge + 900 for edge in DECILES]), id="an offset"),
            pytest.param(numeric([edge**3 for edge in DECILES]), id="another shape"),
            pytest.param(numeric([edge * 37 for edge in DECILES]), id="no ratio of units"),
            pytest.param(numeric([-edge * 100 for edge in reversed(DECILES)]), id="another sign"),
            pytest.param(categorical({"a": 1}), id="no number"),
            pytest.param(numeric([0.0, 1.0]), id="too few deciles"),
        ],
    )
    def test_of_anything_else_is_none(self, after):
        assert faults.factor(numeric(DECILES), after) is None


class TestExchange:
    def test_of_categories(self):
        old = {"language": category(LANGUAGES), "channel": category(CHANNELS)}
        found = find(old, {"language": old["channel"], "channel": old["language"]})
        assert "changed places with column 'channel'" in found["language"].text
        assert "changed places with column 'language'" in found["channel"].text
        assert found["channel"].certain
        assert not found["channel"].holds_text

    def test_of_numbers_whatever_else_differs(self):
        old = {"a": numeric(DECILES), "b": numeric([edge * 7 + 3 for edge in DECILES]), "c": category(CHANNELS)}
        new = {"a": old["b"], "b": old["a"], "c": category({"fax": 1000})}
        assert find(old, new).keys() == {"a", "b"}

    def test_two_columns_that_moved_for_themselves_did_not(self):
        old = {"a": category({"x": 500, "y": 500}), "b": category({"x": 600, "y": 400})}
        assert find(old, {"a": old["b"], "b": category({"x": 950, "y": 50})}) == {}

    def test_of_a_text_is_told_by_lengths_and_shows_no_value(self):
        old = {"text": texts(40.0), "channel": category(CHANNELS)}
        new = {"text": category(CHANNELS), "channel": texts(41.0)}
        found = find(old, new, text=["text"], different=["channel"])
        assert found["channel"].holds_text
        assert not found["text"].holds_text
        assert "hello" not in str(found)

    def test_longer_texts_are_no_exchange(self):
        old = {"subject": texts(20.0), "body": texts(200.0)}
        assert find(old, {"subject": texts(40.0), "body": texts(400.0)}, text=["subject", "body"]) == {}


class TestOneColumn:
    def test_an_emptied_one(self):
        [fault] = find({"channel": category(CHANNELS)}, {"channel": categorical({})}).values()
        assert fault.text == "has no values any more"
        assert fault.certain

    def test_a_flood_says_how_many_rows_but_may_be_a_large_customer(self):
        flood = {**dict.fromkeys(list(CUSTOMERS)[:300], 2), "c7": 400}
        [fault] = find({"customer": category(CUSTOMERS)}, {"customer": category(flood)}).values()
        assert fault.text == "is flooded by one value, now in 40.0% of the rows"
        assert not fault.certain

    def test_a_frequent_value_among_few_is_no_flood(self):
        assert find({"channel": category(CHANNELS)}, {"channel": category({"web": 10, "phone": 10, "chat": 980})}) == {}
