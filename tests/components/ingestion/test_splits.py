import collections

import numpy as np
import pyarrow as pa
import pytest

from components.errors import UsageError
from components.ingestion import row_hash, splits
from components.ingestion.options import DataOptions
from components.ingestion.quarantine import Sieve

ROWS = 20_000


def options(**settings):
    return DataOptions.model_validate({"source": {"type": "csv", "path": "t.csv"}, "label": "label"} | settings)


def assign(data_options, batches):
    """Plans over all batches and returns the split of every row (None: set aside), the reasons, and the plan."""
    plan = splits.plan(data_options, lambda name: (batch.column(name) for batch in batches))
    assigned, reasons = [], collections.Counter()
    for batch in batches:
        sieve = Sieve(np.arange(batch.num_rows))
        codes = plan.assign(batch, row_hash.hash_rows(batch), sieve)
        assigned += [splits.SPLITS[code] if kept else None for code, kept in zip(codes, sieve.kept(), strict=True)]
        for entry in sieve.rejected():
            reasons[entry.reason] += len(entry.positions)
    return assigned, dict(reasons), plan


def batches_of(sizes, **columns):
    table = pa.table(columns)
    starts = np.concatenate([[0], np.cumsum(sizes)])[:-1]
    return [table.slice(start, size).combine_chunks().to_batches()[0] for start, size in zip(starts, sizes, strict=True)]


def share(assigned, name):
    return sum(split == name for split in assigned) / len(assigned)


