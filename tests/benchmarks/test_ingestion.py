"""The benchmark of ingestion, on a few rows: both sides do what they say they do."""

import pytest

from benchmarks import ingestion


@pytest.fixture(autouse=True)
def few_commands(monkeypatch):
    """Reading the grammars of all languages takes longer than everything else."""
    monkeypatch.setattr(ingestion, "_LANGUAGES", ("en",))
    monkeypatch.setattr(ingestion, "_DISTINCT_COMMANDS", 1_000)
    ingestion._commands.cache_clear()
    yield
    ingestion._commands.cache_clear()


def test_both_sides_read_all_rows_and_one_of_them_checks_them(monkeypatch):
    # In this process: two more would import for longer than they read.
    used = {"wall_s": 2.0, "cpu_s": 1.0, "peak_mib": 100.0}
    monkeypatch.setattr(ingestion, "_measured", lambda side: {**used, **ingestion.ingested(side)})
    result = ingestion.compare(rows=3_000, large=6_000, rounds=1)
    plain, checked = result[ingestion.PLAIN], result[ingestion.CHECKED]
    many = result[f"{ingestion.CHECKED}, 6,000 rows"]
    assert (plain["rows"], plain["quarantined"], plain["redacted_rows"]) == (3_000, 0, 0)
    assert (checked["rows"], many["rows"]) == (3_000, 6_000)
    assert checked["quarantined"] == result["planted"]["broken"] == 30
    assert many["quarantined"] == 60
    assert checked["redacted_rows"] >= result["planted"]["personal"] == 60
    assert min(result[name] for name in ("seconds_ratio", "cpu_ratio", "memory_ratio")) > 0


def test_the_tables_differ_in_nothing_but_what_is_planted(tmp_path):
    planted = [ingestion.write_table(tmp_path / name, 400, dirty) for name, dirty in (("plain", False), ("dirty", True))]
    plain, dirty = ((tmp_path / name).read_text(encoding="utf-8").splitlines() for name in ("plain", "dirty"))
    assert planted == [{"broken": 0, "personal": 0}, {"broken": 4, "personal": 8}]
    assert len(set(plain)) == len(plain) == len(dirty) == 401
    assert sum(one != other for one, other in zip(plain, dirty, strict=True)) == 12
