"""Rows become series: counted by period, in bounded memory."""

import numpy as np
import pyarrow as pa
import pytest

from components.monitoring import periods, series
from components.monitoring.series import LEVEL, MISSING, OTHER, ROWS, SHARE, Collector

DAY = 86_400
MONDAY = 20_454 * DAY - 3 * DAY  # 2025-12-29


def collect(rows, seconds, unit="day", last=None, **followed):
    collector = Collector(unit, **followed)
    collector.add(pa.RecordBatch.from_pydict(rows), np.array(seconds, np.float64))
    return collector.timeline(last)


def one(timeline, measure, column="", value=""):
    [found] = [s for s in timeline.series if (s.measure, s.column, s.value) == (measure, column, value)]
    return found


class TestPeriods:
    @pytest.mark.parametrize(
        ("unit", "seconds", "name"),
        [
            ("hour", MONDAY + 3600 * 14 + 59, "2025-12-29 14:00"),
            ("day", MONDAY + DAY - 1, "2025-12-29"),
            ("week", MONDAY + 7 * DAY - 1, "week of 2025-12-29"),
            ("week", MONDAY, "week of 2025-12-29"),
            ("week", MONDAY - 1, "week of 2025-12-22"),
            ("day", -1, "1969-12-31"),
        ],
    )
    def test_a_time_falls_into_one(self, unit, seconds, name):
        [period] = periods.of_seconds(np.array([seconds], np.float64), unit)
        assert periods.name(period, unit) == name
        assert periods.of_seconds(np.array([periods.end(period, unit)]), unit) == period + 1

    def test_days_repeat_with_the_weekday_and_hours_also_with_the_hour(self):
        days = periods.of_seconds(MONDAY + np.arange(8) * DAY, "day")
        assert periods.seasons(days, "day")[0].tolist() == [0, 1, 2, 3, 4, 5, 6, 0]
        hours = periods.of_seconds(np.array([MONDAY + 5 * 3600.0, MONDAY + DAY]), "hour")
        assert [places.tolist() for places in periods.seasons(hours, "hour")] == [[5, 0], [0, 1]]
        assert periods.seasons(days, "week") == []


class TestCounting:
    def test_rows_shares_missing_cells_and_lengths(self):
        timeline = collect(
            {"label": ["a", "b", "a", None], "text": ["four", "", "sixsix", None], "n": ["1", "x", "3", ""]},
            [MONDAY, MONDAY + 5, MONDAY + DAY, MONDAY + DAY],
            shares=[("label",)], missing=["label", "text"], lengths=["text"], numbers=["n"],
        )  # fmt: skip
        assert [timeline.name(0), timeline.name(-1)] == ["2025-12-29", "2025-12-30"]
        assert one(timeline, ROWS).values.tolist() == [2, 2]
        # Of the rows that have a label.
        assert one(timeline, SHARE, "label", "a").values.tolist() == [0.5, 1.0]
        assert one(timeline, MISSING, "label").values.tolist() == [0, 0.5]
        assert one(timeline, MISSING, "text").values.tolist() == [0.5, 0.5]
        assert one(timeline, LEVEL, "length of text").values == pytest.approx([5**0.5 - 1, 6])
        assert one(timeline, LEVEL, "n").totals.tolist() == [1, 1]

    def test_a_cross_of_columns_counts_rows_with_all_of_them(self):
        timeline = collect(
            {"language": ["de", "de", "en"], "channel": ["app", "web", None]}, [MONDAY] * 3, shares=[("language", "channel")]
        )
        assert one(timeline, SHARE, "language x channel", "de x app").values.tolist() == [0.5]

    def test_days_without_rows_are_zeros_and_have_no_shares(self):
        timeline = collect({"label": ["a", "a"]}, [MONDAY, MONDAY + 2 * DAY], shares=[("label",)])
        assert one(timeline, ROWS).values.tolist() == [1, 0, 1]
        assert np.isnan(one(timeline, SHARE, "label", "a").values[1])

    def test_the_last_period_can_be_named(self):
        rows, seconds = {"label": ["a", "a"]}, [MONDAY, MONDAY + 2 * DAY]
        first = int(periods.of_seconds(np.array([MONDAY]), "day")[0])
        assert one(collect(rows, seconds, last=first), ROWS).values.tolist() == [1]
        assert one(collect(rows, seconds, last=first + 3), ROWS).values.tolist() == [1, 0, 1, 0]

    def test_batches_add_up(self):
        collector = Collector("day", shares=[("label",)])
        for label in "aab":
            collector.add(pa.RecordBatch.from_pydict({"label": [label]}), np.array([MONDAY], np.float64))
        assert one(collector.timeline(), SHARE, "label", "a").values == pytest.approx([2 / 3])

    def test_rows_without_a_time_or_of_one_to_come_are_only_counted(self):
        timeline = collect({"label": ["a"] * 3}, [MONDAY, np.nan, MONDAY + 9 * DAY], until=MONDAY + DAY)
        assert (timeline.undated, timeline.future, one(timeline, ROWS).values.tolist()) == (1, 1, [1])

    def test_a_column_that_is_not_there_is_missing(self):
        timeline = collect({"label": ["a"]}, [MONDAY], missing=["text"], lengths=["text"], shares=[("segment",)])
        assert one(timeline, MISSING, "text").values.tolist() == [1]

    def test_nothing_is_an_empty_timeline(self):
        timeline = collect({"label": pa.array([], pa.string())}, [])
        assert (len(timeline.periods), timeline.series) == (0, ())


class TestBounds:
    def test_the_rarest_values_are_counted_together(self):
        timeline = collect({"id": ["a"] * 5 + ["b"] * 3 + ["c", "d"]}, [MONDAY] * 10, shares=[("id",)], values=2)
        shares = {s.value: s.values[0] for s in timeline.series if s.measure == SHARE}
        assert shares == {"a": 0.5, "b": 0.3, OTHER: 0.2}

    def test_so_are_those_of_a_column_with_a_value_for_each_row(self):
        collector = Collector("day", shares=[("id",)], values=2)
        for start in range(0, 5000, 100):
            ids = [str(start + number) for number in range(95)] + ["frequent"] * 5
            collector.add(pa.RecordBatch.from_pydict({"id": ids}), np.full(100, MONDAY, np.float64))
            assert len(collector._shares["id",]._counts) <= 132
        timeline = collector.timeline()
        assert one(timeline, SHARE, "id", "frequent").values.tolist() == [0.05]
        assert sum(s.counts[0] for s in timeline.series if s.measure == SHARE) == 5000

    def test_a_value_of_the_newest_period_is_not_taken_for_rare(self):
        ids = [f"old{number}" for number in range(100) for _ in range(3)] + ["new"] * 2
        seconds = [MONDAY] * 300 + [MONDAY + DAY] * 2
        timeline = collect({"id": ids}, seconds, shares=[("id",)], values=3)
        assert one(timeline, SHARE, "id", "new").values.tolist() == [0, 1]

    def test_the_oldest_periods_are_dropped(self, monkeypatch):
        monkeypatch.setattr(series, "MOST_PERIODS", 10)
        collector = Collector("day", shares=[("label",)], missing=["label"], numbers=["n"])
        for day in range(100):
            rows = pa.RecordBatch.from_pydict({"label": [None if day % 2 else "a"], "n": [day]})
            collector.add(rows, np.array([MONDAY + day * DAY], np.float64))
            assert len(collector._rows) <= 21
        timeline = collector.timeline()
        assert len(timeline.periods) == 10
        assert all(s.totals.sum() in (10, 5) for s in timeline.series)
