"""Which model a candidate is measured against: the last blessed one, as a TFX resolver strategy."""

from __future__ import annotations

from collections.abc import Iterable

from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.common import resolver
from tfx.types import standard_artifacts

from components.release import infra_blessing

OVERRIDE_REASON_KEY = "override_reason"
"""The custom property of a blessing that a person gave, with the reason."""


class LastBlessedModelStrategy(resolver.ResolverStrategy):
    """Resolves the baseline of a candidate.

    It is the model of the newest blessing. If that model is the candidate itself (an unchanged rerun, where the trainer's result came
    from the cache), it is the baseline that blessing was decided against: a model is no yardstick for itself, and the evaluation
    stays cached. TFX's own LatestBlessedModelStrategy would hand the candidate its own twin.

    A model that failed its smoke test was not released, so its blessing does not count, unless a person released it all the same.

    Inputs: `candidate` (one model), `model`, `model_blessing` and `infra_blessing` (all of the pipeline). `model` of the output holds
    one model or none.
    """

    def resolve_artifacts(self, store, input_dict: dict[str, list[types.Artifact]]) -> dict[str, list[types.Artifact]]:
        """See the base class."""
        [candidate] = input_dict["candidate"]
        models = {model.id: model for model in input_dict["model"]}
        blessings = counting_blessings(input_dict["model_blessing"], input_dict["infra_blessing"])
        chosen: list[types.Artifact] = []
        if blessings:
            newest = blessings[-1]
            model_id = property_of(newest, constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY)
            if model_id == candidate.id:
                model_id = property_of(newest, constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY)
            # A model whose files were deleted is gone from metadata's live artifacts; then there is nothing to compare with.
            chosen = [models[model_id]] if model_id in models else []
        tried = {property_of(blessing, infra_blessing.MODEL_ID_KEY): blessing for blessing in input_dict["infra_blessing"]}
        return {
            "candidate": [candidate],
            "model": chosen,
            "model_blessing": blessings[-1:],
            "infra_blessing": [tried[model.id] for model in chosen if model.id in tried],
        }


def counting_blessings(blessings: Iterable[types.Artifact], infra_blessings: Iterable[types.Artifact]) -> list[types.Artifact]:
    """Returns the blessings of models that were released, the oldest first: without those whose model failed its smoke test.

    Args:
      blessings: All ModelBlessing artifacts of a pipeline.
      infra_blessings: All its InfraBlessing artifacts.
    """
    unreleased = infra_blessing.never_passed(infra_blessings)
    return sorted(
        (
            blessing
            for blessing in blessings
            if property_of(blessing, constants.ARTIFACT_PROPERTY_BLESSED_KEY)
            and (
                blessing.has_custom_property(OVERRIDE_REASON_KEY)
                or property_of(blessing, constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY) not in unreleased
            )
        ),
        key=lambda blessing: blessing.id,
    )


def property_of(blessing: types.Artifact, key: str) -> int:
    """Returns a whole number that a blessing carries; 0 if it does not."""
    return blessing.get_int_custom_property(key) if blessing.has_custom_property(key) else 0


def last_blessed_model(candidate: types.BaseChannel) -> resolver.Resolver:
    """Returns the node that resolves the baseline for a candidate model."""
    return resolver.Resolver(
        strategy_class=LastBlessedModelStrategy,
        candidate=candidate,
        model=types.Channel(type=standard_artifacts.Model),
        model_blessing=types.Channel(type=standard_artifacts.ModelBlessing),
        infra_blessing=types.Channel(type=standard_artifacts.InfraBlessing),
    ).with_id("LatestBlessedModel")
