"""Schedules are what the file says, after one apply or ten, and whatever goes wrong on the way."""

from __future__ import annotations

import types

import kfp_server_api as api
import pytest

from components.errors import EnvironmentFailure, ParlanceError, UsageError
from pipeline.kubeflow import client as client_module
from pipeline.kubeflow import schedule
from pipeline.kubeflow.connection import Connection
from pipeline.kubeflow.options import KubeflowOptions, ScheduleOptions
from pipeline.kubeflow.package import Package
from tests.pipeline.kubeflow.fake_kfp import LOST, FakeKfp
from tests.pipeline.kubeflow.packages import package_text

pytestmark = pytest.mark.usefixtures("no_cluster")

PACKAGE = Package.parse(package_text(), "a test")
NIGHTLY = {"cron": "0 30 2 * * *", "parameters": {"data_path": "data.csv"}}


def config(name: str = "intents", account: str | None = None, **options):
    """The parts of a pipeline file that a schedule depends on."""
    scheduled = ScheduleOptions(**(NIGHTLY | options))
    return types.SimpleNamespace(name=name, schedule=scheduled, kubeflow=KubeflowOptions(service_account=account))


@pytest.fixture
def client(kfp):
    return connected(kfp)


def connected(kfp):
    client = client_module.connect(Connection(kfp.endpoint))
    client._pause = lambda seconds: None
    return client


def enabled(kfp) -> list:
    return [entry for entry in kfp.recurring.values() if entry.status == "ENABLED"]


