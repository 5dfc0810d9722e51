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
        self.examples, self.statistics, self.verdicts, self.blessings = [], [], [], []

    def _made(self, name, of, fingerprint="", environment=""):
        """Puts an artifact that an execution made of others; returns its id."""
        artifact = self._proto.Artifact(type_id=self._types[name], uri=name)
        if fingerprint:
            artifact.custom_properties["content_fingerprint"].string_value = fingerprint
        if environment:
            artifact.custom_properties["data_environment"].string_value = environment
        [made] = self.store.put_artifacts([artifact])
        [execution] = self.store.put_executions([self._proto.Execution(type_id=self._execution_type)])
        event = self._proto.Event
        self.store.put_events(
            [event(artifact_id=source, execution_id=execution, type=event.INPUT) for source in of]
            + [event(artifact_id=made, execution_id=execution, type=event.OUTPUT)]
        )
        return made

    def run(self, rows, *, passes=True, blessed=None, baseline=None, environment="TRAINING"):
        """A run over data; returns the ids of its statistics and its model."""
        examples = self._made("Examples", [], rows, environment)
        self.examples.append(examples)
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
        resolved = self.resolved(own)
        return tuple(resolved[key][0].id if resolved[key] else None for key in ("previous", "training"))

    def resolved(self, own):
        """All that is resolved, by key."""
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
        examples = [artifact(standard_artifacts.Examples, number) for number in self.examples]
        return BaselineStatisticsStrategy().resolve_artifacts(
            self.store,
            {
                "statistics": [artifact(standard_artifacts.ExampleStatistics, own)],
                "previous": known,
                "training": known,
                "previous_examples": examples,
                "training_examples": examples,
                "history": examples,
                "verdict": [artifact(DataVerdict, number) for number in self.verdicts],
                "model_blessing": blessings,
                "infra_blessing": [],
            },
        )


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


class TestLogs:
    """What a server logged and data to train on are two series."""

    def test_a_log_is_no_baseline_of_data_to_train_on(self, history):
        # Data from before there was such a property is data to train on.
        sunday, _ = history.run("sunday", blessed=True)
        monday, _ = history.run("monday", environment="")
        history.run("requests of monday", environment="SERVING")
        own, _ = history.run("tuesday")
        assert history.resolve(own) == (monday, sunday)
        assert history.resolved(own)["history"] == []

    def test_a_log_is_held_against_training_data_and_the_log_before(self, history):
        monday, _ = history.run("monday", blessed=True)
        first, _ = history.run("requests of monday", environment="SERVING")
        history.run("tuesday")
        second, _ = history.run("requests of tuesday", environment="SERVING")
        own, _ = history.run("requests of wednesday", environment="SERVING")
        assert history.resolve(own) == (second, monday)
        assert [artifact.id for artifact in history.resolved(own)["history"]] == [first - 1]


class TestSeries:
    """Which earlier data there is, each data set in one place. Examples are the artifacts before their statistics."""

    def test_every_data_set_is_in_one_place_the_oldest_first(self, history):
        monday, _ = history.run("monday")
        tuesday, _ = history.run("tuesday", blessed=True)
        wednesday, _ = history.run("wednesday")
        own, _ = history.run("thursday")
        assert self.places(history, own) == {
            "previous_examples": [wednesday - 1],
            "training_examples": [tuesday - 1],
            "history": [monday - 1],
        }

    def test_data_that_was_refused_or_is_newer_is_no_part_of_it(self, history):
        monday, _ = history.run("monday")
        history.run("poisoned", passes=False)
        history.run("tuesday")
        own, _ = history.run("wednesday")
        history.run("thursday")
        assert self.places(history, own)["history"] == [monday - 1]

    def test_data_that_was_ingested_again_is_in_it_once(self, history):
        monday, _ = history.run("monday")
        history.run("monday")
        history.run("tuesday")
        own, _ = history.run("wednesday")
        assert self.places(history, own)["history"] == [monday - 1]
        again, _ = history.run("monday")
        assert monday - 1 not in self.places(history, again)["history"]

    def test_an_unchanged_rerun_resolves_the_same(self, history):
        for day in ("monday", "tuesday", "wednesday"):
            own, _ = history.run(day)
        before = self.places(history, own)
        history.run("thursday")
        assert self.places(history, own) == before

    def test_it_is_no_longer_than_anybody_looks_back(self, history):
        for day in range(65):
            own, _ = history.run(f"day {day}")
        found = self.places(history, own)["history"]
        assert len(found) == 60
        assert found == sorted(found)

    @staticmethod
    def places(history, own):
        resolved = history.resolved(own)
        return {key: [artifact.id for artifact in resolved[key]] for key in ("previous_examples", "training_examples", "history")}
