import pytest

from components.errors import UsageError
from components.release import rollout
from components.release.rollout import Standing, labels_text, settings_from_json, settings_to_json
from serving.server.config import ModelSettings, VersionPolicy


def settings(**labels):
    policy = VersionPolicy(0, frozenset(labels.values())) if labels else VersionPolicy()
    return ModelSettings("intents", "/models/intents", policy, labels)


def standing(*, versions=(1, 2, 3), history=(), **labels):
    return Standing(settings(**labels), versions, history)


def after(change):
    """The labels that a change leads to; what is loaded is always what they name."""
    assert change.after.policy == VersionPolicy(0, frozenset(change.after.labels.values()))
    return dict(change.after.labels)


class TestCanary:
    def test_is_the_newest_version_beside_the_stable_one(self):
        change = rollout.canary(standing(stable=1, canary=1))
        assert (after(change), change.version) == ({"stable": 1, "canary": 3}, 3)

    def test_may_be_any_version_and_may_change(self):
        assert after(rollout.canary(standing(stable=3, canary=3), 1)) == {"stable": 3, "canary": 1}
        assert after(rollout.canary(standing(stable=1, canary=3), 2)) == {"stable": 1, "canary": 2}

    def test_leaves_labels_of_others_alone(self):
        assert after(rollout.canary(standing(stable=1, beta=2), 3)) == {"stable": 1, "beta": 2, "canary": 3}

    @pytest.mark.parametrize(
        ("where", "version", "message"),
        [
            (standing(), None, "needs a stable version beside it.*release promote"),
            (standing(stable=3), None, "newest version of intents, 3, is stable already"),
            (standing(stable=1), 1, "cannot be its own canary"),
            (standing(stable=1), 9, "no version 9 in /models/intents. Versions: 1, 2, 3"),
        ],
    )
    def test_refusals(self, where, version, message):
        with pytest.raises(UsageError, match=message):
            rollout.canary(where, version)


class TestPromote:
    def test_the_canary_becomes_stable_and_its_label_stays_on_it(self):
        assert after(rollout.promote(standing(stable=1, canary=3))) == {"stable": 3, "canary": 3}
        assert after(rollout.promote(standing(stable=1, canary=3), 3)) == {"stable": 3, "canary": 3}

    def test_the_first_stable_version_is_the_newest_or_the_one_named(self):
        assert after(rollout.promote(standing())) == {"stable": 3, "canary": 3}
        assert after(rollout.promote(standing(), 2)) == {"stable": 2, "canary": 2}

    def test_a_version_may_become_stable_without_a_canary(self):
        assert after(rollout.promote(standing(stable=1, canary=1), 2)) == {"stable": 2, "canary": 2}

    def test_what_is_stable_already_is_nothing_to_do(self):
        assert rollout.promote(standing(stable=2, canary=2), 2).is_nothing

    @pytest.mark.parametrize(
        ("where", "version", "message"),
        [
            (standing(stable=1, canary=1), None, "no canary to promote.*1, 2, 3"),
            (standing(stable=1, canary=3), 2, "canary of intents is version 3, not 2"),
            (standing(stable=1), 9, "no version 9"),
            (standing(versions=()), None, "no canary to promote.*none"),
        ],
    )
    def test_refusals(self, where, version, message):
        with pytest.raises(UsageError, match=message):
            rollout.promote(where, version)


class TestRollback:
    def test_gives_the_canary_up_first(self):
        change = rollout.rollback(standing(stable=2, canary=3, history=(1, 2)))
        assert after(change) == {"stable": 2, "canary": 2}

    def test_returns_to_the_stable_version_before(self):
        assert after(rollout.rollback(standing(stable=3, canary=3, history=(1, 2, 3)))) == {"stable": 2, "canary": 2}

    def test_returns_to_any_version_that_was_stable_and_gives_the_canary_up_too(self):
        change = rollout.rollback(standing(stable=2, canary=3, history=(1, 2)), 1)
        assert after(change) == {"stable": 1, "canary": 1}

    def test_where_somebody_wrote_the_file_by_hand_the_last_one_known_counts(self):
        assert standing(stable=3, history=(1, 2)).previous_stable == 2

    @pytest.mark.parametrize(
        ("where", "version", "message"),
        [
            (standing(), None, "nothing to roll back.*before now"),
            (standing(stable=1, history=(1,)), None, "nothing to roll back.*before 1"),
            (standing(stable=3, history=(1, 3)), 2, "version 2 of intents was not. Those that were: 1, 3"),
            (standing(versions=(2, 3), stable=3, history=(1, 3)), None, "no version 1 in /models/intents"),
            (standing(canary=3), None, "no stable version to return to"),
        ],
    )
    def test_refusals(self, where, version, message):
        with pytest.raises(UsageError, match=message):
            rollout.rollback(where, version)


@pytest.mark.parametrize(
    "served", [None, settings(), settings(stable=1, canary=2), ModelSettings("intents", "/x", VersionPolicy(3))]
)
def test_settings_are_kept_as_json(served):
    assert settings_from_json("intents", settings_to_json(served)) == served


@pytest.mark.parametrize(
    ("labels", "text"),
    [({}, "no labels"), ({"stable": 1, "canary": 1}, "stable 1"), ({"canary": 2, "stable": 1}, "stable 1, canary 2")],
)
def test_people_are_not_told_that_stable_is_a_canary(labels, text):
    assert labels_text(labels) == text
