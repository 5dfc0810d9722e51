"""Spans: no row is read twice, none is left out, and a row that is late is in the next one."""

import datetime

import pytest

from components.errors import UsageError
from components.ingestion import database, watermark
from components.ingestion.options import Incremental

NEW_YEAR = datetime.datetime(2026, 1, 1)


def at(days, **columns):
    return {"at": NEW_YEAR + datetime.timedelta(days=days), **columns}


class Run:
    """Ingests a table again and again, and remembers what a pipeline remembers."""

    def __init__(self, table, **options):
        self.table = table
        self.options = options
        self.spans = []

    def __call__(self, **options):
        """The rows of the next span, and its number."""
        incremental = Incremental.model_validate(self.options | options)
        span, region = watermark.resolve(self.table, incremental, self.spans)
        # As they are stored between runs.
        span, region = watermark.closed(span.to_json()), watermark.region(region.to_json())
        self.spans = [*(known for known in self.spans if known.number != span.number), span]
        return span.number, self.table.of(region)


class TestSpans:
    def test_a_span_holds_what_arrived_since_the_last_one(self, table):
        run = Run(table, column="id")
        table.rows = [{"id": 1}, {"id": 2}]
        assert run() == (1, [{"id": 1}, {"id": 2}])
        table.rows += [{"id": 3}]
        assert run() == (2, [{"id": 3}])

    def test_without_anything_new_the_last_one_is_read_again(self, table):
        run = Run(table, column="id")
        table.rows = [{"id": 1}]
        run()
        table.rows += [{"id": 2}]
        assert run() == run() == (2, [{"id": 2}])

    def test_a_run_that_failed_left_no_watermark(self, table):
        run = Run(table, column="id")
        table.rows = [{"id": 1}]
        run()
        table.rows += [{"id": 2}]
        run()
        run.spans = run.spans[:1]
        table.rows += [{"id": 3}]
        assert run() == (2, [{"id": 2}, {"id": 3}])

    def test_days_end_when_the_next_one_has_begun(self, table):
        run = Run(table, column="at", by="day")
        table.rows = [at(0.2), at(0.9), at(1.1)]
        assert run() == (1, table.rows[:2])
        table.rows += [at(1.9)]
        assert run()[0] == 1
        table.rows += [at(4.5)]
        assert run() == (2, [at(1.1), at(1.9)])

    def test_a_deletion_does_not_bring_the_watermark_back(self, table):
        run = Run(table, column="id")
        table.rows = [{"id": 1}, {"id": 5}]
        run()
        table.rows = [{"id": 1}]
        assert run() == (1, [{"id": 1}])
        table.rows += [{"id": 4}, {"id": 6}]
        assert run() == (2, [{"id": 6}])

    def test_windows_roll(self, table):
        run = Run(table, column="id", window=2)
        read = []
        for number in range(1, 5):
            table.rows += [{"id": number}]
            read.append([row["id"] for row in run()[1]])
        assert read == [[1], [1, 2], [2, 3], [3, 4]]

    def test_an_earlier_span_can_be_read_again(self, table):
        run = Run(table, column="id")
        for number in range(1, 4):
            table.rows += [{"id": number}]
            run()
        assert run(span=2) == (2, [{"id": 2}])
        assert run(span=3, window=2) == (3, [{"id": 2}, {"id": 3}])
        with pytest.raises(UsageError, match="span 4 has not been closed; there are: 1 to 3"):
            run(span=4)

    def test_rows_before_the_start_are_in_none(self, table):
        run = Run(table, column="at", start=datetime.date(2026, 1, 2))
        table.rows = [at(0), at(1), at(2)]
        assert run() == (1, [at(1), at(2)])


class TestLateRows:
    def test_they_are_in_the_next_span(self, table):
        run = Run(table, column="at", by="day", arrival="id")
        table.rows = [at(0.2, id=1), at(1.2, id=2)]
        assert run() == (1, [at(0.2, id=1)])
        late = at(0.5, id=3)
        table.rows += [late, at(2.2, id=4)]
        assert run() == (2, [at(1.2, id=2), late])

    def test_alone_they_wait_for_the_day_to_end(self, table):
        run = Run(table, column="at", by="day", arrival="id")
        table.rows = [at(0.2, id=1), at(1.2, id=2)]
        run()
        table.rows += [at(0.5, id=3)]
        assert run() == (1, [at(0.2, id=1)])

    def test_without_an_arrival_they_are_counted(self, table):
        run = Run(table, column="at")
        table.rows = [at(0), at(2)]
        run()
        table.rows += [at(1), at(3), {"at": None}]
        _, region = watermark.resolve(table, Incremental(column="at"), run.spans)
        [block] = database.blocks(table, region, None)
        assert block.rows.num_rows == 1
        assert dict(block.skipped) == {
            "rows without a value of 'at'": 1,
            "rows that appeared below the last watermark after it was taken (see incremental.arrival and lag)": 1,
        }

    def test_every_row_is_in_exactly_one_span_however_it_arrives(self, table):
        run = Run(table, column="at", by="day", arrival="id")
        days = [0.1, 0.3, 1.2, 0.4, 2.1, 1.5, 0.2, 3.3, 1.1, 3.4, 2.2, 5.0, 4.1, 9.0]
        read = []
        for number, day in enumerate(days):
            table.rows.append(at(day, id=number))
            span, rows = run()
            if span > len(read):
                read.append([row["id"] for row in rows])
        assert sorted(sum(read, [])) == [number for number, day in enumerate(days) if day < 9.0]


