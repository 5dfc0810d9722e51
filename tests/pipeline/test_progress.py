"""The lines people see."""

import io

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
