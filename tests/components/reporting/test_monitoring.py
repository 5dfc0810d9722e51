"""The page of `parlance monitor`."""

import html.parser
import re

import numpy as np
import pytest

from components.monitoring import detect, findings
from components.monitoring.options import MonitoringOptions
from components.monitoring.series import MISSING, ROWS, SHARE, Series, Timeline
from components.reporting import monitoring

DAYS = 60
OPTIONS = MonitoringOptions(false_discovery_rate=0.0005)


def judged(*series):
    return detect.judge(Timeline("day", np.arange(20_451, 20_451 + DAYS), series), OPTIONS)


@pytest.fixture(scope="module")
def odd():
    """Rows that drop one day, a share that steps, values by the dozen."""
    rng = np.random.default_rng(0)
    rows = rng.poisson(200, DAYS).astype(float)
    rows[50] = 20
    totals = np.full(DAYS, 200.0)
    step = rng.binomial(200, np.where(np.arange(DAYS) < 45, 0.2, 0.6)).astype(float)
    many = [Series(SHARE, "<b>id", str(number), rng.binomial(200, 0.05, DAYS).astype(float), totals) for number in range(12)]
    empty = Series(MISSING, "city", "", np.zeros(DAYS), rows)
    return judged(
        Series(ROWS, "", "", rows, rows),
        Series(SHARE, "label", "on & off", step, totals),
        *many,
        Series(SHARE, "customer", "ann@example.org", np.full(DAYS, 100.0), totals),
        empty,
    )


def page(judged, since=0):
    return monitoring.render("intents", "data of intents", judged, findings.of_alarms(judged, OPTIONS, since), since)


class Checker(html.parser.HTMLParser):
    """Notes tags that are not closed in order, and whatever would load something."""

    def __init__(self, text):
        super().__init__()
        self.open, self.wrong, self.loads = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.loads += [value for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.loads += [value for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def test_it_is_whole_and_needs_nothing(odd):
    text = page(odd)
    checked = Checker(text)
    assert (checked.open, checked.wrong, checked.loads) == ([], [], [])
    assert "default-src &#39;none&#39;" in text
    assert "<script" not in text


def test_it_says_what_is_unusual_in_words_and_in_the_charts(odd):
    text = page(odd)
    assert "<h1>2 errors</h1>" in text
    assert "On 2026-02-17, the number of rows was 20, expected" in text
    rows, label = (group.charts[0] for group in monitoring.groups(odd)[:2])
    [mark] = rows.marks
    assert mark.text.startswith("2026-02-17: 20, expected")
    [step] = label.steps
    assert step.text.startswith("lasting change since 2026-02-12")
    assert mark.y > step.y
    assert 'class="stray"' in text
    assert 'class="step"' in text


def test_names_are_escaped_and_personal_data_is_not_shown(odd):
    text = page(odd)
    assert "<b>" not in text
    assert "&lt;b&gt;id" in text
    assert "on &amp; off" in text
    assert "ann@example.org" not in text
    assert "[email]" in text


def test_of_many_values_few_are_drawn_and_of_empty_cells_none(odd):
    groups = {group.title: group for group in monitoring.groups(odd)}
    assert (len(groups["<b>id"].charts), groups["<b>id"].left_out) == (8, 4)
    assert "Missing cells" not in groups
    assert "4 series left out" in page(odd)


def test_lines_and_bands_stay_within_the_chart(odd):
    for group in monitoring.groups(odd):
        for chart in group.charts:
            for path in (chart.line, chart.band):
                places = [tuple(map(float, place)) for place in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path)]
                assert places
                assert all(chart.left <= x <= chart.right and chart.top <= y <= chart.bottom for x, y in places)


def test_days_without_a_value_break_the_line():
    totals = np.full(DAYS, 200.0)
    totals[30] = 0
    [group] = monitoring.groups(judged(Series(SHARE, "label", "a", totals / 4, totals)))
    assert group.charts[0].line.count("M") == 2


@pytest.mark.parametrize(
    ("share", "ticks"), [(1.0, ["90%", "95%", "100%"]), (0.5, ["50%", "52.5%", "55%"]), (0.0, ["0%", "5%", "10%"])]
)
def test_a_constant_has_an_axis_of_possible_shares(share, ticks):
    totals = np.full(DAYS, 200.0)
    [group] = monitoring.groups(judged(Series(SHARE, "label", "a", totals * share, totals)))
    [chart] = group.charts
    assert [text for _, text in chart.y_ticks] == ticks


def test_nothing_unusual_and_nothing_at_all():
    constant = np.full(DAYS, 200.0)
    assert "<h1>Nothing unusual</h1>" in page(judged(Series(ROWS, "", "", constant, constant)))
    empty = detect.judge(Timeline("day", np.array([], np.int64), ()), OPTIONS)
    assert "no period is over yet" in page(empty)