class TestApply:
    def test_the_first_time_creates_it(self, client, kfp):
        applied = schedule.apply(client, config(), PACKAGE)
        assert (applied.action, applied.version, applied.waiting) == ("created", PACKAGE.version, 0)
        [made] = enabled(kfp)
        assert made.recurring_run_id == applied.recurring_run_id
        assert made.display_name == "intents"
        assert made.trigger.cron_schedule.cron == "0 30 2 * * *"
        assert made.trigger.periodic_schedule is None
        assert (made.no_catchup, made.max_concurrency) == (True, "1")
        assert made.runtime_config.parameters == {"data_path": "data.csv"}
        assert made.pipeline_version_reference.pipeline_version_id in kfp.versions

    def test_the_second_time_changes_nothing(self, client, kfp):
        first = schedule.apply(client, config(), PACKAGE)
        before = len(kfp.requests)
        again = schedule.apply(client, config(), PACKAGE)
        assert (again.action, again.recurring_run_id) == ("unchanged", first.recurring_run_id)
        assert {method for method, _ in kfp.requests[before:]} == {"GET"}

    @pytest.mark.parametrize(
        "change",
        [
            {"cron": "0 0 3 * * *"},
            {"cron": None, "interval": "6h"},
            {"catchup": True},
            {"max_concurrency": 2},
            {"parameters": {"data_path": "other.csv"}},
            {"start": "2027-01-01T00:00:00Z"},
            {"end": "2028-01-01T00:00:00Z"},
            {"account": "runner"},
        ],
        ids=str,
    )
    def test_every_change_takes_its_place_and_never_are_two_on(self, client, kfp, change):
        first = schedule.apply(client, config(), PACKAGE)
        changed = schedule.apply(client, config(**change), PACKAGE)
        assert changed.action == "updated"
        assert changed.recurring_run_id != first.recurring_run_id
        assert list(kfp.recurring) == [changed.recurring_run_id]
        assert len(enabled(kfp)) == 1
        assert kfp.most_enabled == 1
        assert schedule.apply(client, config(**change), PACKAGE).action == "unchanged"

    def test_so_does_another_package(self, client, kfp):
        schedule.apply(client, config(), PACKAGE)
        other = Package.parse(package_text(image="other"), "a test")
        assert schedule.apply(client, config(), other).action == "updated"
        [made] = kfp.recurring.values()
        assert kfp.versions[made.pipeline_version_reference.pipeline_version_id].name == other.version

    def test_an_interval(self, client, kfp):
        schedule.apply(client, config(cron=None, interval="6h"), PACKAGE)
        [made] = kfp.recurring.values()
        assert made.trigger.periodic_schedule.interval_second == "21600"
        [listed] = schedule.schedules(client)
        assert (listed.when, listed.enabled, listed.ours) == ("every 6h", True, True)

    def test_enabled_is_changed_in_place(self, client, kfp):
        first = schedule.apply(client, config(), PACKAGE)
        off = schedule.apply(client, config(enabled=False), PACKAGE)
        assert (off.action, off.recurring_run_id, enabled(kfp)) == ("paused", first.recurring_run_id, [])
        on = schedule.apply(client, config(), PACKAGE)
        assert (on.action, on.recurring_run_id, len(enabled(kfp))) == ("resumed", first.recurring_run_id, 1)

    def test_off_from_the_beginning(self, client, kfp):
        schedule.apply(client, config(enabled=False), PACKAGE)
        assert len(kfp.recurring) == 1
        assert not kfp.tick()

    def test_a_predecessor_with_a_run_under_way_stays_until_that_has_ended(self, client, kfp):
        schedule.apply(client, config(), PACKAGE)
        [run] = kfp.tick()
        changed = schedule.apply(client, config(cron="0 0 3 * * *"), PACKAGE)
        assert (changed.action, changed.waiting, len(kfp.recurring), len(enabled(kfp))) == ("updated", 1, 2, 1)
        assert run.state == "RUNNING"
        kfp.finish(run.run_id, "SUCCEEDED")
        again = schedule.apply(client, config(cron="0 0 3 * * *"), PACKAGE)
        assert (again.action, again.waiting, list(kfp.recurring)) == ("unchanged", 0, [changed.recurring_run_id])

    def test_two_clusters_hold_different_ones(self, kfp):
        with FakeKfp() as other:
            schedule.apply(connected(kfp), config(), PACKAGE)
            schedule.apply(connected(other), config(cron=None, interval="1d"), PACKAGE)
            assert [entry.when for entry in schedule.schedules(connected(kfp))] == ["0 30 2 * * *"]
            assert [entry.when for entry in schedule.schedules(connected(other))] == ["every 1d"]
            assert schedule.apply(connected(kfp), config(), PACKAGE).action == "unchanged"

    def test_two_pipelines_do_not_touch_each_other(self, client, kfp):
        schedule.apply(client, config(), PACKAGE)
        other = Package.parse(package_text("taxi"), "a test")
        schedule.apply(client, config("taxi", cron="0 0 1 * * *"), other)
        assert len(enabled(kfp)) == 2
        assert schedule.apply(client, config(), PACKAGE).action == "unchanged"

    def test_what_somebody_else_made_is_not_touched(self, client, kfp):
        schedule.apply(client, config(), PACKAGE)
        [made] = kfp.recurring.values()
        made.description = "clicked together"
        with pytest.raises(UsageError, match="a recurring run 'intents' .* that Parlance did not make"):
            schedule.apply(client, config(), PACKAGE)
        assert [entry.ours for entry in schedule.schedules(client)] == [False]

    def test_a_file_without_a_schedule(self, client):
        with pytest.raises(UsageError, match="has no schedule. Add one"):
            schedule.apply(client, types.SimpleNamespace(name="x", schedule=None), PACKAGE)

    def test_a_parameter_that_the_package_does_not_have(self, client, kfp):
        with pytest.raises(UsageError, match="no runtime parameter 'spam'"):
            schedule.apply(client, config(parameters={"spam": "1"}), PACKAGE)
        assert not kfp.requests


