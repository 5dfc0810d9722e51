import json

import numpy as np
import pyarrow as pa

from components.ingestion import quarantine
from components.ingestion.quarantine import Rejected, Sieve


class TestSieve:
    def test_the_first_reason_counts(self):
        sieve = Sieve(np.array([10, 20, 30, 40]))
        sieve.reject(np.array([True, False, False, False]), "first")
        sieve.reject(pa.array([True, True, None, False]), "second")
        assert sieve.kept().tolist() == [False, False, True, True]
        assert [(entry.reason, entry.positions.tolist()) for entry in sieve.rejected()] == [("first", [10]), ("second", [20])]

    def test_a_reason_without_rows_is_none(self):
        sieve = Sieve(np.array([1]))
        sieve.reject(np.array([False]), "never")
        assert sieve.rejected() == []


class TestSegmentReasons:
    def test_counts_by_value_and_reason_over_batches_without_naming_what_no_stored_row_has(self):
        counted = quarantine.SegmentReasons(["language"])
        for _ in range(2):
            sieve = Sieve(np.array([1, 2, 3, 4, 5]))
            sieve.reject(np.array([True, True, False, True, False]), "missing label")
            sieve.reject(np.array([False, False, True, False, False]), "text too long")
            languages = pa.array(["de", "de", "de", "call me at noon", "en"])
            counted.add(pa.RecordBatch.from_pydict({"language": languages}), sieve)
        assert counted.by_value({"language": {"de": 7, "en": 9}}) == {
            "language": {"de": {"missing label": 4, "text too long": 2}, "(other)": {"missing label": 2}}
        }

    def test_missing_values_have_no_segment(self):
        counted = quarantine.SegmentReasons(["language"])
        sieve = Sieve(np.array([1]))
        sieve.reject(np.array([True]), "missing label")
        counted.add(pa.RecordBatch.from_pydict({"language": pa.array([None], pa.string())}), sieve)
        assert counted.by_value({"language": {}}) == {"language": {}}

    def test_parts_add_up(self):
        parts = [quarantine.SegmentReasons(["language"]) for _ in range(2)]
        for part, values in zip(parts, (["de", "en"], ["de", "de"]), strict=True):
            sieve = Sieve(np.array([1, 2]))
            sieve.reject(np.array([True, True]), "missing label")
            part.add(pa.RecordBatch.from_pydict({"language": pa.array(values)}), sieve)
        parts[0].merge(parts[1])
        expected = {"language": {"de": {"missing label": 3}, "en": {"missing label": 1}}}
        assert parts[0].by_value({"language": {"de": 1, "en": 1}}) == expected


class TestQuarantineWriter:
    def test_writes_reason_source_and_position(self, tmp_path):
        writer = quarantine.QuarantineWriter(tmp_path)
        writer.write('odd "name".csv', [Rejected("größe: not a number", np.array([3, 17]))])
        writer.write("other.csv", [Rejected("missing label", np.array([1]))])
        [part] = tmp_path.iterdir()
        assert [tuple(json.loads(line).values()) for line in part.read_text().splitlines()] == [
            ("größe: not a number", 'odd "name".csv', 3),
            ("größe: not a number", 'odd "name".csv', 17),
            ("missing label", "other.csv", 1),
        ]
        assert writer.reasons == {"größe: not a number": 2, "missing label": 1}

    def test_parts_are_bounded(self, tmp_path, monkeypatch):
        monkeypatch.setattr(quarantine, "_ROWS_PER_PART", 2)
        writer = quarantine.QuarantineWriter(tmp_path)
        for position in range(5):
            writer.write("t.csv", [Rejected("reason", np.array([position]))])
        assert sorted(path.name for path in tmp_path.iterdir()) == ["part-00000.jsonl", "part-00001.jsonl", "part-00002.jsonl"]

    def test_replaces_what_an_earlier_attempt_has_left(self, tmp_path):
        for _ in range(2):
            quarantine.QuarantineWriter(tmp_path).write("t.csv", [Rejected("reason", np.array([1]))])
        assert len((tmp_path / "part-00000.jsonl").read_text().splitlines()) == 1
