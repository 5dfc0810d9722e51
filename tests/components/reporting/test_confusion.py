from __future__ import annotations

from components.reporting import confusion

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
