"""The `monitoring:` section."""

import pydantic
import pytest

from components.monitoring.options import MonitoringOptions


def test_round_trip():
    options = MonitoringOptions(unit="week", history=30, error={"rows": 0.9, "share": 0.2, "level": 1})
    assert MonitoringOptions.model_validate_json(options.model_dump_json()) == options


@pytest.mark.parametrize(("unit", "history", "needed"), [("hour", 336, 48), ("day", 56, 14), ("week", 26, 8), ("span", 20, 5)])
def test_history_fits_the_unit(unit, history, needed):
    options = MonitoringOptions(unit=unit)
    assert (options.looked_back, options.needed_history) == (history, needed)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"history": 10, "minimum_history": 11}, r"monitoring.minimum_history \(11\) must not exceed monitoring.history \(10\)"),
        (
            {"warning": {"rows": 0.6, "share": 0.01, "level": 0.1}},
            r"monitoring.warning.rows \(0.6\) must not exceed monitoring.error.rows \(0.5\)",
        ),
        ({"unit": "month"}, "'hour', 'day', 'week' or 'span'"),
    ],
)
def test_what_does_not_fit_is_refused(values, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        MonitoringOptions.model_validate(values)


def test_a_short_history_needs_no_more_than_there_is():
    assert MonitoringOptions(history=8).needed_history == 8
