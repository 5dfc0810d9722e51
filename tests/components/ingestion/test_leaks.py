import numpy as np
import pyarrow as pa
import pytest
from tensorflow_metadata.proto.v0 import schema_pb2

from components.ingestion import leaks, near_duplicates, row_hash
from components.ingestion.options import DataOptions

OPTIONS = DataOptions.model_validate({"source": {"type": "csv", "path": "t.csv"}, "text": "text", "label": "label"})
TABULAR = OPTIONS.model_copy(update={"text": ()})
TRAIN, EVAL, TEST, NOWHERE = 0, 1, 2, -1


def _schema(not_served=("label",), **features):
    schema = schema_pb2.Schema()
    for name, kind in features.items():
        feature = schema.feature.add(name=name, type=schema_pb2.FeatureType.Value(kind))
        if name in not_served:
            feature.not_in_environment.append("SERVING")
    return schema


def _report(splits, texts, labels, batches=1):
    watch = leaks.LeakWatch(OPTIONS, _schema(text="BYTES", label="BYTES"))
    for part in np.array_split(np.arange(len(splits)), batches):
        rows = pa.RecordBatch.from_pydict(
            {"text": pa.array([texts[n] for n in part], pa.string()), "label": pa.array([labels[n] for n in part], pa.string())}
        )
        watch.add(
            np.array([splits[n] for n in part], np.int8),
            rows,
            *near_duplicates.hash_texts(rows, ["text"], row_hash.hash_columns(rows)),
        )
    return watch.report()


class TestDuplicates:
    SPLITS = (TRAIN, TRAIN, EVAL, TEST, TEST, TEST, TEST, NOWHERE)
    TEXTS = ("yes", "on", "YES", "yes", "On!", "on", "off", "off")

    @pytest.mark.parametrize("batches", [1, 3, 8])
    def test_rows_whose_text_an_earlier_split_has(self, batches):
        report = _report(self.SPLITS, self.TEXTS, ["a"] * 8, batches)
        assert report["exact"] == {"eval": {"rows": 0, "share": 0.0}, "test": {"rows": 2, "share": 0.5}}
        assert report["near"] == {"eval": {"rows": 1, "share": 1.0}, "test": {"rows": 3, "share": 0.75}}
        assert report["share_of_texts"] == 1

    def test_repetition_within_a_split_is_no_leak(self):
        report = _report([TRAIN, TEST, TEST], ["a", "b", "b"], ["x"] * 3)
        assert report["near"]["test"] == {"rows": 0, "share": 0.0}

    def test_rows_without_a_text_do_not_count(self):
        report = _report([TRAIN, TEST, TEST], [None, None, "a"], ["x"] * 3)
        assert report["exact"]["test"] == {"rows": 0, "share": 0.0}

    def test_no_rows_at_all(self):
        report = _report([], [], [])
        assert report["near"]["test"] == report["exact"]["eval"] == {"rows": 0, "share": 0.0}
        assert report["label_conflicts"] == {"texts": 0, "rows": 0, "share": 0.0}


class TestLabelConflicts:
    @pytest.mark.parametrize("batches", [1, 4])
    def test_the_rows_that_are_outvoted(self, batches):
        texts = ["yes", "Yes", "yes.", "no", "no", "no", "maybe", None]
        labels = ["a", "a", "b", "a", "b", "c", "a", "b"]
        report = _report([TRAIN, EVAL, TEST, TRAIN, TRAIN, TRAIN, TRAIN, TRAIN], texts, labels, batches)
        assert report["label_conflicts"] == {"texts": 2, "rows": 3, "share": pytest.approx(3 / 7, abs=1e-6)}


class TestManyTexts:
    def test_are_estimated_from_a_share_of_them_in_bounded_memory(self, monkeypatch):
        monkeypatch.setattr(leaks, "_MOST_ENTRIES", 4096)
        monkeypatch.setattr(leaks, "_MOST_PENDING", 1024)
        watched = leaks._Texts()
        texts = np.random.default_rng(0).integers(0, 2**63, 20_000, dtype=np.uint64)
        # Every text is once in train; every fourth is in test as well, under another label.
        for part in np.array_split(texts, 10):
            watched.add(part, np.full(len(part), TRAIN))
        for part in np.array_split(np.concatenate([texts[::4], texts[::4] + np.uint64(1 << 20)]), 10):
            watched.add(part, np.full(len(part), 3 + TEST))
        assert len(watched._entries) <= 4096
        assert watched.share < 1
        found = watched.straddling()["test"]
        assert found["share"] == pytest.approx(0.5, abs=0.05)
        assert found["rows"] == pytest.approx(5000, rel=0.1)
        assert watched.conflicts()["texts"] == pytest.approx(5000, rel=0.15)


class TestColumns:
    def _columns(self, rows, schema):
        watch = leaks.LeakWatch(TABULAR, schema)
        watch.add(np.zeros(rows.num_rows, np.int8), rows, *near_duplicates.hash_texts(rows, [], {}))
        return watch.report()

    def test_an_input_that_is_the_label_in_other_words_stands_out(self):
        random = np.random.default_rng(0)
        label = random.integers(0, 2, 2000)
        rows = pa.RecordBatch.from_pydict(
            {
                "paid": pa.array(np.where(label, "card", "cash").tolist()),
                "amount": pa.array((label * 10 + random.normal(size=2000)).astype(np.float32)),
                "noise": pa.array(random.integers(0, 5, 2000)),
                "after": pa.array(np.where(label, "x", "y").tolist()),
                "label": pa.array(label.astype(str).tolist()),
            }
        )
        schema = _schema(("label", "after"), paid="BYTES", amount="FLOAT", noise="INT", after="BYTES", label="BYTES")
        columns = self._columns(rows, schema)["columns"]
        assert columns.keys() == {"paid", "amount", "noise"}  # a request does not carry the others
        assert columns["paid"]["information"] == pytest.approx(1, abs=0.01)
        assert columns["paid"]["gain"] == pytest.approx(0.5, abs=0.05)
        assert columns["amount"]["information"] > 0.9
        assert columns["noise"]["information"] < 0.02

    def test_a_table_without_text_has_no_texts_to_report(self):
        assert self._columns(
            pa.RecordBatch.from_pydict({"label": pa.array(["a"])}), _schema(label="BYTES")
        ) == {"columns": {}}  # fmt: skip

    def test_the_sample_is_bounded_and_even(self, monkeypatch):
        monkeypatch.setattr(leaks, "_MOST_SAMPLED_ROWS", 100)
        sample = leaks._Sample()
        for start in range(0, 2000, 50):
            sample.add(pa.RecordBatch.from_pydict({"n": pa.array(range(start, start + 50))}))
        rows = sample.rows()["n"].to_numpy()
        assert 30 < len(rows) <= 100
        assert rows.mean() == pytest.approx(1000, abs=200)
