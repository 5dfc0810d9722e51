import datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from components.ingestion import value_columns

BERLIN = datetime.timezone(datetime.timedelta(hours=1))


@pytest.mark.parametrize(
    ("values", "kind", "read"),
    [
        ([], pa.string(), []),
        ([None, None], pa.string(), [None, None]),
        ([1, None], pa.int64(), [1, None]),
        ([1, 2.5], pa.float64(), [1.0, 2.5]),
        ([2**70, 1], pa.float64(), [2.0**70, 1.0]),
        ([Decimal("1.50"), None], pa.float64(), [1.5, None]),
        ([Decimal("1.50"), 2], pa.float64(), [1.5, 2.0]),
        ([True, None], pa.bool_(), [True, None]),
        (["a", ""], pa.string(), ["a", ""]),
        ([datetime.date(2026, 1, 2)], pa.date32(), [datetime.date(2026, 1, 2)]),
        ([datetime.datetime(2026, 1, 2)], pa.timestamp("us"), [datetime.datetime(2026, 1, 2)]),
        (
            [datetime.datetime(2026, 1, 2, 3, tzinfo=BERLIN), datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)],
            pa.timestamp("us", "UTC"),
            [datetime.datetime(2026, 1, 2, 2, tzinfo=datetime.UTC), datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)],
        ),
        ([1, "a", True, None], pa.binary(), [b"1", b"a", b"true", None]),
        ([[1, "ä"], {"k": None}], pa.binary(), ['[1, "ä"]'.encode(), b'{"k": null}']),
        ([b"\xff", "ok"], pa.binary(), [b"\xff", b"ok"]),
        (["\ud83d", "ok"], pa.binary(), [b"\xed\xa0\xbd", b"ok"]),
        (
            [datetime.datetime(2026, 1, 2), datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)],
            pa.binary(),
            [b"2026-01-02 00:00:00", b"2026-01-02 00:00:00+00:00"],
        ),
    ],
)
def test_what_drivers_return(values, kind, read):
    column = value_columns.column(values)
    assert column.type == kind
    assert column.to_pylist() == read
