"""The verdict as people read it in a terminal."""

import pytest

from pipeline import verdict_table


def finding(rule="accuracy >= 0.8", subject="", outcome="pass", value=0.9, limit=">= 0.8000", **others):
    return {
        "rule": rule,
        "subject": subject,
        "n": 1200,
        "value": value,
        "interval": [value - 0.01, value + 0.01] if value is not None else None,
        "limit": limit,
        "outcome": outcome,
        "reason": "",
        **others,
    }


def slices(count, outcome, **others):
    return [
        finding(subject=f"language=l{number}", outcome=outcome, value=0.5 + number / 1000, **others) for number in range(count)
    ]


class TestRows:
    def test_have_a_header_and_everything_the_finding_says(self):
        header, line = verdict_table.lines([finding(subject="language=de")])
        assert header.split() == ["outcome", "rule", "slice", "n", "value", "interval", "limit"]
        for part in ("pass", "accuracy >= 0.8", "language=de", "1,200", "0.9000", "[0.8900, 0.9100]", ">= 0.8000"):
            assert part in line
        assert line.index("language=de") == header.index("slice")

    def test_of_a_change_have_signs(self):
        [_, line] = verdict_table.lines([finding("accuracy >= baseline - 0.02", value=0.05, limit=">= -0.0200")])
        assert "+0.0500  [+0.0400, +0.0600]  >= -0.0200" in line

    def test_without_numbers_have_gaps(self):
        [_, line] = verdict_table.lines([finding(outcome="not applied", value=None, n=None, limit="", reason="no baseline")])
        assert line.split() == ["not", "applied", "accuracy", ">=", "0.8", "all", "rows", "no", "baseline"]

    def test_failures_come_first_then_warnings_then_the_rest(self):
        outcomes = ("pass", "not applied", "warn", "too small", "fail")
        lines = verdict_table.lines([finding(rule=f"rule {outcome}", outcome=outcome) for outcome in outcomes])
        assert [line.partition("rule ")[2].partition("  ")[0] for line in lines[1:]] == [
            "fail", "warn", "pass", "too small", "not applied",
        ]  # fmt: skip

    @pytest.mark.parametrize("width", [100, 120, 140])
    def test_fit_the_width_with_long_reasons_below_them(self, width):
        reason = (
            "the whole interval is below the limit; worst el 0.8012 (312 rows), best en 0.9700 (500 rows); the rule only warns"
        )
        lines = verdict_table.lines([finding(outcome="warn", reason=reason)], width=width)
        assert len(lines) > 2
        assert max(map(len, lines)) <= width
        assert " ".join(" ".join(lines[2:]).split()) == reason

    def test_short_reasons_stand_beside_them(self):
        [_, line] = verdict_table.lines([finding(outcome="fail", reason="below the limit")], width=120)
        assert line.endswith("below the limit")

    def test_names_from_data_cannot_move_the_cursor_or_push_columns_away(self):
        [_, line, *_] = verdict_table.lines([finding(subject="language=\x1b[2J" + "x" * 100)])
        assert "\x1b" not in line
        assert "x…  " in line

    def test_wide_characters_keep_columns_in_line(self):
        lines = verdict_table.lines([finding(subject="渠道=电话"), finding(subject="channel=web")])
        # Four characters of the first line take two columns each.
        assert lines[1].index("1,200") + 4 == lines[2].index("1,200")


class TestFolding:
    def test_many_slices_of_one_rule_and_outcome_become_a_line(self):
        lines = verdict_table.lines([*slices(40, "pass"), *slices(7, "too small")])
        assert [line.strip() for line in lines if "and " in line] == [
            "and 37 more slices passed",
            "and 4 more slices are too small",
        ]

    def test_the_worst_are_shown(self):
        lines = verdict_table.lines(slices(40, "pass"))
        assert [line.split("language=")[1].split()[0] for line in lines[1:4]] == ["l0", "l1", "l2"]
        lines = verdict_table.lines(slices(40, "pass", limit="<= 0.9000"))
        assert [line.split("language=")[1].split()[0] for line in lines[1:4]] == ["l39", "l38", "l37"]

    def test_failures_are_folded_late(self):
        lines = verdict_table.lines(slices(30, "fail"))
        assert len(lines) == 1 + 20 + 1
        assert lines[-1].strip() == "and 10 more slices failed"

    def test_only_what_is_urgent_and_a_count_of_the_rest(self):
        lines = verdict_table.lines([finding(outcome="fail"), *slices(40, "pass"), *slices(2, "too small")], urgent_only=True)
        assert len(lines) == 3
        assert lines[-1] == "and 40 passed, 2 are too small"

    def test_nothing_urgent_is_only_the_count(self):
        assert verdict_table.lines([finding()], urgent_only=True) == ["1 passed"]


def test_findings_of_the_data_gate_are_a_line_each_worst_first():
    findings = [
        {"severity": "info", "message": "0 of 10 rows were set aside"},
        {"severity": "warning", "message": "column 'a' is emptier"},
        {"severity": "error", "message": "column 'b' is gone"},
    ]
    assert verdict_table.lines(findings) == [
        "FAIL  column 'b' is gone",
        "warn  column 'a' is emptier",
        "pass  0 of 10 rows were set aside",
    ]
    assert len(verdict_table.lines(findings, urgent_only=True)) == 2


def test_no_findings_no_lines():
    assert verdict_table.lines([]) == []
