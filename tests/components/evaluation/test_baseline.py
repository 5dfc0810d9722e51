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

    def blessing(number, blessed, current, baseline=None):
        artifact = standard_artifacts.ModelBlessing()
        artifact.id = number
        artifact.set_int_custom_property("blessed", int(blessed))
        artifact.set_int_custom_property("current_model_id", current)
        if baseline is not None:
            artifact.set_int_custom_property("baseline_model_id", baseline)
        return artifact

    def resolve(candidate, models, blessings):
        chosen = LastBlessedModelStrategy().resolve_artifacts(
            None,
            {
                "candidate": [model(candidate)],
                "model": [model(number) for number in models],
                "model_blessing": [blessing(*values) for values in blessings],
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
