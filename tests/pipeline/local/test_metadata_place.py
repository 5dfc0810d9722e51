"""Where a root's ML Metadata is: its own file in write-ahead mode, or a database."""

import contextlib
import os
import pathlib
import sqlite3
import threading

import pytest
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2

from components.errors import EnvironmentFailure, UsageError
from pipeline.kubeflow.options import METADATA_PASSWORD
from pipeline.local import metadata_place, root
from tests.pipeline.kubeflow import mariadb

State = metadata_store_pb2.Execution


def place_in(folder):
    return metadata_place.MetadataPlace(folder)


def journal_mode(file):
    with contextlib.closing(sqlite3.connect(file)) as connection:
        return connection.execute("PRAGMA journal_mode").fetchone()[0]


def put_artifacts(store, count):
    kind = store.put_artifact_type(metadata_store_pb2.ArtifactType(name="Examples"))
    for number in range(count):
        store.put_artifacts([metadata_store_pb2.Artifact(type_id=kind, uri=str(number))])


class TestTheRootsOwnFile:
    def test_is_in_write_ahead_mode_and_stays_so(self, tmp_path):
        place = place_in(tmp_path)
        assert place.open() is None
        put_artifacts(metadata_store.MetadataStore(place.config()), 3)
        assert journal_mode(place.file) == "wal"
        # Whoever copies a root that is at rest copies all of it.
        assert [path.name for path in tmp_path.iterdir()] == [metadata_place.FILE]

    def test_one_that_is_there_is_left_to_those_who_have_it_open(self, tmp_path):
        place = place_in(tmp_path)
        place.open()
        stores = [metadata_store.MetadataStore(place.config())]
        for number in range(5):
            put_artifacts(stores[0], 3)
            assert place.open() is None
            stores.append(metadata_store.MetadataStore(place.config()))
            assert [len(store.get_artifacts()) for store in stores] == [3 * (number + 1)] * len(stores)

    def test_one_from_before_stays_as_it_is(self, tmp_path):
        place = place_in(tmp_path)
        put_artifacts(metadata_store.MetadataStore(place.config()), 3)
        assert place.open() is None
        assert journal_mode(place.file) == "delete"

    def test_several_read_and_write_at_once(self, tmp_path):
        place, failures = place_in(tmp_path), []
        place.open()
        stores = [metadata_store.MetadataStore(place.config(read_only)) for read_only in (False, False, True, True)]

        def use(store, read_only):
            try:
                for _ in range(10):
                    store.get_artifacts() if read_only else put_artifacts(store, 3)
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=use, args=(store, number > 1)) for number, store in enumerate(stores)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(stores[-1].get_artifacts()) == 60

    def test_a_reader_who_may_not_write_makes_no_files(self, tmp_path, monkeypatch):
        folder = tmp_path / "a root? 100%"
        folder.mkdir()
        place = place_in(folder)
        place.open()
        put_artifacts(metadata_store.MetadataStore(place.config()), 3)
        monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
        reader = metadata_store.MetadataStore(place.config(read_only=True))
        assert len(reader.get_artifacts()) == 3
        assert [path.name for path in folder.iterdir()] == [metadata_place.FILE]

    def test_a_file_system_that_cannot_is_told_of(self, tmp_path, monkeypatch):
        class Connection:
            def execute(self, statement):
                assert statement == "PRAGMA journal_mode=wal"
                return self

            def fetchone(self):
                return ["delete"]

            def close(self):
                pass

        monkeypatch.setattr(sqlite3, "connect", lambda path: Connection())
        assert "keeps metadata.db in the journal mode delete" in place_in(tmp_path).open()


