from __future__ import annotations

import pytest

from components.reporting.axis import Axis, share_axis


class TestShareAxis:
    @pytest.mark.parametrize(
        ("values", "ticks"),
        [
            ([0.81, 0.93], (0.8, 0.85, 0.9, 0.95)),
            ([0.03, 0.97], (0.0, 0.25, 0.5, 0.75, 1.0)),
            ([0.97, 0.999], (0.97, 0.98, 0.99, 1.0)),
            ([1.0], (0.98, 0.99, 1.0)),
            ([0.0], (0.0, 0.01, 0.02)),
            ([], (0.0, 0.25, 0.5, 0.75, 1.0)),
            ([None, float("nan"), 0.5], (0.5, 0.51, 0.52)),
        ],
    )
    def test_is_short_round_and_within_0_and_1(self, values, ticks):
        assert share_axis(values).ticks == pytest.approx(ticks)

    @pytest.mark.parametrize("low", [step / 50 for step in range(50)])
    def test_holds_every_value(self, low):
        for high in (low, low + 0.013, (low + 1) / 2, 1.0):
            axis = share_axis([low, high])
            assert axis.low - 1e-9 <= low
            assert high <= axis.high + 1e-9
            assert 2 <= len(axis.ticks) <= 5


class TestPlaces:
    AXIS = Axis(0.5, 1.0, (0.5, 0.75, 1.0))

    @pytest.mark.parametrize(("value", "place"), [(0.5, 0), (0.75, 50), (1.0, 100), (0.1, 0), (7, 100), (None, 0)])
    def test_are_percents_of_the_axis_and_never_beyond_it(self, value, place):
        assert self.AXIS.at(value) == place

    def test_an_intervals_length_is_what_is_on_the_axis(self):
        assert self.AXIS.length([0.0, 0.75]) == 50
