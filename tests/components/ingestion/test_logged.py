"""A server's log needs only what requests carry."""

import pytest
from tensorflow_metadata.proto.v0 import schema_pb2

from components.errors import UsageError
from components.ingestion import ingest, logged
from components.ingestion.options import DataOptions
from tests.components.monitoring import logs

AT = 1_700_000_000


@pytest.fixture
def schema():
    """A text, the language of a message and a label, of which requests carry the text."""
    schema = schema_pb2.Schema()
    schema.feature.add(name="text", type=schema_pb2.BYTES)
    for name in ("language", "intent"):
        schema.feature.add(name=name, type=schema_pb2.BYTES, not_in_environment=["SERVING"])
    return schema


@pytest.fixture
def read(tmp_path, schema):
    """Ingests a log with some settings of `data:`; returns the summary."""

    def ingested(*records, source=None, **settings):
        log = tmp_path / "log"
        log.mkdir()
        logs.write(log, records)
        options = DataOptions.model_validate(
            {
                "source": {"type": "prediction_log", "path": str(log), "label": "intent", **(source or {})},
                "text": "text",
                "label": "intent",
                "split": {"eval": 0.2, "test": 0.2},
                **settings,
            }
        )
        return ingest.ingest(options, schema, None, str(tmp_path / "out"), str(tmp_path / "quarantine"))

    return ingested


def requests(count, labels=("on", "off")):
    return [
        logs.record(AT + number, [f"message {number}"], [labels[number % len(labels)]], [0.9], languages=None)
        for number in range(count)
    ]


def total(summary):
    return sum(summary["rows"].values()) - summary["rows"]["quarantined"]


def test_segments_groups_and_splits_that_no_request_carries_may_be_missing(read):
    summary = read(*requests(40), segments=["language"], group="conversation", split={"by": "group", "eval": 0.2, "test": 0.2})
    assert total(summary) == 40
    assert summary["notes"] == [
        "The log has no columns 'conversation', 'language', which a request need not carry, so there are no values"
    ]
    assert summary["segments"] == {"language": {}}
    assert summary["missing"]["language"] == 40


@pytest.mark.parametrize(
    ("split", "settings"),
    [({"by": "time"}, {"timestamp": "created_at"}), ({"by": "column", "column": "part"}, {})],
)
def test_rows_are_split_by_hash_where_requests_do_not_say_their_split(read, split, settings):
    summary = read(*requests(60), split={**split, "eval": 0.2, "test": 0.2}, **settings)
    assert total(summary) == 60
    assert 0 < summary["rows"]["test"] < 30
    assert f"Rows of the log were split by hash, not by {split['by']}" in summary["notes"]


def test_a_column_that_requests_do_carry_is_read(read):
    records = [logs.record(AT, [f"a {number}"], ["on"], [0.9], languages=["de"]) for number in range(20)]
    summary = read(*records, segments=["language"])
    assert summary["segments"] == {"language": {"de": 20}}
    assert summary["notes"] == []


def test_nothing_is_derived_from_columns_that_no_request_has(read):
    summary = read(*requests(30), derive={"intent": "tips > 0.2 * fare"})
    assert sum(summary["labels"]["train"].values()) == summary["rows"]["train"]


def test_one_answer_few_rows_and_no_answer_are_rows_all_the_same(read):
    summary = read(*requests(3, labels=("on",)), source={"label": "answer"})
    assert total(summary) == 3
    assert "'intent'" in summary["notes"][0]


def test_a_model_input_must_be_there(read, schema):
    schema.feature.add(name="channel", type=schema_pb2.BYTES)
    with pytest.raises(UsageError, match="The schema lists 'channel', but there is no such column"):
        read(*requests(5))


def test_other_times_are_skipped_and_counted(read):
    summary = read(*requests(50), source={"since": AT + 10, "until": AT + 40})
    assert total(summary) == 30
    assert "20 records of other times were skipped" in summary["notes"]


def test_a_log_without_a_request_of_the_model_says_so(read):
    with pytest.raises(UsageError, match=r"holds no logged request of the model 'taxi' \(5 records of other models\)"):
        read(*requests(5), source={"model": "taxi"})


def test_other_sources_are_read_as_they_were(schema):
    options = DataOptions.model_validate({"source": {"type": "csv", "path": "t.csv"}, "label": "intent", "group": "g"})
    assert logged.options_for(options) is options
    assert logged.optional_columns(options, schema) == frozenset()
    assert logged.notes(options, ["g"]) == []
    logged.require_rows(options, 0, {})
