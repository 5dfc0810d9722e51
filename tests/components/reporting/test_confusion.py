from __future__ import annotations

import json

import pytest

from components.reporting import confusion
from components.reporting.confusion import MatrixSlice

CLASSES = ["beta", "alpha 10", "alpha 2"]
CELLS = [(0, 0, 8), (0, 1, 2), (1, 1, 5), (2, 0, 4), (2, 2, 4), (3, 1, 1)]


class TestTopPairs:
    def test_most_rows_first_with_their_share_of_the_true_class(self):
        pairs = confusion.top_pairs(CLASSES, CELLS)
        assert pairs[0] == confusion.Pair("alpha 2", "beta", 4, 0.5)
        assert pairs[1] == confusion.Pair("beta", "alpha 10", 2, 0.2)
        assert pairs[2] == confusion.Pair("(unseen in training)", "alpha 10", 1, 1.0)

    def test_right_answers_are_no_confusion(self):
        assert confusion.top_pairs(["a"], [(0, 0, 3)]) == []

    def test_a_row_without_usable_scores_is_a_confusion_even_of_an_unseen_label(self):
        pairs = confusion.top_pairs(["a"], [(0, 1, 2), (1, 1, 1)])
        assert [(pair.actual, pair.predicted) for pair in pairs] == [
            ("a", "(no usable scores)"),
            ("(unseen in training)", "(no usable scores)"),
        ]

    def test_keeps_to_the_limit(self):
        assert len(confusion.top_pairs(CLASSES, CELLS, limit=2)) == 2


class TestFullMatrix:
    def test_classes_are_in_the_order_of_their_names(self):
        assert confusion.matrix(CLASSES, CELLS).predicted == ("alpha 2", "alpha 10", "beta")

    def test_cells_are_shares_of_the_true_class(self):
        row = confusion.matrix(CLASSES, CELLS).rows[0]
        assert (row.actual, row.n, row.elsewhere) == ("alpha 2", 8, 0)
        assert [(cell.count, cell.share, cell.correct) for cell in row.cells] == [
            (4, 0.5, True),
            (0, 0.0, False),
            (4, 0.5, False),
        ]

    def test_labels_unseen_in_training_are_a_last_row_only_if_there_are_any(self):
        assert confusion.matrix(CLASSES, CELLS).rows[-1].actual == confusion.UNSEEN
        assert len(confusion.matrix(CLASSES, CELLS[:-1]).rows) == 3

    def test_answers_without_usable_scores_are_a_last_column_only_if_there_are_any(self):
        matrix = confusion.matrix(["a"], [(0, 0, 5), (0, 1, 3), (1, 1, 1)])
        assert matrix.predicted == ("a", "(no usable scores)")
        assert [cell.correct for cell in matrix.rows[-1].cells] == [False, False]

    def test_a_class_without_test_rows_keeps_its_row(self):
        row = confusion.matrix(["a", "b"], [(0, 0, 1)]).rows[1]
        assert (row.n, [cell.count for cell in row.cells]) == (0, [0, 0])


class TestBlockOfManyClasses:
    N = confusion.FULL_MATRIX_CLASSES + 1

    def test_holds_both_sides_of_the_most_frequent_confusions(self):
        cells = [(index, index, 50) for index in range(self.N)] + [(7, 3, 40), (9, 1, 2)]
        matrix = confusion.matrix([f"c{index}" for index in range(self.N)], cells)
        assert matrix.predicted == ("c1", "c3", "c7", "c9")
        assert matrix.left_out == self.N - 4

    def test_counts_what_went_to_classes_not_shown(self):
        n_pairs = confusion.BLOCK_CLASSES // 2
        pairs = [(2 * index, 2 * index + 1, 40) for index in range(n_pairs)]
        matrix = confusion.matrix([f"c{index}" for index in range(self.N)], [*pairs, (0, self.N - 1, 3)])
        assert len(matrix.predicted) == confusion.BLOCK_CLASSES
        assert next(row for row in matrix.rows if row.actual == "c0").elsewhere == 3

    def test_is_empty_for_a_model_without_confusions(self):
        cells = [(index, index, 5) for index in range(self.N)]
        assert confusion.matrix([f"c{index}" for index in range(self.N)], cells).rows == ()


def decoded(coded, width):
    """What the script reads: {(actual, predicted): rows}."""
    cells, at = {}, 0
    for step, n in zip(coded[::2], coded[1::2], strict=True):
        at += step
        cells[divmod(at, width)] = n
    return cells


def matrix_slice(cells, name="all", n=10, baseline=None):
    return MatrixSlice(group="", name=name, n=n, small=False, candidate=cells, baseline=baseline)


class TestExplorer:
    def test_holds_every_cell_with_labels_in_the_order_of_their_names(self):
        data = json.loads(confusion.explorer(CLASSES, [matrix_slice(CELLS)]).data)
        assert data["labels"] == ["alpha 2", "alpha 10", "beta"]
        assert decoded(data["slices"][0]["cells"], 5) == {(2, 2): 8, (2, 1): 2, (1, 1): 5, (0, 2): 4, (0, 0): 4, (3, 1): 1}
        assert data["slices"][0]["before"] is None

    def test_weights_keep_their_fractions(self):
        data = json.loads(confusion.explorer(["a"], [matrix_slice([(0, 0, 2.5)], baseline=[(0, 0, 3.0)])]).data)
        assert data["slices"][0]["cells"] == [0, 2.5]
        assert data["slices"][0]["before"] == [0, 3]

    def test_takes_the_largest_slices_until_the_budget_is_used_and_all_rows_in_any_case(self):
        rows = [(0, 0, 1), (0, 1, 1)]
        slices = [matrix_slice(rows * 3, "all", 9), *(matrix_slice(rows, f"slice {n}", n) for n in (1, 5, 3))]
        whole = confusion.explorer(["a", "b"], slices)
        assert (whole.slices, whole.slices_left_out) == (4, 0)
        part = confusion.explorer(["a", "b"], slices, budget=len(whole.data) - 10)
        assert [entry["name"] for entry in json.loads(part.data)["slices"]] == ["all", "slice 5", "slice 3"]
        assert part.slices_left_out == 1
        assert confusion.explorer(["a", "b"], slices, budget=1).slices == 1

    def test_keeps_the_most_confused_classes_and_the_totals_of_the_others(self):
        n = confusion.EXPLORER_CLASSES + 10
        labels = [f"c{index}" for index in range(n)]
        cells = [(index, index, 7) for index in range(n)]
        cells += [(index, index + 1, 100 - index // 10) for index in range(0, confusion.EXPLORER_CLASSES, 2)] + [(3, n - 1, 1)]
        explorer = confusion.explorer(labels, [matrix_slice(cells)])
        data = json.loads(explorer.data)
        assert explorer.classes_left_out == data["others"] == 10
        assert f"c{n - 1}" not in data["labels"]
        width, others = len(data["labels"]) + 2, len(data["labels"]) + 1
        found = decoded(data["slices"][0]["cells"], width)
        assert found[others, others] == 70
        assert found[data["labels"].index("c3"), others] == 1

    @pytest.mark.parametrize("name", ["</script><script>", "<!--", "\u2028", "]]>", '"', "\\", "&lt;"])
    def test_no_name_can_end_the_script_element_it_stands_in(self, name):
        data = confusion.explorer([name], [matrix_slice([(0, 0, 1)], name=name)]).data
        assert not set("<>&\u2028\u2029") & set(data)
        assert json.loads(data)["labels"] == [name]
        assert json.loads(data)["slices"][0]["name"] == name
