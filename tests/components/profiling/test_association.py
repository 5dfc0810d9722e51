import numpy as np
import pyarrow as pa
import pytest

from components.profiling.association import associate

ROWS = 4000
RANDOM = np.random.default_rng(0)
LABEL = RANDOM.choice(["a", "b", "c"], ROWS, p=[0.5, 0.3, 0.2])
NUMBER = {"a": 0.0, "b": 5.0, "c": 9.0}


def _associate(values, numeric=False, label=LABEL):
    return associate(pa.chunked_array([pa.array(values)]), numeric, pa.chunked_array([pa.array(label)]))


class TestInformation:
    def test_is_all_of_it_for_the_label_itself(self):
        assert _associate(LABEL).information == pytest.approx(1, abs=0.01)

    @pytest.mark.parametrize("values", [5, 100, 3000])
    def test_is_none_for_chance_however_many_values_it_has(self, values):
        noise = [str(value) for value in RANDOM.integers(0, values, ROWS)]

        assert _associate(noise).information < 0.02

    def test_of_numbers_goes_by_range(self):
        telling = [NUMBER[label] + noise for label, noise in zip(LABEL, RANDOM.random(ROWS), strict=True)]

        assert _associate(telling, numeric=True).information > 0.9
        assert _associate(RANDOM.random(ROWS), numeric=True).information < 0.02

    def test_counts_a_missing_value_as_a_value(self):
        assert _associate([None if label == "a" else "x" for label in LABEL]).information > 0.5

    @pytest.mark.parametrize("rows", [5, 30, 100])
    def test_is_none_for_chance_in_a_small_table(self, rows):
        numbers = _associate(RANDOM.random(rows), numeric=True, label=LABEL[:rows])
        names = _associate([f"x{index}" for index in range(rows)], label=LABEL[:rows])

        assert max(numbers.information, names.information) < 0.2

    def test_ignores_rows_without_a_label(self):
        label = ["a", None, "b", ""] * 100

        assert _associate(["x", "y", "z", "y"] * 100, label=label).information == pytest.approx(1, abs=0.02)

    def test_is_none_without_any_labelled_row(self):
        assert _associate(["x"], label=[""]).information == 0


class TestGain:
    def test_is_what_the_column_adds_to_the_majority_class(self):
        assert _associate(LABEL).gain == pytest.approx(0.5, abs=0.03)

    def test_is_none_for_chance(self):
        assert _associate(RANDOM.integers(0, 50, ROWS)).gain < 0.02


class TestFollowsLabel:
    def test_when_every_label_has_one_value(self):
        assert _associate(["left" if label == "a" else "right" for label in LABEL]).follows_label

    def test_not_when_labels_share_values(self):
        assert not _associate(RANDOM.choice(["x", "y"], ROWS)).follows_label

    def test_not_for_a_constant_or_too_few_rows_to_say(self):
        assert not _associate(["x"] * ROWS).follows_label
        assert not _associate(["x", "y", "y"], label=["a", "b", "c"]).follows_label