class TestInterruptions:
    """Each request of an update fails in turn: refused for good, or carried out with its answer lost, once or for good."""

    STEPS = (
        ("POST", "/apis/v2beta1/recurringruns"),
        ("POST", "/apis/v2beta1/recurringruns/.*:disable"),
        ("POST", "/apis/v2beta1/recurringruns/.*:enable"),
        ("DELETE", "/apis/v2beta1/recurringruns/.*"),
    )

    @pytest.mark.parametrize("step", STEPS, ids=lambda step: step[1].rpartition(":")[2])
    @pytest.mark.parametrize("how", [503, LOST])
    def test_once_is_nothing(self, client, kfp, step, how):
        schedule.apply(client, config(), PACKAGE)
        kfp.fail(*step, how)
        applied = schedule.apply(client, config(cron="0 0 3 * * *"), PACKAGE)
        assert applied.action == "updated"
        assert list(kfp.recurring) == [applied.recurring_run_id]
        assert (len(enabled(kfp)), kfp.most_enabled) == (1, 1)

    @pytest.mark.parametrize("step", STEPS, ids=lambda step: step[1].rpartition(":")[2])
    @pytest.mark.parametrize("how", [503, LOST, 403])
    def test_for_good_leaves_one_on_and_the_next_apply_finishes(self, client, kfp, step, how):
        schedule.apply(client, config(), PACKAGE)
        kfp.fail(*step, *[how] * (1 if how == 403 else client_module.ATTEMPTS))
        try:
            schedule.apply(client, config(cron="0 0 3 * * *"), PACKAGE)
        except EnvironmentFailure:
            pass
        else:  # what was carried out without an answer is found again, or is not there to be deleted again
            assert how == LOST
        assert len(enabled(kfp)) <= 1
        if how != LOST:
            assert len(enabled(kfp)) == 1, "something still runs"
        kfp.heal()
        applied = schedule.apply(client, config(cron="0 0 3 * * *"), PACKAGE)
        assert list(kfp.recurring) == [applied.recurring_run_id]
        assert (len(enabled(kfp)), kfp.most_enabled) == (1, 1)
        assert enabled(kfp)[0].trigger.cron_schedule.cron == "0 0 3 * * *"


class TestActions:
    @pytest.fixture
    def applied(self, client):
        return schedule.apply(client, config(), PACKAGE)

    def test_pause_and_resume(self, client, kfp, applied):
        assert schedule.pause(client, "intents").enabled is False
        assert not kfp.tick()
        assert schedule.resume(client, "intents").enabled is True
        assert len(kfp.tick()) == 1

    def test_apply_after_a_pause_does_what_the_file_says(self, client, applied):
        schedule.pause(client, "intents")
        assert schedule.apply(client, config(), PACKAGE).action == "resumed"

    @pytest.mark.parametrize("paused", [False, True])
    def test_trigger_starts_what_the_schedule_would(self, client, kfp, applied, paused):
        if paused:
            schedule.pause(client, "intents")
        run = schedule.trigger(client, "intents")
        kept = kfp.runs[run.run_id]
        assert kept.runtime_config.parameters == {"data_path": "data.csv"}
        assert kfp.versions[kept.pipeline_version_reference.pipeline_version_id].name == PACKAGE.version
        # Of its own: it does not count against the schedule, nor end with it.
        assert not kept.recurring_run_id

    def test_delete(self, client, kfp, applied):
        assert schedule.delete(client, "intents") == 1
        assert not kfp.recurring
        assert schedule.apply(client, config(), PACKAGE).action == "created"

    def test_delete_does_not_end_runs_unless_told(self, client, kfp, applied):
        [run] = kfp.tick()
        with pytest.raises(UsageError, match=f"1 runs of the schedule intents are under way.*{run.display_name}.*--force"):
            schedule.delete(client, "intents")
        assert (run.state, enabled(kfp)) == ("RUNNING", [])
        schedule.delete(client, "intents", force=True)
        assert not kfp.recurring

    @pytest.mark.parametrize("action", [schedule.pause, schedule.resume, schedule.trigger, schedule.delete])
    def test_names_the_schedules_there_are(self, client, applied, action):
        with pytest.raises(UsageError, match="no schedule 'taxi'; schedules: intents"):
            action(client, "taxi")

    def test_only_ours_are_acted_upon(self, client, kfp, applied):
        [made] = kfp.recurring.values()
        made.description = None
        with pytest.raises(ParlanceError, match="none yet"):
            schedule.delete(client, "intents")
        assert len(kfp.recurring) == 1


def test_the_hash_does_not_depend_on_the_order_of_parameters(client, kfp):
    one = {"data_path": "x", "epochs": "3"}
    schedule.apply(client, config(parameters=one), PACKAGE)
    assert schedule.apply(client, config(parameters=dict(reversed(one.items()))), PACKAGE).action == "unchanged"


def test_releases_that_say_mode_and_not_status(client, kfp):
    schedule.apply(client, config(), PACKAGE)
    [made] = kfp.recurring.values()
    entry = api.V2beta1RecurringRun(**{name: getattr(made, name) for name in made.openapi_types if name != "status"})
    entry.mode = "DISABLE"
    assert schedule._of(entry).enabled is False
