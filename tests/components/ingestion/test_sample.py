import numpy as np
import pyarrow as pa
import pytest

from components.errors import UsageError
from components.ingestion import ingest, row_hash, sample, splits
from components.ingestion.options import DataOptions
from components.ingestion.quarantine import Rejected, Sieve
from components.ingestion.readers import Chunk

ROWS = 20_000
TEXTS = [f"message {number}" for number in range(ROWS)]


def options(share, **settings):
    return DataOptions.model_validate({"source": {"type": "csv", "path": "t.csv"}, "label": "label", "sample": share} | settings)


def chunk_of(rejected=(), first=1, **columns):
    rows = pa.RecordBatch.from_pydict(columns)
    return Chunk("t.csv", tuple(columns), rows, np.arange(first, first + rows.num_rows), list(rejected))


def kept(chunk, data_options, column="text"):
    return sample.thin(chunk, data_options).rows.column(column).to_pylist()


class TestTheShare:
    @pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
    def test_is_close_to_what_was_asked_for(self, share):
        chunk = sample.thin(chunk_of(text=TEXTS), options(share, text="text"))
        assert len(chunk.positions) == chunk.rows.num_rows == pytest.approx(share * ROWS, rel=0.15)

    def test_of_one_is_everything_untouched(self):
        chunk = chunk_of(text=TEXTS)
        assert sample.thin(chunk, options(1.0)) is chunk

    def test_says_how_many_rows_are_outside(self):
        chunk = sample.thin(chunk_of(text=TEXTS), options(0.1, text="text"))
        assert chunk.skipped == {"rows outside the 10 % sample": ROWS - len(chunk.positions)}

    @pytest.mark.parametrize("share", [0, -0.1, 1.1])
    def test_is_above_nothing_and_at_most_everything(self, share):
        with pytest.raises(ValueError, match="sample"):
            options(share)


class TestTheSameRowsEveryTime:
    def test_whatever_their_order_and_chunks(self):
        whole = kept(chunk_of(text=TEXTS), options(0.1, text="text"))
        reverse = kept(chunk_of(text=TEXTS[::-1]), options(0.1, text="text"))
        parts = [kept(chunk_of(text=TEXTS[start : start + 999]), options(0.1, text="text")) for start in range(0, ROWS, 999)]
        assert whole == reverse[::-1] == [text for part in parts for text in part]

    def test_whatever_other_columns_are_read_and_however_rows_are_split(self):
        numbers = list(range(ROWS))
        plain = kept(chunk_of(text=TEXTS), options(0.1, text="text"))
        assert kept(chunk_of(text=TEXTS, n=numbers), options(0.1, text="text", split={"seed": 7})) == plain

    def test_a_larger_sample_holds_the_smaller_one(self):
        small, large = (set(kept(chunk_of(text=TEXTS), options(share, text="text"))) for share in (0.05, 0.2))
        assert small < large

    def test_positions_stay_those_of_the_source(self):
        chunk = sample.thin(chunk_of(text=TEXTS, first=1001), options(0.1, text="text"))
        assert [TEXTS[position - 1001] for position in chunk.positions] == chunk.rows.column("text").to_pylist()

    def test_without_texts_all_columns_count(self):
        amounts = np.arange(ROWS) / 4
        rows = kept(chunk_of(fare=amounts, label=["a"] * ROWS), options(0.1), "fare")
        assert len(rows) == pytest.approx(0.1 * ROWS, rel=0.15)


class TestWhatStaysTogether:
    GROUPS = [f"conversation {number // 10}" for number in range(ROWS)]

    def test_groups(self):
        groups = kept(chunk_of(text=TEXTS, id=self.GROUPS), options(0.1, text="text", group="id"), "id")
        assert len(groups) == 10 * len(set(groups)) == pytest.approx(0.1 * ROWS, rel=0.3)

    def test_rows_without_a_group_are_drawn_by_their_texts(self):
        ungrouped = kept(chunk_of(text=TEXTS, id=pa.nulls(ROWS, pa.string())), options(0.1, text="text", group="id"))
        assert ungrouped == kept(chunk_of(text=TEXTS), options(0.1, text="text"))

    def test_rows_without_group_and_text_stand_for_themselves(self):
        rows = kept(chunk_of(text=pa.nulls(ROWS, pa.string()), n=np.arange(ROWS)), options(0.1, text="text"), "n")
        assert len(rows) == pytest.approx(0.1 * ROWS, rel=0.15)


def test_splits_of_a_sample_have_the_shares_of_the_whole():
    data_options = options(0.2, text="text", split={"eval": 0.1, "test": 0.2})
    chunk = sample.thin(chunk_of(text=TEXTS), data_options)
    plan = splits.plan(data_options, lambda name: iter(()))
    codes = plan.assign(chunk.rows, row_hash.hash_rows(chunk.rows), Sieve(chunk.positions))
    assert np.bincount(codes, minlength=3) / len(codes) == pytest.approx([0.7, 0.1, 0.2], abs=0.03)


def test_of_rows_set_aside_the_same_share_is_left():
    chunk = chunk_of([Rejected("not UTF-8", np.arange(1, ROWS)), Rejected("too long", np.array([2]))], text=TEXTS[:1], first=ROWS)
    [entry] = sample.thin(chunk, options(0.1, text="text")).rejected
    assert entry.reason == "not UTF-8"
    assert len(entry.positions) == pytest.approx(0.1 * ROWS, rel=0.15)


class TestIngestion:
    """What is stored is the sample, and the summary says so."""

    @pytest.fixture
    def ingested(self, tmp_path, write_rows, make_options, make_schema):
        def ingested(share, texts, labels="ab"):
            path = write_rows("csv", text=texts, label=[labels[number % len(labels)] for number in range(len(texts))])
            data_options = make_options(path, sample=share)
            folders = [str(tmp_path / f"{name}-{share}-{len(texts)}") for name in ("examples", "quarantine")]
            return ingest.ingest(data_options, make_schema(text="BYTES", label="BYTES"), None, *folders)

        return ingested

    def test_keeps_the_share_and_its_splits(self, ingested):
        whole, part = ingested(1.0, TEXTS), ingested(0.1, TEXTS)
        assert (whole["sample"], part["sample"]) == (1.0, 0.1)
        stored = {name: part["rows"][name] / whole["rows"][name] for name in splits.SPLITS}
        assert stored == pytest.approx(dict.fromkeys(splits.SPLITS, 0.1), rel=0.25)
        assert part["notes"] == [f"{ROWS - sum(part['rows'].values())} rows outside the 10 % sample were skipped"]

    def test_of_a_table_too_small_says_why_there_is_nothing(self, ingested):
        with pytest.raises(UsageError, match="no rows in a 0.01 % sample|split is empty .* in a 0.01 % sample"):
            ingested(0.0001, TEXTS[:50])
