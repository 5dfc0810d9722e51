"""What a step's log says became of its node, whatever Kubeflow and Argo log around it."""

from __future__ import annotations

import pytest

from components.errors import GateError
from pipeline import progress
from pipeline.kubeflow import step_log


def printed(state: str, summary: dict | None = None, error: str | None = None) -> str:
    """A node's line, printed as a step prints it."""
    node = {"id": "Evaluator", "state": state, "seconds": 3.25, "summary": summary or {}}
    return progress.node_line({**node, "error": error} if error else node, len("Evaluator"))


AROUND = """I1121 12:00:00.000001       1 launcher_v2.go:151] ExecutorInput: {{ ... }}
2026-11-21 12:00:01,000 I root: Evaluator is done already: execution 7
{body}
I1121 12:00:09.000001       1 launcher_v2.go:300] uploading
time="2026-11-21T12:00:10Z" level=info msg="sub-process exited"
"""


@pytest.mark.parametrize(
    ("state", "summary", "expected"),
    [
        ("complete", {"accuracy": 0.9, "blessed": True}, "succeeded"),
        ("cached", {"accuracy": 0.9, "blessed": True}, "succeeded"),
        ("complete", {"accuracy": 0.9, "blessed": False}, "rejected"),
        ("cached", {"accuracy": 0.9, "blessed": False}, "rejected"),
        ("skipped", {}, "succeeded"),
        ("complete", {}, "succeeded"),
    ],
)
def test_states(state, summary, expected):
    log = step_log.read(AROUND.format(body=printed(state, summary)))
    assert (log.node, log.state, log.reasons) == ("Evaluator", expected, ())


@pytest.mark.parametrize(("word", "state"), [("rejected", "rejected"), ("failed", "failed")])
def test_an_error_explains_itself(word, state):
    error = str(GateError("The data has 2 anomalies.\n  intent: unexpected values"))
    log = step_log.read(AROUND.format(body=f"{printed('failed', error=error)}\n{word}: {error}"))
    assert log.state == state
    assert log.reasons == (f"{word}: The data has 2 anomalies.", "  intent: unexpected values")


def test_the_last_attempt_counts():
    text = f"{printed('failed', error='lost connection')}\nfailed: lost connection\n{printed('complete')}\n"
    assert step_log.read(text).state == "succeeded"


def test_a_step_that_was_killed_says_nothing():
    assert step_log.read("2026-11-21 12:00:01,000 I root: begun\nKilled\n") is None
    assert step_log.read("") is None


def test_a_long_explanation_is_cut():
    text = f"{printed('failed', error='no')}\n" + "\n".join(f"failed: {number}" for number in range(1000))
    assert len(step_log.read(text).reasons) == 30
