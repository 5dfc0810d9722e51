"""Which rows a smoke test gets to replay."""

import numpy as np
import pytest

from components.errors import EnvironmentFailure
from components.evaluation import resampling
from components.evaluation.scored_sample import FILE, ROWS, ScoredSample

CLASSES = ("no", "yes")


def rows(count, rare_at=(), start=0):
    """A batch of rows whose example says which row it is, labelled `common` but for some, each of which has a label of its own."""
    labels = [f"rare {row}" if row in rare_at else "common" for row in range(start, start + count)]
    scores = np.array([[row, -row] for row in range(start, start + count)], np.float32)
    return [f"row {row}".encode() for row in range(start, start + count)], labels, scores, resampling.units(start, count, 7)


def sample(count, rare_at=(), start=0, **more):
    return ScoredSample.of(*rows(count, rare_at, start), CLASSES, **more)


class TestChoice:
    def test_is_all_rows_of_a_small_split(self):
        kept = sample(5)
        assert sorted(kept.examples) == [f"row {row}".encode() for row in range(5)]
        assert [example.decode() for example in kept.examples] == [f"row {scores[0]:g}" for scores in kept.scores]

    def test_is_bounded_and_spread_over_the_split(self):
        kept = sample(10_000)
        positions = kept.scores[:, 0]
        assert len(kept) == ROWS
        assert np.histogram(positions, 4, (0, 10_000))[0].min() > ROWS / 8

    def test_begins_with_one_row_of_each_label(self):
        kept = sample(10_000, rare_at={1234, 8765})
        assert set(kept.head(3).labels) == {"common", "rare 1234", "rare 8765"}
        assert set(kept.labels[3:]) == {"common"}

    def test_of_more_labels_than_rows_is_one_row_each(self):
        kept = sample(50, rare_at=range(50), rows=10)
        assert len(set(kept.labels)) == len(kept) == 10

    def test_takes_rows_without_a_label(self):
        examples, _, scores, order = rows(3)
        assert ScoredSample.of(examples, [None, None, "yes"], scores, order, CLASSES).labels.count(None) == 2

    @pytest.mark.parametrize("cuts", [(300, 600), (1, 999), (500,)])
    def test_does_not_depend_on_batches_or_their_order(self, cuts):
        rare = {3, 400, 999, *range(700, 720)}
        edges = [0, *cuts, 1000]
        parts = [sample(end - start, rare & set(range(start, end)), start) for start, end in zip(edges, edges[1:], strict=False)]
        merged = parts[-1]
        for part in parts[:-1]:
            merged = merged.merge(part)
        whole = sample(1000, rare)
        assert merged.examples == whole.examples
        assert np.array_equal(merged.scores, whole.scores)


class TestFile:
    def test_gives_back_classes_rows_and_exact_scores(self, tmp_path):
        written = sample(40)
        written.write(tmp_path)
        read = ScoredSample.read(tmp_path)
        assert (read.classes, read.examples) == (written.classes, written.examples)
        assert read.scores.dtype == np.float32
        assert np.array_equal(read.scores, written.scores)

    def test_may_hold_no_row(self, tmp_path):
        sample(0).write(tmp_path)
        assert ScoredSample.read(tmp_path).scores.shape == (0, 2)

    def test_that_is_torn_is_refused(self, tmp_path):
        sample(40).write(tmp_path)
        content = (tmp_path / FILE).read_bytes()
        (tmp_path / FILE).write_bytes(content[:-30])
        with pytest.raises(EnvironmentFailure, match="parlance run --no-cache --from Evaluator"):
            ScoredSample.read(tmp_path)

    def test_that_is_missing_is_refused(self, tmp_path):
        with pytest.raises(EnvironmentFailure, match="FileNotFoundError"):
            ScoredSample.read(tmp_path)
