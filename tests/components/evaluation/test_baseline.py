"""Which model a candidate is measured against."""

import pytest

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def resolve():
    from tfx.types import standard_artifacts

    from components.evaluation.baseline import LastBlessedModelStrategy

    def model(number):
        artifact = standard_artifacts.Model()
        artifact.id = number
        return artifact

    def tried(number, state, current):
        artifact = standard_artifacts.InfraBlessing()
        artifact.id = number
        artifact.set_string_custom_property("smoke_test", state)
        artifact.set_int_custom_property("current_model_id", current)
        return artifact

    def blessing(number, blessed, current, baseline=None, override=None):
        artifact = standard_artifacts.ModelBlessing()
        artifact.id = number
        artifact.set_int_custom_property("blessed", int(blessed))
        artifact.set_int_custom_property("current_model_id", current)
        if baseline is not None:
            artifact.set_int_custom_property("baseline_model_id", baseline)
        if override is not None:
            artifact.set_string_custom_property("override_reason", override)
        return artifact

    def resolve(candidate, models, blessings, smoke_tests=()):
        chosen = LastBlessedModelStrategy().resolve_artifacts(
            None,
            {
                "candidate": [model(candidate)],
                "model": [model(number) for number in models],
                "model_blessing": [blessing(*values) for values in blessings],
                "infra_blessing": [tried(*values) for values in smoke_tests],
            },
        )
        return [artifact.id for artifact in chosen["model"]]

    return resolve


@pytest.mark.parametrize(
    ("candidate", "models", "blessings", "expected"),
    [
        pytest.param(1, [1], [], [], id="first run"),
        pytest.param(2, [1, 2], [(10, True, 1)], [1], id="the last blessed model"),
        pytest.param(3, [1, 2, 3], [(10, True, 1), (11, False, 2, 1)], [1], id="a rejected model is no baseline"),
        pytest.param(1, [1], [(10, True, 1)], [], id="unchanged first run: not its own yardstick"),
        pytest.param(
            2, [1, 2], [(10, True, 1), (11, True, 2, 1)], [1], id="unchanged later run: the baseline it was decided against"
        ),
        pytest.param(1, [1, 2], [(10, True, 1), (11, True, 2, 1)], [2], id="back to an older model: measured against today's"),
        pytest.param(3, [3], [(10, True, 1)], [], id="the blessed model's files are gone"),
    ],
)
def test_baseline(resolve, candidate, models, blessings, expected):
    assert resolve(candidate, models, blessings) == expected


BOTH_BLESSED = [(10, True, 1), (11, True, 2, 1)]


@pytest.mark.parametrize(
    ("candidate", "blessings", "smoke_tests", "expected"),
    [
        pytest.param(3, BOTH_BLESSED, [(20, "passed", 1), (21, "passed", 2)], [2], id="both passed"),
        pytest.param(3, BOTH_BLESSED, [(20, "passed", 1), (21, "failed", 2)], [1], id="what failed was never released"),
        pytest.param(3, BOTH_BLESSED, [(21, "failed", 2), (22, "passed", 2)], [2], id="tried again, it passed"),
        pytest.param(3, BOTH_BLESSED, [(21, "passed", 2), (22, "failed", 2)], [2], id="released, whatever it failed later"),
        pytest.param(
            3, BOTH_BLESSED, [(21, "skipped", 2)], [2], id="a test that was skipped, because of other gates, says nothing"
        ),
        pytest.param(3, [(10, True, 1)], [(20, "failed", 1)], [], id="the only one failed"),
        pytest.param(2, BOTH_BLESSED, [(21, "failed", 2)], [1], id="unchanged rerun after a failure: still cached"),
        pytest.param(
            3, [*BOTH_BLESSED, (12, True, 2, 1, "needed")], [(21, "failed", 2)], [2], id="released by a person all the same"
        ),
    ],
)
def test_a_failed_smoke_test_makes_no_baseline(resolve, candidate, blessings, smoke_tests, expected):
    assert resolve(candidate, [1, 2, 3], blessings, smoke_tests) == expected
