"""When nodes were at work, and what memory there was meanwhile."""

import sqlite3

import pytest

from benchmarks import whole_run

SPANS = {"ExampleGen": (10.0, 20.0), "Trainer": (20.0, 50.0), "Validator": (18.0, 24.0), "Pusher": (45.0, 46.0)}


@pytest.fixture
def metadata(tmp_path):
    """The tables of ML Metadata that are looked at, with two runs of one node."""
    path = tmp_path / "metadata.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(
            """
            CREATE TABLE Type (id INT, name TEXT);
            CREATE TABLE Context (id INT, type_id INT, name TEXT);
            CREATE TABLE Association (context_id INT, execution_id INT);
            CREATE TABLE Execution (id INT, create_time_since_epoch INT, last_update_time_since_epoch INT);
            INSERT INTO Type VALUES (1, 'node'), (2, 'pipeline');
            INSERT INTO Context VALUES (1, 1, 'taxi.Trainer'), (2, 2, 'taxi'), (3, 1, 'taxi.Pusher');
            INSERT INTO Execution VALUES (1, 5000, 6000), (2, 20000, 50500), (3, 51000, 52000);
            INSERT INTO Association VALUES (1, 1), (2, 1), (1, 2), (2, 2), (3, 3), (2, 3);
            """
        )
    return path


def test_spans_are_those_of_executions_since_a_time(metadata):
    assert whole_run.node_spans(metadata, since=10.0) == {"Trainer": (20.0, 50.5), "Pusher": (51.0, 52.0)}


def test_seconds_alone_leave_out_those_in_which_others_ran():
    assert whole_run.seconds_alone(SPANS, "Trainer") == pytest.approx(30 - 4 - 1)
    assert whole_run.seconds_alone(SPANS, "ExampleGen") == pytest.approx(8)
    assert whole_run.seconds_alone({"Trainer": (1.0, 3.0)}, "Trainer") == 2.0
    assert whole_run.seconds_alone({"Pusher": (1.0, 3.0)}, "Trainer") == 0.0


def test_memory_is_told_by_node():
    looks = [(5.0, 900.0), (12.0, 100.0), (19.0, 300.0), (22.0, 200.0), (48.0, 1000.0)]
    assert whole_run.peaks(SPANS, looks) == {"ExampleGen": 300.0, "Validator": 300.0, "Trainer": 1000.0}
    assert whole_run.at_peak(SPANS, looks) == ["Trainer"]
    assert whole_run.at_peak(SPANS, looks[:3]) == []
    assert whole_run.at_peak(SPANS, looks[1:3]) == ["ExampleGen", "Validator"]


def test_the_table_has_every_node_the_slowest_first():
    run = {"nodes": {"Pusher": 0.5, "Trainer": 30.0}, "node_peak_mib": {"Trainer": 1000.0}, "at_peak": ["Trainer"]}
    lines = whole_run.nodes_table({"ours": run}).splitlines()
    assert lines[2:] == ["| ours | Trainer | 30.0 | 1,000 (the run's peak) |", "| ours | Pusher | 0.5 |  |"]
