"""Compressions of examples are compared on what ingestion writes."""

import pyarrow as pa
import pytest

from benchmarks import compression


@pytest.mark.tensorflow
def test_all_are_read_back_and_the_smallest_is_what_it_should_be(capsys):
    words = [f"turn on light {number % 97} in the kitchen" for number in range(3000)]
    compression.print_comparison(pa.table({"text": words, "label": ["on"] * 3000}))
    found = {one["name"]: one for one in compression.compare(pa.table({"text": words}), rounds=1)}
    assert found[compression.chosen()]["used"]
    assert max(found, key=lambda name: found[name]["mib"]) == "none"
    assert found["gzip by zlib, level 6"]["mib"] < found["gzip by zlib, level 1"]["mib"]
    assert [name for name, one in found.items() if not one["readable"]] == ["zstd 1", "zstd 3"]
    printed = capsys.readouterr().out
    assert f"| {compression.chosen()} (used) |" in printed


@pytest.mark.tensorflow
def test_what_loses_rows_is_an_error(monkeypatch):
    short = compression.Codec("short", lambda records: b"", "")
    monkeypatch.setattr(compression, "CODECS", (short,))
    with pytest.raises(RuntimeError, match="short: 10 examples were written, 0 read"):
        compression.compare(pa.table({"text": ["a"] * 10}), rounds=1)