class TestLag:
    @pytest.mark.parametrize(
        ("values", "lag", "read"),
        [
            ([1, 8, 10], 2, 2),
            ([1.0, 8.5, 10.0], 1.5, 2),
            ([NEW_YEAR, NEW_YEAR + datetime.timedelta(seconds=50), NEW_YEAR + datetime.timedelta(seconds=60)], 11, 1),
            ([datetime.date(2026, 1, 1), datetime.date(2026, 1, 3)], 86_400, 1),
        ],
    )
    def test_what_is_too_new_waits(self, table, values, lag, read):
        table.rows = [{"c": value} for value in values]
        assert len(Run(table, column="c", lag=lag)()[1]) == read

    def test_of_the_arrival_where_there_is_one(self, table):
        table.rows = [at(0, id=1), at(2, id=2), at(1, id=9)]
        run = Run(table, column="at", arrival="id", lag=5)
        assert run() == (1, table.rows[:2])
        table.rows += [at(3, id=20)]
        assert run() == (2, [at(1, id=9)])

    def test_of_text_there_is_none(self, table):
        table.rows = [{"c": "a secret"}]
        with pytest.raises(UsageError, match="'c' holds text") as error:
            Run(table, column="c", lag=1)()
        assert "secret" not in str(error.value)


class TestKinds:
    @pytest.mark.parametrize(
        ("newest", "by", "end"),
        [
            (datetime.datetime(2026, 3, 4, 5, 6, 7, 8), "hour", datetime.datetime(2026, 3, 4, 5)),
            (datetime.datetime(2026, 3, 4, 5, 6, 7, 8), "month", datetime.datetime(2026, 3, 1)),
            (
                datetime.datetime(2026, 3, 4, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=2))),
                "day",
                datetime.datetime(2026, 3, 3, tzinfo=datetime.UTC),
            ),
            (datetime.date(2026, 3, 4), "day", datetime.date(2026, 3, 4)),
            (datetime.date(2026, 3, 4), "month", datetime.date(2026, 3, 1)),
            ("2026-03-04T05:06:07Z", "hour", "2026-03-04T05"),
            ("2026-03-04 05:06", "day", "2026-03-04"),
        ],
    )
    def test_where_hours_days_and_months_end(self, newest, by, end):
        [bound] = watermark.taken(Incremental(column="c", by=by), {"c": newest}, None)
        assert (bound.value, bound.inclusive) == (end, False)

    @pytest.mark.parametrize("value", ["a name", 5])
    def test_what_has_no_days(self, value):
        with pytest.raises(UsageError, match="neither. Use by: value") as error:
            watermark.taken(Incremental(column="c", by="day"), {"c": value}, None)
        assert "a name" not in str(error.value)

    @pytest.mark.parametrize("value", [True, b"x", [1]])
    def test_what_has_no_order(self, value):
        with pytest.raises(UsageError, match="'c' holds"):
            watermark.taken(Incremental(column="c"), {"c": value}, None)

    def test_a_start_is_of_the_columns_kind(self):
        with pytest.raises(UsageError, match="start must be like the values of 'c', which are of type int; received 'soon'"):
            watermark.start_of(Incremental(column="c", start="soon"), 5)

    def test_a_column_that_changed_its_type_is_an_error(self):
        last = watermark.Closed(1, (watermark.Bound("c", 5, True),), 1)
        with pytest.raises(UsageError, match="held int when its last span was closed and holds str now"):
            watermark.taken(Incremental(column="c"), {"c": "x"}, last)

    def test_an_empty_table_has_no_spans(self, table):
        with pytest.raises(UsageError, match="no rows with a value of 'id'"):
            Run(table, column="id")()

    def test_two_columns_are_two(self):
        with pytest.raises(ValueError, match="received 'id' for both"):
            Incremental(column="id", arrival="id")
