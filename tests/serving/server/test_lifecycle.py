import random

import pytest

from serving.server.errors import ServingError, StatusCode
from serving.server.lifecycle import Lifecycle, Load, ServableId, State, Unload

BROKEN = ServingError(StatusCode.NOT_FOUND, "Could not find SavedModel")


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def lifecycle(clock):
    return Lifecycle(max_load_retries=2, retry_interval=60, clock=clock)


def m(version):
    return ServableId("m", version)


def paths(*versions):
    return {version: f"/models/m/{version}" for version in versions}


def load(version):
    return Load(m(version), f"/models/m/{version}")


def states(lifecycle, model="m"):
    return {status.version: status.state for status in lifecycle.statuses(model)}


def serve(lifecycle, *versions):
    """Brings versions into service."""
    lifecycle.aspire("m", paths(*versions))
    for version in sorted(versions, reverse=True):
        assert lifecycle.next_actions() == [load(version)]
        lifecycle.loaded(m(version))
    assert lifecycle.next_actions() == []


class TestLoading:
    def test_a_version_goes_from_start_to_available(self, lifecycle):
        lifecycle.aspire("m", paths(1))
        assert states(lifecycle) == {1: State.START}
        assert lifecycle.next_actions() == [load(1)]
        assert states(lifecycle) == {1: State.LOADING}
        lifecycle.loaded(m(1))
        assert states(lifecycle) == {1: State.AVAILABLE}
        assert lifecycle.available("m") == [1]

    def test_the_highest_new_version_loads_first_one_at_a_time(self, lifecycle):
        lifecycle.aspire("m", paths(1, 3, 2))
        assert lifecycle.next_actions() == [load(3)]
        assert lifecycle.next_actions() == []
        lifecycle.loaded(m(3))
        assert lifecycle.next_actions() == [load(2)]

    def test_models_load_side_by_side(self, lifecycle):
        lifecycle.aspire("m", paths(1))
        lifecycle.aspire("other", {7: "/other/7"})
        assert lifecycle.next_actions() == [load(1), Load(ServableId("other", 7), "/other/7")]

    def test_saying_the_same_again_changes_nothing(self, lifecycle):
        serve(lifecycle, 1)
        lifecycle.aspire("m", {1: "/elsewhere"})
        assert lifecycle.next_actions() == []

    @pytest.mark.parametrize("report", ["loaded", "unloaded"])
    def test_a_report_nobody_asked_for_is_an_error(self, lifecycle, report):
        lifecycle.aspire("m", paths(1))
        with pytest.raises(ValueError, match=r"\{name: m version: 1\} was reported"):
            getattr(lifecycle, report)(m(1))
        with pytest.raises(ValueError, match="version: 9"):
            getattr(lifecycle, report)(m(9))


class TestReplacing:
    def test_the_old_version_serves_until_the_new_one_does(self, lifecycle):
        serve(lifecycle, 1)
        lifecycle.aspire("m", paths(2))
        assert lifecycle.next_actions() == [load(2)]
        assert lifecycle.available("m") == [1]
        lifecycle.loaded(m(2))
        assert lifecycle.next_actions() == [Unload(m(1))]
        assert states(lifecycle) == {2: State.AVAILABLE, 1: State.UNLOADING}
        lifecycle.unloaded(m(1))
        assert states(lifecycle) == {2: State.AVAILABLE, 1: State.END}
        assert lifecycle.statuses("m")[1].error is None

    def test_of_several_old_versions_the_highest_stays_until_the_new_one_serves(self, lifecycle):
        serve(lifecycle, 1, 2, 3)
        lifecycle.aspire("m", paths(4))
        assert lifecycle.next_actions() == [Unload(m(1)), Unload(m(2)), load(4)]
        assert lifecycle.available("m") == [3]

    def test_a_rollback_to_a_lower_version_is_a_replacement_too(self, lifecycle):
        serve(lifecycle, 5)
        lifecycle.aspire("m", paths(4))
        assert lifecycle.next_actions() == [load(4)]
        lifecycle.loaded(m(4))
        assert lifecycle.next_actions() == [Unload(m(5))]

    def test_a_dropped_model_unloads_lowest_first(self, lifecycle):
        serve(lifecycle, 2, 1)
        lifecycle.aspire("m", {})
        assert lifecycle.next_actions() == [Unload(m(1)), Unload(m(2))]

    def test_a_version_that_goes_before_it_loads_ends(self, lifecycle):
        lifecycle.aspire("m", paths(1))
        lifecycle.aspire("m", {})
        assert states(lifecycle) == {1: State.END}
        assert lifecycle.next_actions() == []

    def test_a_version_that_goes_while_it_loads_unloads_when_loaded(self, lifecycle):
        lifecycle.aspire("m", paths(1))
        lifecycle.next_actions()
        lifecycle.aspire("m", {})
        assert lifecycle.next_actions() == []
        lifecycle.loaded(m(1))
        assert lifecycle.next_actions() == [Unload(m(1))]

    def test_a_version_wanted_again_before_it_unloads_stays(self, lifecycle):
        serve(lifecycle, 1)
        lifecycle.aspire("m", paths(2))
        lifecycle.next_actions()
        lifecycle.aspire("m", paths(1))
        lifecycle.loaded(m(2))
        assert lifecycle.next_actions() == [Unload(m(2))]
        assert lifecycle.available("m") == [1]

    def test_a_version_wanted_again_while_it_unloads_loads_anew(self, lifecycle):
        serve(lifecycle, 1)
        lifecycle.aspire("m", {})
        assert lifecycle.next_actions() == [Unload(m(1))]
        lifecycle.aspire("m", paths(1))
        assert lifecycle.next_actions() == []
        lifecycle.unloaded(m(1))
        assert lifecycle.next_actions() == [load(1)]


