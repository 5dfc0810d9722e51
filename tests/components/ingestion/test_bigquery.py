"""BigQuery's own client against a server that answers as BigQuery's REST API does; the service itself is not there to be asked."""

import sys

import pytest

from components.errors import EnvironmentFailure, UsageError
from components.ingestion import database, readers, watermark
from components.ingestion.options import BigQuerySource, Incremental
from tests.components.ingestion import fake_bigquery


@pytest.fixture
def server(monkeypatch):
    import google.auth
    from google.auth import credentials

    fake = fake_bigquery.Server({"id": "INTEGER", "text": "STRING", "at": "DATETIME", "score": "FLOAT"})
    fake.database.execute("CREATE TABLE tickets (id, text, at, score)")
    add(fake, *((number, f"message {number}", f"2026-01-01T{number:02}:00:00", number / 2) for number in range(1, 24)))
    add(fake, (24, None, None, None))
    anonymous = credentials.AnonymousCredentials()
    monkeypatch.setattr(google.auth, "default", lambda *arguments, **options: (anonymous, fake_bigquery.PROJECT))
    with fake_bigquery.serve(fake) as address:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", address)
        yield fake


def add(fake, *rows):
    fake.database.executemany("INSERT INTO tickets VALUES (?, ?, ?, ?)", rows)


def source(**settings):
    return BigQuerySource.model_validate({"type": "bigquery", "query": "SELECT * FROM tickets -- all", **settings})


def read(columns=None, regions=None, **settings):
    return list(readers.read_batches(source(**settings), regions, columns))


def values(chunks, column):
    return [value for chunk in chunks for value in chunk.rows.column(column).to_pylist()]


class TestReading:
    def test_rows(self, server):
        [chunk] = read()
        assert chunk.rows.slice(2, 1).to_pylist() == [
            {"id": 3, "text": "message 3", "at": "2026-01-01 03:00:00.000000", "score": 1.5}
        ]
        assert chunk.rows.slice(23, 1).to_pylist() == [{"id": 24, "text": None, "at": None, "score": None}]
        assert chunk.columns == ("id", "text", "at", "score")
        assert chunk.positions.tolist() == list(range(1, 25))

    def test_pages_bound_memory(self, server, monkeypatch):
        monkeypatch.setattr(database, "ROWS_PER_BLOCK", 10)
        assert [chunk.rows.num_rows for chunk in read(["id"])] == [10, 10, 4]

    @pytest.mark.parametrize("columns", [["text"], []])
    def test_only_the_columns_asked_for_are_paid_for(self, server, columns):
        [chunk] = read(columns)
        assert chunk.rows.schema.names == columns
        assert len(chunk.positions) == 24
        assert "*" not in server.statements[-1][0].split("FROM")[0]

    def test_an_empty_answer_has_columns(self, server):
        chunks = read(query="SELECT * FROM tickets WHERE id > 99;")
        assert sum(chunk.rows.num_rows for chunk in chunks) == 0
        assert chunks[0].columns == ("id", "text", "at", "score")

    def test_the_query_is_tried_dry_first(self, server):
        read()
        assert [dry for _, dry in server.statements] == [True, False]


def test_late_rows_are_in_the_next_span(server):
    asked = source(incremental=Incremental(column="at", by="hour", arrival="id", start="2026-01-01T05:00:00"))
    spans, found = [], []
    for late in ((30, "late", "2026-01-01T06:00:00", 0.0), (31, "new", "2026-01-02T00:30:00", 0.0)):
        with database.opened(asked) as table:
            span, region = watermark.resolve(table, asked.incremental, spans)
        if span not in spans:
            spans.append(span)
        found.append(values(read(["id"], [region.to_json()]), "id"))
        add(server, late)
    with database.opened(asked) as table:
        _, region = watermark.resolve(table, asked.incremental, spans)
    chunks = read(["id"], [region.to_json()])
    assert found == [list(range(5, 23))] * 2
    assert sorted(values(chunks, "id")) == [23, 30]
    assert dict(chunks[0].skipped) == {"rows without a value of 'at' or 'id'": 1}


class TestErrors:
    def test_a_wrong_query(self, server):
        with pytest.raises(UsageError, match="data.source.query cannot be read: BadRequest"):
            read(query="SELECT * FROM nothing")
        assert [dry for _, dry in server.statements] == [True]

    def test_a_column_that_is_not_there(self, server):
        with pytest.raises(UsageError, match="'no', but there is no such column"), database.opened(source()) as table:
            table.newest("no")

    def test_without_the_client_the_error_names_the_extra(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "google.cloud.bigquery", None)
        monkeypatch.delattr("google.cloud.bigquery", raising=False)
        monkeypatch.delitem(sys.modules, "components.ingestion.bigquery", raising=False)
        monkeypatch.delattr("components.ingestion.bigquery", raising=False)
        with pytest.raises(
            EnvironmentFailure, match=r"google-cloud-bigquery, which is not installed: pip install 'parlance-tfx\[sources\]'"
        ):
            read()

    def test_no_credentials(self, server, monkeypatch):
        import google.auth
        from google.auth import exceptions

        def refuse(*arguments, **options):
            raise exceptions.DefaultCredentialsError("none")

        monkeypatch.setattr(google.auth, "default", refuse)
        with pytest.raises(EnvironmentFailure, match="name a key file in GOOGLE_APPLICATION_CREDENTIALS"):
            read()
