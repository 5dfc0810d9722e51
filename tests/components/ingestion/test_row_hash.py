import numpy as np
import pyarrow as pa
import pytest

from components.ingestion import row_hash

GOLDEN = [6228036786493136563, 13181064417745813664, 14775808675920505848]
BATCH = pa.RecordBatch.from_pydict(
    {
        "text": pa.array(["", "a", "ab", "ba", "हिन्दी", None, "a\0", "\0a"]),
        "count": pa.array([0, 1, -1, 2**62, 5, None, 6, 7], pa.int64()),
        "share": pa.array([0.0, 1.0, -1.5, 1e30, 2.0, None, 3.0, 4.0], pa.float32()),
    }
)


class TestHashRows:
    def test_values_are_the_same_on_every_machine_and_in_every_release(self):
        assert [int(value) for value in row_hash.hash_rows(BATCH)[:3]] == GOLDEN

    def test_batches_do_not_matter(self):
        whole = row_hash.hash_rows(BATCH)
        parts = np.concatenate([row_hash.hash_rows(BATCH.slice(start, 3)) for start in (0, 3, 6)])
        assert (whole == parts).all()

    def test_column_order_does_not_matter_and_names_of_equal_values_do(self):
        assert (row_hash.hash_rows(BATCH) == row_hash.hash_rows(BATCH.select(["share", "text", "count"]))).all()
        swapped = [
            pa.RecordBatch.from_pydict({"a": pa.array([one]), "b": pa.array([two])}) for one, two in (("x", "y"), ("y", "x"))
        ]
        assert row_hash.hash_rows(swapped[0]) != row_hash.hash_rows(swapped[1])

    def test_slices_of_the_buffer_do_not_matter(self, monkeypatch):
        texts = pa.array([f"message {number} " * (number % 7) for number in range(500)])
        whole = row_hash.hash_cells(texts)
        monkeypatch.setattr(row_hash, "_SLICE_BYTES", 64)
        assert (whole == row_hash.hash_cells(texts)).all()


class TestHashStretches:
    @pytest.mark.parametrize("slice_bytes", [7, 1 << 15])
    def test_they_are_those_of_cells_with_the_same_bytes(self, slice_bytes, monkeypatch):
        monkeypatch.setattr(row_hash, "_SLICE_BYTES", slice_bytes)
        text = b" turn on  the light\xc3\xa9 42 "
        data = np.frombuffer(text, np.uint8)
        starts = np.array([place for place in range(1, len(text)) if text[place - 1] == 32 and text[place] != 32])
        words = row_hash.hash_cells(pa.array(text.decode().split()))
        assert row_hash.hash_stretches(data, starts, data != 32).tolist() == words.tolist()

    def test_a_buffer_may_have_none(self):
        assert not len(row_hash.hash_stretches(np.empty(0, np.uint8), np.empty(0, np.int64), np.empty(0, bool)))


class TestAreAmong:
    def test_finds_those_that_are(self):
        known = np.array([3, 5, 2**64 - 1], np.uint64)
        hashes = np.array([0, 3, 4, 5, 2**64 - 1, 2**64 - 2], np.uint64)
        assert row_hash.are_among(hashes, known).tolist() == [False, True, False, True, True, False]

    def test_nothing_is_among_none(self):
        assert not row_hash.are_among(np.array([0, 1], np.uint64), np.empty(0, np.uint64)).any()


class TestHashCells:
    @pytest.mark.parametrize("distinct", [1, 3, 200, 5000])
    def test_a_column_that_repeats_its_values_is_hashed_like_one_that_does_not(self, distinct, monkeypatch):
        monkeypatch.setattr(row_hash, "_LOOKED_AT", 600)
        monkeypatch.setattr(row_hash, "_MOST_DISTINCT", 500)
        texts = [None if number % 7 == 0 else f"größe {number % distinct}" * (number % 3) for number in range(6000)]
        column = pa.array(["", *texts], pa.string()).slice(1)
        few = [row_hash.hash_cells(column.slice(start, 500)) for start in range(0, 6000, 500)]
        assert (row_hash.hash_cells(column) == np.concatenate(few)).all()

    @pytest.mark.parametrize("column", BATCH.schema.names)
    def test_distinct_values_have_distinct_hashes(self, column):
        assert len(set(row_hash.hash_cells(BATCH.column(column)).tolist())) == len(BATCH)

    def test_many_short_texts_do_not_collide(self):
        texts = pa.array([f"{number:x}" for number in range(200_000)])
        assert len(np.unique(row_hash.hash_cells(texts))) == len(texts)

    def test_both_zeros_are_equal(self):
        first, second = row_hash.hash_cells(pa.array([0.0, -0.0], pa.float32()))
        assert first == second

    @pytest.mark.parametrize("kind", [pa.string(), pa.int64(), pa.float32()])
    def test_no_rows_have_no_hashes(self, kind):
        assert len(row_hash.hash_cells(pa.array([], kind))) == 0

    def test_a_column_of_nothing_but_missing_text_is_hashed(self):
        assert len(set(row_hash.hash_cells(pa.nulls(3, pa.string())).tolist())) == 1


class TestUniform:
    def test_is_even_and_independent_of_the_seed(self):
        hashes = row_hash.hash_cells(pa.array(range(100_000), pa.int64()))
        first, second = row_hash.uniform(hashes, 0), row_hash.uniform(hashes, 1)
        assert first.min() >= 0
        assert first.max() < 1
        assert np.histogram(first, bins=10, range=(0, 1))[0] == pytest.approx(np.full(10, 10_000), rel=0.05)
        assert abs(np.corrcoef(first, second)[0, 1]) < 0.02
