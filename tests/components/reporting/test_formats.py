from __future__ import annotations

import pytest

from components.reporting import formats


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (formats.fraction, 0.87349, "0.873"),
        (formats.fraction, -0.5, "−0.500"),
        (formats.change, 0.0123, "+0.012"),
        (formats.change, -0.0123, "−0.012"),
        (formats.change, -0.0001, "0.000"),
        (formats.change, 1234.5, "+1,234.500"),
        (formats.interval, [0.8612, 0.903], "0.861 to 0.903"),
        (formats.interval, None, ""),
        (formats.interval, [0.1, None], ""),
        (formats.change_interval, [-0.0041, 0.012], "−0.004 to +0.012"),
        (formats.percent, 0, "0%"),
        (formats.percent, 0.0001, "<0.1%"),
        (formats.percent, 0.99999, ">99.9%"),
        (formats.percent, 1, "100.0%"),
        (formats.count, 12345, "12,345"),
        (formats.number, 1234.5, "1,234"),
        (formats.number, 0.012345, "0.01235"),
        (formats.number, 1.5e9, "1.500e+09"),
        (formats.number, -2, "−2"),
        (formats.number, 0.00001, "1.000e-05"),
        (formats.duration, 0.424, "0.42 s"),
        (formats.duration, 12.34, "12.3 s"),
        (formats.duration, 59.97, "1 min 00 s"),
        (formats.duration, 3725, "1 h 02 min"),
        (formats.size, 512, "512 B"),
        (formats.size, 1_468_006, "1.4 MiB"),
    ],
)
def test_values_are_written_as_people_read_them(write, value, text):
    assert write(value) == text


@pytest.mark.parametrize(
    "write", [formats.fraction, formats.change, formats.percent, formats.count, formats.number, formats.duration, formats.size]
)
@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "text", True])
def test_what_is_not_a_finite_number_is_a_dash(write, value):
    assert write(value) == "–"


@pytest.mark.parametrize(("n", "noun", "text"), [(1, "row", "1 row"), (0, "row", "0 rows"), (2000, "class", "2,000 classes")])
def test_nouns_agree_with_their_number(n, noun, text):
    assert formats.plural(n, noun) == text


def test_long_text_is_cut_and_says_so():
    assert formats.shorten("abcdef", 4) == "abc…"
    assert formats.shorten("abcd", 4) == "abcd"