class TestADatabase:
    ADDRESS = "mysql://parlance@db:3307/runs"

    def test_is_remembered_by_the_root(self, tmp_path):
        place_in(tmp_path).choose(self.ADDRESS)
        config = place_in(tmp_path).config(environment={METADATA_PASSWORD: "geheim"})
        assert (config.mysql.host, config.mysql.port, config.mysql.password) == ("db", 3307, "geheim")
        assert "geheim" not in "".join(path.read_text() for path in tmp_path.iterdir())
        place_in(tmp_path).choose(self.ADDRESS)

    def test_may_be_named_by_a_variable(self, tmp_path, monkeypatch):
        monkeypatch.setenv("WHERE", self.ADDRESS)
        place_in(tmp_path).choose("env:WHERE")
        assert place_in(tmp_path).config(environment={"WHERE": self.ADDRESS}).mysql.host == "db"
        with pytest.raises(UsageError, match="environment variable WHERE is not set"):
            place_in(tmp_path).config(environment={})

    def test_is_not_for_a_root_with_runs_elsewhere(self, tmp_path):
        place_in(tmp_path).open()
        with pytest.raises(UsageError, match=r"have their ML Metadata in metadata\.db, so --metadata cannot be"):
            place_in(tmp_path).choose(self.ADDRESS)
        other = tmp_path / "other"
        other.mkdir()
        place_in(other).choose(self.ADDRESS)
        with pytest.raises(UsageError, match="ML Metadata in mysql://parlance@db:3307/runs, so"):
            place_in(other).choose("mysql://parlance@db/other")

    def test_an_address_with_a_password_is_not_taken(self, tmp_path):
        with pytest.raises(UsageError, match="must not hold a password"):
            place_in(tmp_path).choose("mysql://parlance:geheim@db/runs")
        assert not list(tmp_path.iterdir())

    def test_one_that_does_not_answer(self, tmp_path):
        place_in(tmp_path).choose("mysql://parlance@127.0.0.1:1/runs")
        with pytest.raises(EnvironmentFailure, match="Is the server up"):
            place_in(tmp_path).open()


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(METADATA_PASSWORD, mariadb.PASSWORD)
        try:
            with mariadb.server(tmp_path_factory.mktemp("mariadb")) as url:
                yield url
        except mariadb.Unavailable as reason:
            pytest.skip(str(reason))


class Runs:
    """A root in a database, with an execution in each of two runs."""

    def __init__(self, folder: pathlib.Path, url: str, pipeline: str):
        folder.mkdir()
        self.root = root.Root(folder)
        self.root.metadata.choose(url)
        assert self.root.metadata.open() is None
        self.store = metadata_store.MetadataStore(self.root.metadata_config())
        self.pipeline = pipeline

    def put(self, run_id, state):
        """Puts a node's execution with its output, as the launcher does; returns its id and the output's folder."""
        kind = self.store.put_execution_type(metadata_store_pb2.ExecutionType(name="Node"))
        output = self.store.put_artifact_type(metadata_store_pb2.ArtifactType(name="Examples"))
        contexts = []
        for type_name, name in (("pipeline", self.pipeline), ("pipeline_run", run_id)):
            known = self.store.get_context_by_type_and_name(type_name, name)
            context_type = self.store.put_context_type(metadata_store_pb2.ContextType(name=type_name))
            contexts.append(known or metadata_store_pb2.Context(type_id=context_type, name=name))
        uri = self.root.path / "pipelines" / self.pipeline / "Node" / "examples"
        event = metadata_store_pb2.Event(type=metadata_store_pb2.Event.OUTPUT)
        event.path.steps.add().key = "examples"
        event.path.steps.add().index = 0
        [execution_id, _, _] = self.store.put_execution(
            metadata_store_pb2.Execution(type_id=kind, last_known_state=state),
            [(metadata_store_pb2.Artifact(type_id=output, uri=str(uri)), event)],
            contexts,
        )
        (uri / str(execution_id)).mkdir(parents=True)
        (self.root.runs / run_id).mkdir(parents=True, exist_ok=True)
        (self.root.runs / run_id / "run.json").write_text(f'{{"run_id": "{run_id}", "state": "running"}}')
        return execution_id, uri / str(execution_id)

    def state(self, execution_id):
        return self.store.get_executions_by_id([execution_id])[0].last_known_state


def test_a_sweep_ends_what_the_roots_own_runs_left_and_lets_those_of_others_work(database, tmp_path):
    ours, theirs = (Runs(tmp_path / name, database, name) for name in ("ours", "theirs"))
    done, _ = ours.put("ours-1", State.COMPLETE)
    left, output = ours.put("ours-2", State.RUNNING)
    working, their_output = theirs.put("theirs-1", State.RUNNING)
    ours.root.sweep()
    assert [ours.state(one) for one in (done, left, working)] == [State.COMPLETE, State.FAILED, State.RUNNING]
    assert (output.exists(), their_output.exists()) == (False, True)


def test_a_pipeline_whose_artifacts_are_in_another_root_is_refused(database, tmp_path):
    first = Runs(tmp_path / "first", database, "shared name")
    first.put("run-1", State.COMPLETE)
    first.root.metadata.check_owner("shared name")
    second = Runs(tmp_path / "second", database, "shared name")
    with pytest.raises(UsageError, match="has its artifacts elsewhere.*give the pipeline another `name`"):
        second.root.metadata.check_owner("shared name")
    second.root.metadata.check_owner("its own name")