class TestFailedLoads:
    def fail(self, lifecycle, version):
        assert load(version) in lifecycle.next_actions()
        lifecycle.load_failed(m(version), BROKEN)

    def test_are_repeated_after_the_interval_and_then_given_up(self, lifecycle, clock):
        lifecycle.aspire("m", paths(1))
        for _ in range(2):
            self.fail(lifecycle, 1)
            assert states(lifecycle) == {1: State.LOADING}
            assert lifecycle.statuses("m")[0].error is None
            assert lifecycle.seconds_to_retry() == 60
            clock.now += 59
            assert lifecycle.next_actions() == []
            clock.now += 1
            assert lifecycle.seconds_to_retry() == 0
        self.fail(lifecycle, 1)
        [status] = lifecycle.statuses("m")
        assert (status.state, status.error) == (State.END, BROKEN)
        clock.now += 10_000
        assert lifecycle.seconds_to_retry() is None
        lifecycle.aspire("m", paths(1))
        assert lifecycle.next_actions() == []

    def test_a_success_at_last_forgets_the_failures(self, lifecycle, clock):
        lifecycle.aspire("m", paths(1))
        self.fail(lifecycle, 1)
        clock.now += 60
        assert lifecycle.next_actions() == [load(1)]
        lifecycle.loaded(m(1))
        assert lifecycle.statuses("m")[0].error is None
        assert lifecycle.available("m") == [1]

    def test_keep_the_old_version_in_service(self, clock):
        lifecycle = Lifecycle(max_load_retries=0, clock=clock)
        serve(lifecycle, 1)
        lifecycle.aspire("m", paths(2))
        self.fail(lifecycle, 2)
        assert lifecycle.next_actions() == []
        assert states(lifecycle) == {2: State.END, 1: State.AVAILABLE}

    def test_do_not_hold_up_a_newer_version(self, lifecycle):
        lifecycle.aspire("m", paths(1))
        self.fail(lifecycle, 1)
        lifecycle.aspire("m", paths(1, 2))
        assert lifecycle.next_actions() == [load(2)]

    def test_of_a_version_that_went_end_without_a_retry(self, lifecycle, clock):
        lifecycle.aspire("m", paths(1))
        self.fail(lifecycle, 1)
        lifecycle.aspire("m", {})
        assert states(lifecycle) == {1: State.END}
        clock.now += 60
        assert lifecycle.next_actions() == []

    def test_a_version_removed_and_added_again_gets_new_attempts(self, clock):
        lifecycle = Lifecycle(max_load_retries=0, clock=clock)
        lifecycle.aspire("m", paths(1))
        self.fail(lifecycle, 1)
        lifecycle.aspire("m", {})
        lifecycle.aspire("m", {1: "/models/m/001"})
        assert lifecycle.next_actions() == [Load(m(1), "/models/m/001")]
        lifecycle.loaded(m(1))
        assert lifecycle.statuses("m")[0].error is None

    def test_without_an_interval_are_repeated_at_once(self, clock):
        lifecycle = Lifecycle(max_load_retries=1, retry_interval=-1, clock=clock)
        lifecycle.aspire("m", paths(1))
        self.fail(lifecycle, 1)
        assert lifecycle.next_actions() == [load(1)]


