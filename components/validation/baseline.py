"""Which data a run's data is held against, as a TFX resolver strategy.

There are two data sets to compare it with, the one before and the one which the current model was trained on, and the series of all
those before. What a server logged is no yardstick for data to train on, nor the other way round, but for the training data beside a log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2
from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.common import resolver
from tfx.types import standard_artifacts

from components.evaluation import baseline
from components.validation import environments
from components.validation.schema_file import TRAINING

NODE_ID = "BaselineStatistics"

# The series of earlier data that a run can be judged by is no longer than three times what it looks back by default.
_MOST_HISTORY = 60
_FINGERPRINT = "content_fingerprint"
_EXAMPLES = standard_artifacts.Examples.TYPE_NAME
_STATISTICS = standard_artifacts.ExampleStatistics.TYPE_NAME


class BaselineStatisticsStrategy(resolver.ResolverStrategy):
    """Resolves what the data of a run is compared with.

    - `previous`: the newest statistics older than the run's own that a data gate let pass. Data that was refused is no yardstick. Of a
      server's log, those of the log before; of other data, those of no log.
    - `training`: the statistics of the data that the last blessed model was trained on. If that is the run's own data (an unchanged
      rerun, or another model on the same data), it is the data of the baseline that model was blessed against, and so on: data is no
      yardstick for itself, and the gate stays cached.

    If the current model was trained on the previous data, that is `training`, and `previous` is empty. Data with the same content is
    the same data, however often it was ingested.

    Of both there are also the examples that the statistics are of: `previous_examples` and `training_examples`. `history` has those of
    other data of that kind which is older than the run's own and that a data gate let pass: the newest, each data set once.

    Inputs: `statistics` (the run's own), and all of the pipeline: `previous` and `training` (statistics), `previous_examples`,
    `training_examples` and `history` (examples), `verdict`, `model_blessing` and `infra_blessing`. Every output but `history` holds one
    artifact or none.
    """

    def resolve_artifacts(
        self, store: metadata_store.MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]]:
        """See the base class."""
        [own] = input_dict["statistics"]
        known = {artifact.id: artifact for artifact in input_dict["previous"]}
        examples = {artifact.id: artifact for artifact in input_dict["history"]}
        lineage = Lineage(store)
        made_of = lineage.examples_of([own.id, *known])
        data = lineage.data_of([own.id, *known])
        kinds = lineage.environments_of([own.id, *known])
        accepted = lineage.sources([verdict.id for verdict in input_dict["verdict"]], _STATISTICS)
        earlier = set().union(*accepted.values()) & known.keys()
        alike = [number for number in sorted(earlier) if kinds[number] == kinds[own.id]]
        older = [number for number in alike if number < own.id and data[number] != data[own.id]]
        previous = older[-1:]
        training = _training(
            baseline.counting_blessings(input_dict["model_blessing"], input_dict["infra_blessing"]), lineage, data, own.id
        )
        # Statistics of the same data are equal. The oldest do not change when somebody computes them again; the previous ones show
        # that the current model was trained on the previous data.
        same = [number for number in sorted(known) if training is not None and data[number] == training]
        chosen = ([number for number in previous if number in same] or same)[:1]
        # Metadata keeps one event per artifact and execution, so one artifact cannot be two outputs.
        previous = [number for number in previous if number not in chosen]
        # Of the same data, what was there first.
        first = {data[number]: number for number in reversed(older)}
        for number in (*previous, *chosen):
            first.pop(data[number], None)

        def sources(numbers: Iterable[int]) -> list[types.Artifact]:
            made = [made_of[number] for number in numbers]
            return [examples[number] for number in made if number in examples]

        return {
            "statistics": [own],
            "previous": [known[number] for number in previous],
            "training": [known[number] for number in chosen],
            "previous_examples": sources(previous),
            "training_examples": sources(chosen),
            "history": sources(sorted(first.values()))[-_MOST_HISTORY:],
            "verdict": input_dict["verdict"][-1:],
            "model_blessing": input_dict["model_blessing"][-1:],
            "infra_blessing": input_dict["infra_blessing"][-1:],
        }


class Lineage:
    """What was made of what, in ML Metadata."""

    def __init__(self, store: metadata_store.MetadataStore):
        self._store = store

    def sources(self, artifacts: Iterable[int], type_name: str) -> dict[int, set[int]]:
        """Returns the inputs of one type that each artifact was made of."""
        ids = list(artifacts)
        made = self._events(ids, metadata_store_pb2.Event.OUTPUT)
        read: dict[int, set[int]] = {}
        executions = sorted({event.execution_id for event in made})
        for event in self._store.get_events_by_execution_ids(executions) if executions else ():
            if event.type == metadata_store_pb2.Event.INPUT:
                read.setdefault(event.execution_id, set()).add(event.artifact_id)
        inputs = sorted(set().union(*read.values()))
        wanted = {artifact.id for artifact in self._store.get_artifacts_by_id(inputs) if artifact.type == type_name}
        found: dict[int, set[int]] = {number: set() for number in ids}
        for event in made:
            found[event.artifact_id] |= read.get(event.execution_id, set()) & wanted
        return found

    def examples_of(self, artifacts: Iterable[int]) -> dict[int, int | None]:
        """Returns the examples that each artifact was made of, the oldest of several; None if it was made of none."""
        return {number: min(found, default=None) for number, found in self.sources(artifacts, _EXAMPLES).items()}

    def data_of(self, artifacts: Iterable[int]) -> dict[int, str | None]:
        """Returns the fingerprint of the rows that each artifact was made of; None if it was made of none."""
        return self._of_examples(artifacts, _fingerprint)

    def environments_of(self, artifacts: Iterable[int]) -> dict[int, str | None]:
        """Returns the environment of the rows that each artifact was made of; None if it was made of none."""
        return self._of_examples(artifacts, _environment)

    def _of_examples(self, artifacts: Iterable[int], told: Callable[[metadata_store_pb2.Artifact], str]) -> dict[int, str | None]:
        examples = self.examples_of(artifacts)
        ids = sorted({found for found in examples.values() if found is not None})
        by_id = {artifact.id: told(artifact) for artifact in self._store.get_artifacts_by_id(ids)}
        return {number: None if found is None else by_id[found] for number, found in examples.items()}

    def _events(self, artifacts: Sequence[int], kind: int) -> list[metadata_store_pb2.Event]:
        events = self._store.get_events_by_artifact_ids(artifacts) if artifacts else []
        return [event for event in events if event.type == kind]


def _fingerprint(examples: metadata_store_pb2.Artifact) -> str:
    return examples.custom_properties[_FINGERPRINT].string_value or f"artifact {examples.id}"


def _environment(examples: metadata_store_pb2.Artifact) -> str:
    return examples.custom_properties[environments.PROPERTY].string_value or TRAINING


def _training(blessings: Sequence[types.Artifact], lineage: Lineage, data: Mapping[int, str | None], own: int) -> str | None:
    """The fingerprint of the data of the newest blessed model that was trained on other data; None if there is none."""
    if not blessings:
        return None
    held_against = {
        baseline.property_of(blessing, constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY): baseline.property_of(
            blessing, constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY
        )
        for blessing in blessings
    }
    model = baseline.property_of(blessings[-1], constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY)
    seen: set[int] = set()
    while model and model not in seen:
        trained_on = lineage.data_of([model])[model]
        if trained_on is not None and trained_on != data[own]:
            return trained_on
        seen.add(model)
        model = held_against.get(model, 0)
    return None


def baseline_statistics(statistics: types.BaseChannel, verdict_type: type[types.Artifact]) -> resolver.Resolver:
    """Returns the node that resolves what the data of a run is compared with.

    Args:
      statistics: The run's own statistics.
      verdict_type: The type of what a data gate leaves that let a run pass.
    """
    return resolver.Resolver(
        strategy_class=BaselineStatisticsStrategy,
        statistics=statistics,
        previous=types.Channel(type=standard_artifacts.ExampleStatistics),
        training=types.Channel(type=standard_artifacts.ExampleStatistics),
        previous_examples=types.Channel(type=standard_artifacts.Examples),
        training_examples=types.Channel(type=standard_artifacts.Examples),
        history=types.Channel(type=standard_artifacts.Examples),
        verdict=types.Channel(type=verdict_type),
        model_blessing=types.Channel(type=standard_artifacts.ModelBlessing),
        infra_blessing=types.Channel(type=standard_artifacts.InfraBlessing),
    ).with_id(NODE_ID)
