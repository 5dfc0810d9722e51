from __future__ import annotations

from components.reporting import timeline


def node(name, seconds, **summary):
    return {"id": name, "state": "complete", "seconds": seconds, "summary": summary}


def test_bars_are_laid_end_to_end():
    bars = timeline.bars([node("A", 1.0), node("B", 3.0)])
    assert [(bar.start, bar.width) for bar in bars] == [(0.0, 25.0), (25.0, 75.0)]


def test_a_run_that_took_no_time_has_bars_of_no_length():
    assert [bar.width for bar in timeline.bars([node("A", 0.0)])] == [0.0]


def test_key_numbers_are_scalars_in_words():
    bar = timeline.bars([node("A", 1.0, train_rows=48011, share=0.12345, blessed=True, by={"a": 1}, note="none yet")])[0]
    assert bar.summary == "train rows 48,011, share 0.1235, blessed yes, note none yet"
