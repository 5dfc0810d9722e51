"""Which statistics a run's data is held against."""

import pytest

pytestmark = pytest.mark.tensorflow


class History:
    """Runs of one pipeline in a metadata store of their own."""

    def __init__(self):
        from ml_metadata.metadata_store import metadata_store
        from ml_metadata.proto import metadata_store_pb2

        self._proto = metadata_store_pb2
        connection = metadata_store_pb2.ConnectionConfig()
        connection.fake_database.SetInParent()
        self.store = metadata_store.MetadataStore(connection)
        self._types = {
            name: self.store.put_artifact_type(metadata_store_pb2.ArtifactType(name=name))
            for name in ("Examples", "ExampleStatistics", "Model", "DataVerdict")
        }
        self._execution_type = self.store.put_execution_type(metadata_store_pb2.ExecutionType(name="node"))
        self.statistics, self.verdicts, self.blessings = [], [], []

    def _made(self, name, of, fingerprint=""):
        """Puts an artifact that an execution made of others; returns its id."""
        artifact = self._proto.Artifact(type_id=self._types[name], uri=name)
        if fingerprint:
            artifact.custom_properties["content_fingerprint"].string_value = fingerprint
        [made] = self.store.put_artifacts([artifact])
        [execution] = self.store.put_executions([self._proto.Execution(type_id=self._execution_type)])
        event = self._proto.Event
        self.store.put_events(
            [event(artifact_id=source, execution_id=execution, type=event.INPUT) for source in of]
            + [event(artifact_id=made, execution_id=execution, type=event.OUTPUT)]
        )
        return made

    def run(self, rows, *, passes=True, blessed=None, baseline=None):
        """A run over data; returns the ids of its statistics and its model."""
        examples = self._made("Examples", [], rows)
        statistics = self._made("ExampleStatistics", [examples])
        self.statistics.append(statistics)
        if passes:
            self.verdicts.append(self._made("DataVerdict", [statistics, examples]))
        model = None
        if blessed is not None:
            model = self._made("Model", [examples])
            self.blessings.append((blessed, model, baseline))
        return statistics, model

    def resolve(self, own):
        """The ids of the previous and the training statistics; None where there are none."""
        from tfx.types import standard_artifacts

        from components.validation.baseline import BaselineStatisticsStrategy
        from components.validation.component import DataVerdict

        def artifact(kind, number):
            made = kind()
            made.id = number
            return made

        blessings = []
        for number, (blessed, model, baseline) in enumerate(self.blessings):
            blessing = artifact(standard_artifacts.ModelBlessing, 1000 + number)
            blessing.set_int_custom_property("blessed", int(blessed))
            blessing.set_int_custom_property("current_model_id", model)
            if baseline is not None:
                blessing.set_int_custom_property("baseline_model_id", baseline)
            blessings.append(blessing)
        known = [artifact(standard_artifacts.ExampleStatistics, number) for number in self.statistics]
        resolved = BaselineStatisticsStrategy().resolve_artifacts(
            self.store,
            {
                "statistics": [artifact(standard_artifacts.ExampleStatistics, own)],
                "previous": known,
                "training": known,
                "verdict": [artifact(DataVerdict, number) for number in self.verdicts],
                "model_blessing": blessings,
                "infra_blessing": [],
            },
        )
        return tuple(resolved[key][0].id if resolved[key] else None for key in ("previous", "training"))


@pytest.fixture
def history():
    return History()


def test_the_first_run_has_nothing_to_compare_with(history):
    own, _ = history.run("monday", blessed=True)
    assert history.resolve(own) == (None, None)


def test_previous_data_and_the_data_of_the_current_model(history):
    monday, _ = history.run("monday", blessed=True)
    tuesday, _ = history.run("tuesday")
    own, _ = history.run("wednesday")
    assert history.resolve(own) == (tuesday, monday)


def test_an_unchanged_rerun_resolves_the_same_as_before_its_model_was_blessed(history):
    monday, first = history.run("monday", blessed=True)
    own, _ = history.run("tuesday")
    before = history.resolve(own)
    assert before == (None, monday)
    history.blessings.append((True, history._made("Model", [own - 1]), first))
    assert history.resolve(own) == before


def test_another_model_on_the_same_data_neither_moves_it(history):
    monday, first = history.run("monday", blessed=True)
    own, second = history.run("tuesday", blessed=True, baseline=first)
    history.blessings.append((True, history._made("Model", [own - 1]), second))
    assert history.resolve(own) == (None, monday)


def test_data_that_was_refused_is_no_yardstick(history):
    monday, _ = history.run("monday")
    history.run("poisoned", passes=False)
    own, _ = history.run("tuesday")
    assert history.resolve(own) == (monday, None)


def test_a_rejected_model_is_no_yardstick(history):
    monday, first = history.run("monday", blessed=True)
    history.run("tuesday", blessed=False, baseline=first)
    own, _ = history.run("wednesday")
    assert history.resolve(own)[1] == monday


def test_the_same_rows_ingested_again_are_not_previous_to_themselves(history):
    history.run("monday")
    own, _ = history.run("monday")
    assert history.resolve(own) == (None, None)


def test_training_data_that_was_ingested_again_is_compared_with_once(history):
    history.run("monday", blessed=True)
    again, _ = history.run("monday")
    own, _ = history.run("tuesday")
    assert history.resolve(own) == (None, again)