class TestStatuses:
    def test_list_all_versions_highest_first_for_good(self, lifecycle):
        for version in (1, 2, 3):
            lifecycle.aspire("m", paths(version))
            lifecycle.next_actions()
            lifecycle.loaded(m(version))
            for action in lifecycle.next_actions():
                lifecycle.unloaded(action.id)
        assert [(status.version, status.state, status.aspired) for status in lifecycle.statuses("m")] == [
            (3, State.AVAILABLE, True),
            (2, State.END, False),
            (1, State.END, False),
        ]

    def test_of_an_unknown_model_are_none(self, lifecycle):
        assert lifecycle.statuses("nobody") == []
        assert lifecycle.available("nobody") == []
        lifecycle.aspire("empty", {})
        assert lifecycle.models() == []

    def test_undecided_until_available_or_given_up(self, clock):
        lifecycle = Lifecycle(max_load_retries=0, clock=clock)
        assert lifecycle.undecided("m")
        lifecycle.aspire("m", {})
        assert lifecycle.undecided("m")
        lifecycle.aspire("m", paths(1))
        assert lifecycle.undecided("m")
        lifecycle.next_actions()
        assert lifecycle.undecided("m")
        lifecycle.load_failed(m(1), BROKEN)
        assert not lifecycle.undecided("m")
        lifecycle.aspire("m", paths(2))
        assert lifecycle.undecided("m")
        lifecycle.next_actions()
        lifecycle.loaded(m(2))
        assert not lifecycle.undecided("m")


class World:
    """Carries out what a lifecycle hands out, late and in any order, and keeps count of what is in memory."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.clock = Clock()
        self.lifecycle = Lifecycle(max_load_retries=self.random.randrange(3), retry_interval=10, clock=self.clock)
        self.aspired = {"m": set(), "n": set()}
        self.pending = []
        self.memory = set()

    def step(self, breaking=0.3):
        kind = self.random.random()
        model = self.random.choice(["m", "n"])
        if kind < 0.25:
            versions = set(self.random.sample(range(6), self.random.randrange(4)))
            self.aspired[model] = versions
            self.lifecycle.aspire(model, dict.fromkeys(versions, ""))
        elif kind < 0.35:
            self.clock.now += self.random.choice([1, 10])
        elif kind < 0.7 or not self.pending:
            self.pending += self.lifecycle.next_actions()
        else:
            self.finish(self.pending.pop(self.random.randrange(len(self.pending))), breaking)

    def finish(self, action, breaking):
        if isinstance(action, Unload):
            self.memory.remove(action.id)
            self.lifecycle.unloaded(action.id)
        elif self.random.random() < breaking:
            self.lifecycle.load_failed(action.id, BROKEN)
        else:
            assert action.id not in self.memory
            self.memory.add(action.id)
            self.lifecycle.loaded(action.id)

    def settle(self, breaking=0.0):
        """Lets everything that is begun or due end."""
        while True:
            self.pending += self.lifecycle.next_actions()
            if self.pending:
                self.finish(self.pending.pop(0), breaking)
            elif self.lifecycle.seconds_to_retry() is not None:
                self.clock.now += self.lifecycle.seconds_to_retry()
            else:
                return

    def available(self, model):
        return set(self.lifecycle.available(model))


@pytest.mark.parametrize("seed", range(40))
class TestAnySequenceOfEvents:
    def test_an_available_model_with_aspired_versions_stays_available(self, seed):
        world = World(seed)
        for _ in range(200):
            before = {model: world.available(model) for model in world.aspired}
            aspired = {model: set(versions) for model, versions in world.aspired.items()}
            world.step()
            for model in world.aspired:
                if before[model] and aspired[model] and world.aspired[model]:
                    assert world.available(model)

    def test_at_most_one_load_per_model_is_under_way(self, seed):
        world = World(seed)
        for _ in range(200):
            world.step()
            loading = [action.id.model for action in world.pending if isinstance(action, Load)]
            assert len(loading) == len(set(loading))

    def test_nothing_is_left_in_memory_but_what_serves(self, seed):
        world = World(seed)
        for _ in range(200):
            world.step()
            serving = {ServableId(model, version) for model in world.aspired for version in world.available(model)}
            assert serving <= world.memory
            assert world.memory - serving <= {action.id for action in world.pending if isinstance(action, Unload)}
        world.settle(breaking=0.5)
        assert world.memory == {ServableId(model, version) for model in world.aspired for version in world.available(model)}

    def test_what_is_aspired_serves_in_the_end(self, seed):
        world = World(seed)
        for _ in range(100):
            world.step(breaking=0)
        world.settle()
        assert {model: world.available(model) for model in world.aspired} == world.aspired

    def test_after_dropping_every_model_memory_is_empty(self, seed):
        world = World(seed)
        for _ in range(100):
            world.step()
        for model in world.aspired:
            world.lifecycle.aspire(model, {})
        world.settle()
        assert world.memory == set()
