"""The lines people see."""

import io
import time

import pytest

from pipeline import progress

RECORD = {
    "state": "succeeded",
    "seconds": 61.5,
    "metrics": {"accuracy": 0.8512},
    "majority_metrics": {"accuracy": 0.05},
    "baseline_metrics": None,
    "verdict": {"blessed": True, "findings": [{"severity": "warning", "message": "slice language=th below 0.6"}]},
    "pushed": {"model": "intents", "version": "1700000000", "path": "serving/intents/1700000000"},
    "log": "run.log",
    "report": "report.html",
}


@pytest.mark.parametrize(
    ("node", "parts"),
    [
        ({"state": "complete", "summary": {"train": 48000, "accuracy": 0.93}}, ["✓ Trainer", "train 48,000", "accuracy 0.930"]),
        ({"state": "cached", "summary": {"blessed": False}}, ["cached", "not blessed"]),
        ({"state": "failed", "summary": {}, "error": "no label\nmore"}, ["✗ Trainer", "no label"]),
        ({"state": "skipped", "summary": {}}, ["– Trainer", "skipped"]),
        ({"state": "skipped", "summary": {}, "reason": "needs DataGate"}, ["– Trainer", "skipped: needs DataGate"]),
    ],
)
def test_a_nodes_line(node, parts):
    line = progress.node_line({"id": "Trainer", "seconds": 1.0, **node}, width=10)
    assert all(part in line for part in parts)
    assert "\n" not in line


def test_the_conclusion_tells_verdict_yardsticks_version_and_ends_with_the_report():
    lines = progress.conclusion(RECORD)
    text = "\n".join(lines)
    for part in ("blessed", "warn", "0.8512", "majority class 0.0500", "baseline none yet", "version 1700000000"):
        assert part in text
    assert lines[-1].endswith("report.html")


def test_a_rejected_run_ends_with_a_table_of_what_failed():
    finding = {
        "rule": "accuracy gap <= 0.1", "subject": "language", "n": 1200, "value": 0.2, "interval": [0.15, 0.25],
        "limit": "<= 0.1000", "reason": "the whole interval is above the limit", "outcome": "fail",
    }  # fmt: skip
    findings = [{**finding, "outcome": "pass", "rule": "accuracy >= 0.8"}, finding]
    lines = progress.conclusion({**RECORD, "state": "rejected", "verdict": {"blessed": False, "findings": findings}})
    assert lines[0] == "rejected: the gate said no"
    assert lines[1].split()[:3] == ["outcome", "rule", "slice"]
    assert lines[2].split()[:3] == ["FAIL", "accuracy", "gap"]
    assert "and 1 passed" in lines
    assert max(map(len, lines)) <= 100


def test_what_the_data_warned_of_follows_the_verdict():
    warning = {"check": "drift", "severity": "warning", "message": "Column 'fare' differs", "subject": "fare"}
    lines = progress.conclusion({**RECORD, "data_findings": [warning]})
    assert lines[:2] == ["blessed", "warn  Column 'fare' differs"]
    stopped = {**RECORD, "error": "Column 'fare' differs", "state": "rejected", "data_findings": [warning]}
    assert lines[1] not in progress.conclusion(stopped)


def test_a_sample_is_told_in_a_line():
    assert "data     10 % sample of the rows" in progress.conclusion({**RECORD, "sample": 0.1})
    assert not any("sample" in line for line in progress.conclusion({**RECORD, "sample": 1.0}))


def test_the_smoke_test_is_told_in_a_line():
    passed = {"state": "passed", "summary": "passed: 64 rows by gRPC and REST"}
    assert "smoke test passed: 64 rows by gRPC and REST" in progress.conclusion({**RECORD, "smoke_test": passed})
    failed = {"state": "failed", "summary": "failed: memory of the server"}
    rejected = {**RECORD, "state": "rejected", "verdict": {"blessed": False, "findings": []}, "smoke_test": failed}
    lines = progress.conclusion(rejected)
    assert lines[0] == "rejected: the smoke test failed"
    assert "smoke test failed: memory of the server" in lines


def test_an_override_is_told():
    statement = {"reason": "rollback", "by": "ada", "at": "2026-01-01T00:00:00+00:00", "failed": ["accuracy >= 0.9"]}
    assert "released by override of ada at 2026-01-01T00:00:00+00:00: rollback" in progress.conclusion(
        {**RECORD, "override": statement}
    )


def test_plain_streams_get_whole_lines_and_no_control_characters():
    stream = io.StringIO()
    shown = progress.Progress(stream)
    shown.run_started("intents-1", ["Trainer"])
    shown.node_started("Trainer")
    shown.node_ended({"id": "Trainer", "state": "complete", "seconds": 1.0, "summary": {}})
    assert stream.getvalue() == "run intents-1\n  ✓ Trainer     1.0 s\n"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_sees_the_node_running_and_then_its_line_alone():
    stream = Terminal()
    shown = progress.Progress(stream)
    shown.run_started("intents-1", ["Trainer"])
    shown.node_started("Trainer")
    shown.node_ended({"id": "Trainer", "state": "complete", "seconds": 1.0, "summary": {}})
    assert "\r" in stream.getvalue()
    assert stream.getvalue().endswith("\x1b[K  ✓ Trainer     1.0 s\n")


def test_a_terminal_keeps_showing_what_still_runs_when_one_of_two_nodes_ends():
    stream = Terminal()
    shown = progress.Progress(stream)
    shown.run_started("intents-1", ["Left", "Right"])
    shown.node_started("Left")
    shown.node_started("Right")
    shown.node_ended({"id": "Left", "state": "complete", "seconds": 1.0, "summary": {}})
    written = len(stream.getvalue())
    until = time.monotonic() + 5
    while "Right" not in stream.getvalue()[written:] and time.monotonic() < until:
        time.sleep(0.01)
    assert "Left" not in stream.getvalue()[written:]
    shown.node_ended({"id": "Right", "state": "complete", "seconds": 1.0, "summary": {}})
    left, right = stream.getvalue().split("\n")[1:3]
    assert left.endswith("\x1b[K  ✓ Left      1.0 s")
    assert right.endswith("\x1b[K  ✓ Right     1.0 s")


def test_the_line_of_running_nodes_never_wraps():
    started = dict.fromkeys(("StatisticsGen", "ExampleValidator", "Transform"), time.monotonic())
    whole = progress.running_line("*", started, 16, 100)
    assert whole.startswith("  * StatisticsGen        0.0 s  ExampleValidator 0.0 s")
    assert progress.running_line("*", started, 16, 40) == whole[:39]


class TestWhatElseRan:
    NODES = [
        {"id": "ExampleGen", "state": "complete"},
        {"id": "ExampleValidator", "state": "failed"},
        {"id": "Statistics", "state": "cached"},
        {"id": "DataGate", "state": "skipped", "reason": "needs ExampleValidator"},
        {"id": "Pusher", "state": "skipped", "reason": "needs ExampleValidator"},
    ]

    def test_is_told_when_a_node_failed(self):
        lines = progress.conclusion({**RECORD, "state": "failed", "error": "no memory", "nodes": self.NODES})
        assert lines[:4] == [
            "failed: no memory",
            "failed   ExampleValidator",
            "ran      Statistics all the same",
            "not run  DataGate, Pusher (needs ExampleValidator)",
        ]

    def test_is_silent_when_none_did(self):
        assert progress.what_else(self.NODES[:1]) == []
