"""What a run looks like from outside: steps from Argo's tree of nodes, and the outcome from what steps say."""

from __future__ import annotations

import datetime

import kfp_server_api as api
import pytest
import yaml

from pipeline.kubeflow import run_state
from pipeline.kubeflow.step_log import StepLog
from tests.pipeline.kubeflow.packages import NODES, package_text

SPECIFICATION = next(iter(yaml.safe_load_all(package_text())))


class TestNodes:
    def test_in_the_order_of_the_graph_without_the_exit_handler(self):
        assert list(run_state.nodes_of(SPECIFICATION).items()) == list(NODES.items())

    def test_as_the_api_returns_it(self):
        assert run_state.nodes_of({"pipeline_spec": SPECIFICATION, "platform_spec": {}}) == NODES

    @pytest.mark.parametrize("specification", [{}, {"root": {"dag": {"tasks": {"x": {"componentRef": {"name": "y"}}}}}}])
    def test_of_a_package_that_is_not_ours(self, specification):
        assert run_state.nodes_of(specification) == {}


def detail(name: str, pod: str, children: list[str], state: str = "SUCCEEDED", seconds: int | None = 2):
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    return api.V2beta1PipelineTaskDetail(
        display_name=name,
        pod_name=pod,
        state=state,
        start_time=start,
        end_time=start + datetime.timedelta(seconds=seconds) if seconds is not None else None,
        child_tasks=[api.PipelineTaskDetailChildTask(pod_name=child) for child in children],
    )


def run(state: str, *details, error: str | None = None):
    return api.V2beta1Run(
        state=state,
        run_details=api.V2beta1RunDetails(task_details=list(details)),
        error=api.GoogleRpcStatus(message=error) if error else None,
    )


class TestSteps:
    def test_pods_are_those_of_the_attempts_and_not_of_what_comes_next(self):
        steps = run_state.steps(
            run(
                "RUNNING",
                detail("example-gen-driver", "d1", ["t1"]),
                detail("example-gen", "t1", ["e1"]),
                detail("executor", "e1", ["a0", "a1"]),
                detail("executor(1)", "a1", ["d2"]),
                detail("executor(0)", "a0", []),
                detail("evaluator-driver", "d2", ["t2"]),
                detail("evaluator", "t2", ["e2"], "RUNNING", None),
                detail("executor", "e2", [], "RUNNING", None),
            ),
            NODES,
        )
        assert steps == [
            run_state.Step("ExampleGen", "example-gen", "succeeded", 2.0, ("a0", "a1")),
            run_state.Step("Evaluator", "evaluator", "running", None, ("e2",)),
        ]
        assert [step.ended for step in steps] == [True, False]

    def test_the_tenth_attempt_is_after_the_ninth(self):
        attempts = [f"executor({number})" for number in range(11)]
        steps = run_state.steps(
            run(
                "RUNNING",
                detail("evaluator", "t", ["e"]),
                detail("executor", "e", attempts),
                *(detail(a, a, []) for a in attempts),
            ),
            NODES,
        )
        assert steps[1].pods == tuple(attempts)

    @pytest.mark.parametrize("details", [None, api.V2beta1RunDetails(), api.V2beta1RunDetails(task_details=[])])
    def test_a_run_that_has_not_begun(self, details):
        steps = run_state.steps(api.V2beta1Run(state="PENDING", run_details=details), NODES)
        assert [(step.state, step.pods) for step in steps] == [("waiting", ())] * 2

    def test_lines(self):
        step = run_state.Step("Evaluator", "evaluator", "failed", 2.0, ())
        assert step.line(12, None) == "  ✗ Evaluator        2.0 s  failed"
        log = StepLog("Evaluator", "rejected", "  ✓ Evaluator     3.2 s  not blessed", ())
        assert step.line(12, log) == "  ✓ Evaluator    3.2 s  not blessed"


STEPS = [run_state.Step(node, task, "succeeded", 1.0, ("p",)) for task, node in NODES.items()]
FINE = {"ExampleGen": StepLog("ExampleGen", "succeeded", "  ✓ ExampleGen  1.0 s", ())}


class TestOutcome:
    def test_succeeded(self):
        logs = {**FINE, "Evaluator": StepLog("Evaluator", "succeeded", "  ✓ Evaluator  1.0 s  blessed", ())}
        assert run_state.outcome(run("SUCCEEDED"), STEPS, logs).state == "succeeded"

    def test_a_run_that_kubeflow_calls_succeeded_may_be_rejected(self):
        logs = {
            **FINE,
            "Evaluator": StepLog("Evaluator", "rejected", "  ✓ Evaluator  1.0 s  not blessed", ("accuracy 0.4 < 0.5",)),
        }
        outcome = run_state.outcome(run("SUCCEEDED"), STEPS, logs)
        assert (outcome.state, outcome.reasons) == ("rejected", ("Evaluator:", "accuracy 0.4 < 0.5"))

    def test_a_gate_that_stopped_it_comes_before_what_failed_after(self):
        logs = {
            "ExampleGen": StepLog("ExampleGen", "failed", "  ✗ ExampleGen  1.0 s  no", ("failed: no",)),
            "Evaluator": StepLog("Evaluator", "rejected", "  ✗ Evaluator  1.0 s  no", ("rejected: no",)),
        }
        assert run_state.outcome(run("FAILED"), STEPS, logs).state == "rejected"

    def test_failed_says_what_the_step_says_or_what_kubeflow_says(self):
        logs = {"ExampleGen": StepLog("ExampleGen", "failed", "  ✗ ExampleGen  1.0 s  no disk", ("failed: no disk",))}
        assert run_state.outcome(run("FAILED"), STEPS, logs).reasons == ("ExampleGen:", "failed: no disk")
        assert run_state.outcome(run("FAILED", error="image not found"), STEPS, {}).reasons == ("image not found",)
        assert "no step's log" in run_state.outcome(run("CANCELED"), STEPS, {}).reasons[0]

    def test_without_the_evaluators_log_nobody_says_that_the_model_is_fine(self):
        assert run_state.outcome(run("SUCCEEDED"), STEPS, {**FINE, "Evaluator": None}).state == "unknown"

    def test_a_step_that_failed_first_and_then_succeeded_has_not_failed(self):
        logs = {"ExampleGen": StepLog("ExampleGen", "failed", "  ✗ ExampleGen  1.0 s  no", ())}
        logs["Evaluator"] = StepLog("Evaluator", "succeeded", "  ✓ Evaluator  1.0 s  blessed", ())
        assert run_state.outcome(run("SUCCEEDED"), STEPS, logs).state == "succeeded"