class TestByHash:
    TEXTS = [f"message {number}" for number in range(ROWS)]

    def test_shares_are_close_to_those_asked_for(self):
        assigned, _, _ = assign(options(split={"eval": 0.1, "test": 0.2}), batches_of([ROWS], text=self.TEXTS))
        assert share(assigned, "eval") == pytest.approx(0.1, abs=0.01)
        assert share(assigned, "test") == pytest.approx(0.2, abs=0.01)

    def test_batches_and_order_do_not_matter(self):
        whole, _, _ = assign(options(), batches_of([ROWS], text=self.TEXTS))
        parts, _, _ = assign(options(), batches_of([1, 7, 12_000, ROWS - 12_008], text=self.TEXTS))
        reverse, _, _ = assign(options(), batches_of([ROWS], text=self.TEXTS[::-1]))
        assert whole == parts == reverse[::-1]

    def test_identical_rows_stay_together(self):
        assigned, _, _ = assign(options(), batches_of([ROWS], text=[f"message {number % 50}" for number in range(ROWS)]))
        assert assigned[:50] * (ROWS // 50) == assigned

    def test_the_seed_draws_another_split(self):
        first, _, _ = assign(options(split={"seed": 1}), batches_of([ROWS], text=self.TEXTS))
        second, _, _ = assign(options(split={"seed": 2}), batches_of([ROWS], text=self.TEXTS))
        both = sum(a == b == "test" for a, b in zip(first, second, strict=True))
        assert both / ROWS == pytest.approx(0.01, abs=0.005)


class TestByGroup:
    COLUMNS = {"text": [f"message {number}" for number in range(ROWS)], "who": [f"user {number % 900}" for number in range(ROWS)]}

    @pytest.mark.parametrize("by", ["group", "hash"])
    def test_groups_never_straddle_splits(self, by):
        assigned, _, _ = assign(options(group="who", split={"by": by}), batches_of([ROWS], **self.COLUMNS))
        seen = collections.defaultdict(set)
        for who, split in zip(self.COLUMNS["who"], assigned, strict=True):
            seen[who].add(split)
        assert all(len(found) == 1 for found in seen.values())
        assert set(assigned) == set(splits.SPLITS)

    def test_rows_without_a_group_stand_for_themselves(self):
        columns = {"text": self.COLUMNS["text"], "who": pa.nulls(ROWS, pa.string())}
        assigned, _, _ = assign(options(group="who", split={"by": "group"}), batches_of([ROWS], **columns))
        assert share(assigned, "test") == pytest.approx(0.1, abs=0.01)


class TestByTime:
    BY_TIME = {"timestamp": "at", "split": {"by": "time", "eval": 0.1, "test": 0.2}}

    def test_the_newest_rows_are_test_and_those_before_eval(self):
        times = np.random.default_rng(0).permutation(1000)
        assigned, _, _ = assign(options(**self.BY_TIME), batches_of([300, 700], at=times))
        assert [assigned[row] for row in np.argsort(times)] == ["train"] * 700 + ["eval"] * 100 + ["test"] * 200

    def test_equal_times_stay_together(self):
        times = [1] * 60 + [2] * 15 + [3] * 25
        assigned, _, _ = assign(options(**self.BY_TIME), batches_of([100], at=times))
        assert assigned == ["train"] * 60 + ["eval"] * 15 + ["test"] * 25

    def test_one_time_that_dominates_leaves_no_split_empty(self):
        assigned, _, _ = assign(options(**self.BY_TIME), batches_of([100], at=[1, 2] + [3] * 98))
        assert set(assigned) == set(splits.SPLITS)

    def test_gaps_are_set_aside_before_each_later_split(self):
        settings = self.BY_TIME | {"split": self.BY_TIME["split"] | {"gap": 10}}
        assigned, reasons, _ = assign(options(**settings), batches_of([1000], at=list(range(1000))))
        assert reasons == {"gap": 20}
        assert [row for row, split in enumerate(assigned) if split is None] == [*range(690, 700), *range(790, 800)]

    def test_rows_without_a_time_are_set_aside(self):
        times = ["2024-01-01", "2024-01-02T10:00:00Z", "2024-01-03", "", "soon"]
        assigned, reasons, _ = assign(options(**self.BY_TIME), batches_of([5], at=times))
        assert assigned == ["train", "eval", "test", None, None]
        assert reasons == {"at: missing time": 1, "at: not a time": 1}

    @pytest.mark.parametrize("times", [["a", "b", "c"], [1, 1, 2], [None] * 3])
    def test_too_few_times_are_an_error(self, times):
        with pytest.raises(UsageError, match="at least 3 distinct times .* data.timestamp 'at' has"):
            assign(options(**self.BY_TIME), batches_of([3], at=times))


class TestByColumn:
    BY_COLUMN = {"split": {"by": "column", "column": "fold", "eval": 0.1, "test": 0.2}}

    def test_names_are_read_without_case(self):
        folds = ["Train", " training ", "VAL", "valid", "validation", "dev", "eval", "TEST", None]
        assigned, reasons, plan = assign(options(**self.BY_COLUMN), batches_of([4, 5], fold=folds))
        assert assigned == ["train"] * 2 + ["eval"] * 5 + ["test", None]
        assert reasons == {"fold: missing split": 1}
        assert plan.notes == ()

    def test_missing_splits_are_drawn_from_train_by_hash(self):
        columns = {"text": [f"message {number}" for number in range(ROWS)], "fold": ["train"] * ROWS}
        assigned, _, plan = assign(options(**self.BY_COLUMN), batches_of([ROWS], **columns))
        assert share(assigned, "eval") == pytest.approx(0.1, abs=0.01)
        assert share(assigned, "test") == pytest.approx(0.2, abs=0.01)
        assert plan.notes == (
            "'fold' marks no row as eval; 10% of its train rows were drawn by hash",
            "'fold' marks no row as test; 20% of its train rows were drawn by hash",
        )

    def test_official_test_rows_stay_what_they_are(self):
        columns = {"text": [f"message {number}" for number in range(ROWS)], "fold": ["train", "test"] * (ROWS // 2)}
        assigned, _, _ = assign(options(**self.BY_COLUMN), batches_of([ROWS], **columns))
        assert set(assigned[1::2]) == {"test"}
        assert set(assigned[::2]) == {"train", "eval"}

    def test_personal_data_in_the_column_of_splits_is_not_quoted(self):
        columns = {"text": ["message"] * 3, "fold": ["train", "fold1", "ann@example.org"]}
        with pytest.raises(UsageError, match="received 2 other value.*: 'fold1'[.]") as error:
            assign(options(**self.BY_COLUMN), batches_of([3], **columns))
        assert "example" not in str(error.value)

    def test_unknown_names_are_an_error_that_lists_them(self):
        with pytest.raises(UsageError, match="takes the values train, .*; received 2 other value.*: 'fold1', 'fold2'"):
            assign(options(**self.BY_COLUMN), batches_of([3], fold=["train", "fold1", "fold2"]))

    def test_a_column_of_messages_is_not_quoted(self):
        with pytest.raises(UsageError) as raised:
            assign(options(**self.BY_COLUMN), batches_of([2], fold=["train", "my card number is 4111 1111"]))
        assert "card" not in str(raised.value)

    def test_no_train_rows_are_an_error(self):
        with pytest.raises(UsageError, match="marks no row as train; its values are dev, test"):
            assign(options(**self.BY_COLUMN), batches_of([2], fold=["test", "dev"]))
