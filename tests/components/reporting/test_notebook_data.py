from __future__ import annotations

import re

import pytest

from components.reporting import notebook_data as show
from components.reporting.split_comparison import Distance, without_messages
from tests.components.reporting.test_split_comparison import SECRET, dataset, numbers, strings


def positions(shown, attribute):
    return [float(value) for value in re.findall(rf'{attribute}="([\d.]+)%"', shown.markup)]


def test_rows_and_why_some_were_set_aside():
    shown = show.rows(
        {"rows": {"train": 80, "eval": 10, "test": 10, "quarantined": 3}, "quarantine_reasons": {"missing label": 3}}
    )
    assert "missing label" in shown.markup
    assert "77.7%" in shown.markup


class TestColumns:
    def test_missing_shares_of_columns_that_lack_values(self):
        train = dataset(strings("channel", {"app": 60}, missing=40), strings("language", {"de": 100}))
        test = dataset(strings("channel", {"app": 100}), strings("language", {"de": 100}))
        shown = show.columns({"train": train, "test": test}, [])
        assert 'aria-label="channel: train 40.0%, test 0%"' in shown.markup
        assert 'aria-label="language' not in shown.markup

    def test_complete_columns_need_no_chart(self):
        shown = show.columns({"train": dataset(strings("language", {"de": 100}))}, [])
        assert "No row of any split lacks a value" in shown.markup
        assert "<svg" not in shown.markup

    def test_no_message_is_shown(self):
        train = without_messages(dataset(strings("text", {SECRET: 100})), ["text"])
        assert SECRET not in show.columns({"train": train}, ["text"]).markup


class TestNumbers:
    def test_a_shift_between_splits_is_seen_as_one(self):
        by_split = {"train": dataset(numbers("fare", [0, 1, 2, 3, 4])), "test": dataset(numbers("fare", [2, 3, 4, 5, 6]))}
        shown = show.numbers(by_split)
        medians = re.findall(r'class="median" x1="([\d.]+)%"', shown.markup)
        assert float(medians[0]) < float(medians[1])
        assert all(0 <= x <= 100 for x in positions(shown, "x"))

    def test_one_far_value_does_not_squeeze_the_strip(self):
        shown = show.numbers({"train": dataset(numbers("fare", [0, 1, 2, 3, 1_000_000]))})
        widths = [float(width) for width in re.findall(r'class="box" x="[\d.]+%" y="3" width="([\d.]+)%"', shown.markup)]
        assert min(widths) > 10
        assert "1,000,000" in shown.markup

    def test_a_constant_column(self):
        assert "<svg" in show.numbers({"train": dataset(numbers("fare", [5, 5, 5]))}).markup

    def test_no_numeric_column(self):
        assert "No column holds numbers" in show.numbers({"train": dataset(strings("a", {"x": 9}))}).markup


class TestValues:
    def test_shares_of_each_split(self):
        by_split = {
            "train": dataset(strings("channel", {"app": 75, "web": 25})),
            "test": dataset(strings("channel", {"app": 50})),
        }
        shown = show.values(by_split)
        assert 'aria-label="app: train 75.0%, test 100.0%"' in shown.markup
        assert 'aria-label="web: train 25.0%"' in shown.markup
        assert "fewer than 5 rows" in shown.markup
        assert "fewer than 5 rows" not in show.values({"train": by_split["train"]}).markup

    def test_an_identifier_is_named_and_not_charted(self):
        shown = show.values({"train": dataset(strings("ticket", {f"id {n}": 5 for n in range(1000)}))})
        assert "<b>ticket</b> has 1,000 different values" in shown.markup
        assert "id 1" not in shown.markup

    def test_more_values_of_columns_that_were_asked_for(self):
        train = dataset(strings("language", {f"l{n:02}": 10 for n in range(20)}))
        assert "l19" in show.values({"train": train}, only=["language"]).markup
        rest = show.values({"train": train}).markup
        assert "l19" not in rest
        assert "8 other values not shown" in rest

    def test_none_at_all(self):
        assert "There is no such column" in show.values({"train": dataset(numbers("fare", [0, 1]))}).markup


class TestLabels:
    def test_shares_of_each_split(self):
        shown = show.labels({"train": {"a": 3, "b": 1}, "test": {"b": 1, "c": 1}})
        assert 'aria-label="a: train 75.0%, test 0%"' in shown.markup
        assert "1 label without any train row" in shown.markup

    def test_many_labels(self):
        shown = show.labels({"train": {f"label {n:03}": 200 - n for n in range(100)}})
        assert "40 labels left out" in shown.markup

    def test_none(self):
        assert "No row has a label" in show.labels({"train": {}}).markup


def test_findings_of_the_gate():
    finding = {"check": "quarantine", "severity": "error", "message": "too many rows", "expected": "<= 5%", "observed": "9%"}
    assert "too many rows" in show.findings([finding]).markup
    assert "has not looked" in show.findings([]).markup


def test_distances_are_bars_with_both_shares():
    found = [
        Distance("month", 0.43, 0.4, "12", 0.1, 0.5),
        Distance("ticket", None, 0.1, "", 0.1, 0.0),
    ]
    shown = show.distances(found, "train", "test")
    assert positions(shown, "width") == [100, pytest.approx(25)]
    assert "a rare value" in shown.markup
    assert "0.430" in shown.markup


def test_names_are_escaped():
    by_split = {"train": dataset(strings("<b>x", {"<script>alert(1)</script>": 100}, missing=50))}
    for shown in (show.columns(by_split, []), show.values(by_split)):
        assert "<script>" not in shown.markup
        assert "<b>x" not in shown.markup
