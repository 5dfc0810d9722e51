"""Tables of SQL databases: the same of SQLite and of PostgreSQL, each a real one."""

import datetime
import sys
import urllib.parse
import uuid

import pytest

from components.errors import EnvironmentFailure, UsageError
from components.ingestion import database, ingest, readers, watermark
from components.ingestion.options import DataOptions, Incremental, SqlSource
from tests.components.ingestion import postgres

sa = pytest.importorskip("sqlalchemy", reason="needs the extra: pip install 'parlance-tfx[sources]'")

MINUTE = datetime.timedelta(minutes=1)
NEW_YEAR = datetime.datetime(2026, 1, 1)


class Server:
    """A database with a table `tickets` of 100 rows, one without an id."""

    def __init__(self, url):
        self.url = url
        self.engine = sa.create_engine(url, poolclass=sa.NullPool)
        metadata = sa.MetaData()
        # A name of its own: the server outlives the test.
        self.tickets = sa.Table(
            f"tickets_{uuid.uuid4().hex}",
            metadata,
            sa.Column("id", sa.Integer),
            sa.Column("text", sa.Text),
            sa.Column("Label", sa.Text),
            sa.Column("amount", sa.Numeric(10, 2)),
            sa.Column("created_at", sa.DateTime),
        )
        metadata.create_all(self.engine)
        self.add(*(self.row(number) for number in [*range(1, 100), None]))

    def row(self, number, text=None):
        minutes = 0 if number is None else number
        return {
            "id": number,
            "text": text or f"100% : message {number}",
            "Label": "ab"[minutes % 2],
            "amount": minutes / 2,
            "created_at": NEW_YEAR + minutes * MINUTE,
        }

    def add(self, *rows):
        with self.engine.begin() as connection:
            connection.execute(self.tickets.insert(), rows)

    def execute(self, statement):
        with self.engine.begin() as connection:
            connection.execute(sa.text(statement))

    def source(self, **settings):
        table = {} if "query" in settings else {"table": self.tickets.name}
        return SqlSource.model_validate({"type": "sql", "url": "env:TICKETS", **table, **settings})


def postgresql_url(folder, password=postgres.PASSWORD):
    return f"postgresql://{postgres.USER}:{urllib.parse.quote(password, safe='')}@/{postgres.DATABASE}?host={folder}"


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request, tmp_path, monkeypatch):
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'tickets.db'}"
    else:
        pytest.importorskip("psycopg", reason="needs the extra: pip install 'parlance-tfx[sources]'")
        url = postgresql_url(request.getfixturevalue("postgresql"))
    monkeypatch.setenv("TICKETS", url)
    return Server(url)


@pytest.fixture
def sqlite(tmp_path, monkeypatch):
    monkeypatch.setenv("TICKETS", f"sqlite:///{tmp_path / 'tickets.db'}")
    return Server(f"sqlite:///{tmp_path / 'tickets.db'}")


def read(source, columns=None, regions=None):
    return list(readers.read_batches(source, regions, columns))


def values(chunks, column):
    return [value for chunk in chunks for value in chunk.rows.column(column).to_pylist()]


class TestReading:
    def test_a_table(self, server):
        [chunk] = read(server.source())
        assert chunk.columns == ("id", "text", "Label", "amount", "created_at")
        assert chunk.rows.slice(6, 1).to_pylist() == [
            {"id": 7, "text": "100% : message 7", "Label": "b", "amount": 3.5, "created_at": "2026-01-01 00:07:00.000000"}
        ]
        assert chunk.positions.tolist() == list(range(1, 101))
        assert chunk.source == server.tickets.name

    def test_a_query_whatever_its_punctuation(self, server):
        query = f"""SELECT text AS "The text", id % 7 AS rest, '12 :30' AS t FROM {server.tickets.name}
            WHERE text LIKE '%: message 1%' -- :x 100%;"""
        [chunk] = read(server.source(query=query))
        assert chunk.columns == ("The text", "rest", "t")
        assert chunk.rows.slice(0, 1).to_pylist() == [{"The text": "100% : message 1", "rest": 1, "t": "12 :30"}]
        assert chunk.rows.num_rows == 11

    def test_only_the_columns_asked_for(self, server):
        [chunk] = read(server.source(), columns=["Label", "absent"])
        assert chunk.rows.schema.names == ["Label"]
        [chunk] = read(server.source(), columns=[])
        assert (chunk.rows.num_columns, len(chunk.positions)) == (0, 100)

    def test_an_empty_table_still_has_columns(self, server):
        [chunk] = read(server.source(query=f"SELECT * FROM {server.tickets.name} WHERE id > 500"))
        assert (chunk.rows.num_rows, len(chunk.columns)) == (0, 5)

    def test_memory_is_bounded_by_blocks(self, server, monkeypatch):
        from components.ingestion import sql

        monkeypatch.setattr(sql, "_ROWS_PER_FETCH", 8)
        monkeypatch.setattr(database, "ROWS_PER_BLOCK", 20)
        sizes = [chunk.rows.num_rows for chunk in read(server.source(key="id"))]
        assert sum(sizes) == 100
        assert max(sizes) <= 20
        monkeypatch.setattr(database, "BYTES_PER_BLOCK", 100)
        assert max(chunk.rows.num_rows for chunk in read(server.source(key="id"))) == 8

    def test_text_that_is_none_is_set_aside(self, sqlite):
        sqlite.execute(f"UPDATE {sqlite.tickets.name} SET text = CAST(X'41FF' AS TEXT) WHERE id = 4")
        [chunk] = read(sqlite.source(key="id"), columns=["text"])
        assert [(entry.reason, entry.positions.tolist()) for entry in chunk.rejected] == [("text: invalid UTF-8", [4])]
        assert chunk.rows.num_rows == 99


class TestKeys:
    def test_rows_come_in_their_order_and_are_found_by_it(self, server):
        server.add(server.row(-5))
        [chunk] = read(server.source(key="id"), columns=["text"])
        assert sorted(chunk.positions.tolist()) == [-5, *range(0, 100)]
        assert [n for n in chunk.positions.tolist() if n] == [-5, *range(1, 100)]

    @pytest.mark.parametrize("key", ["id", "amount"])
    @pytest.mark.parametrize("partitions", [2, 7, 200])
    def test_partitions_leave_nothing_out(self, server, key, partitions):
        chunks = read(server.source(key=key, partitions=partitions), columns=["id"])
        assert sorted(values(chunks, "id"), key=lambda value: value or 0) == [None, *range(1, 100)]
        assert 2 <= len(chunks) <= partitions + 1

    def test_partitions_of_times(self, postgresql, monkeypatch):
        monkeypatch.setenv("TICKETS", postgresql_url(postgresql))
        server = Server(postgresql_url(postgresql))
        chunks = read(server.source(key="created_at", partitions=4), columns=["id"])
        assert [chunk.rows.num_rows for chunk in chunks] == [25, 25, 25, 25]

    def test_partitions_of_one_value(self, sqlite):
        sqlite.execute(f"UPDATE {sqlite.tickets.name} SET id = 3")
        assert sum(chunk.rows.num_rows for chunk in read(sqlite.source(key="id", partitions=5))) == 100

    def test_text_has_no_partitions(self, sqlite):
        with pytest.raises(UsageError, match="divide a column of numbers or times; 'text' holds str"):
            read(sqlite.source(key="text", partitions=2))


class TestSpans:
    def next_span(self, source, spans):
        with database.opened(source) as table:
            span, region = watermark.resolve(table, source.incremental, spans)
        spans[:] = [*(known for known in spans if known.number != span.number), span]
        return read(source, ["id"], [watermark.region(region.to_json()).to_json()])

    @pytest.mark.parametrize("column", ["created_at", "id"])
    def test_late_rows_are_in_the_next_one(self, server, column):
        other = "id" if column == "created_at" else None
        incremental = Incremental(column=column, by="hour" if other else "value", arrival=other)
        source, spans = server.source(incremental=incremental), []
        # Minutes 1 to 59, or all.
        first = values(self.next_span(source, spans), "id")
        assert first == list(range(1, 60 if other else 100))
        late = {**server.row(500), "created_at": NEW_YEAR + 5 * MINUTE}
        server.add(late, {**server.row(501), "created_at": NEW_YEAR + 130 * MINUTE})
        second = self.next_span(source, spans)
        assert sorted(values(second, "id")) == ([*range(60, 100), 500] if other else [500, 501])
        assert dict(second[0].skipped) == {f"rows without a value of {source_columns(incremental)}": 1}

    def test_ingestion_writes_a_span_and_tells_of_the_rest(self, sqlite, make_schema, tmp_path):
        source = sqlite.source(incremental=Incremental(column="id"), key="id")
        with database.opened(source) as table:
            _, region = watermark.resolve(table, source.incremental, [])
        options = DataOptions(source=source, text=("text",), label="Label")
        schema = make_schema(text="BYTES", Label="BYTES", amount="FLOAT")
        summary = ingest.ingest(options, schema, [region.to_json()], str(tmp_path / "out"), str(tmp_path / "bad"))
        assert sum(summary["rows"].values()) == 99
        assert summary["ignored_columns"] == ["id", "created_at"]
        assert "1 rows without a value of 'id' were skipped" in summary["notes"]

    def test_a_start_and_a_window(self, server):
        incremental = Incremental(column="created_at", start="2026-01-01 00:50:00", window=2)
        source, spans = server.source(incremental=incremental), []
        assert len(values(self.next_span(source, spans), "id")) == 50
        server.add(server.row(200))
        assert len(values(self.next_span(source, spans), "id")) == 51
        server.add(server.row(300))
        assert values(self.next_span(source, spans), "id") == [200, 300]

    def test_rows_that_slipped_in_below_are_counted(self, server):
        source, spans = server.source(incremental=Incremental(column="created_at")), []
        self.next_span(source, spans)
        server.add({**server.row(400), "created_at": NEW_YEAR}, server.row(401))
        chunks = self.next_span(source, spans)
        assert values(chunks, "id") == [401]
        [note] = chunks[0].skipped
        assert note.startswith("rows that appeared below the last watermark")
        assert chunks[0].skipped[note] == 1

    def test_a_version_tells_when_rows_changed(self, server):
        with database.opened(server.source()) as table:
            before = database.version(table, "created_at")
            assert database.version(table, "created_at") == before
        server.add(server.row(98))
        with database.opened(server.source()) as table:
            assert database.version(table, "created_at") != before


def source_columns(incremental):
    return " or ".join(repr(column) for column in (incremental.column, incremental.arrival) if column)


class TestErrors:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"table": "no_such"}, "data.source.table cannot be read"),
            ({"query": "SELEKT 1"}, "data.source.query cannot be read"),
            ({"key": "nr"}, "data.source.key names 'nr', but there is no such column; there are: 'id', 'text'"),
        ],
    )
    def test_what_is_not_there(self, server, settings, message):
        with pytest.raises(UsageError, match=message):
            read(server.source(**settings))

    def test_columns_of_one_name(self, postgresql, monkeypatch):
        monkeypatch.setenv("TICKETS", postgresql_url(postgresql))
        with pytest.raises(UsageError, match="Column names must be unique; data.source.query repeats 'a'"):
            read(SqlSource(type="sql", url="env:TICKETS", query="SELECT 1 AS a, 2 AS a"))

    def test_a_column_of_the_watermark_that_is_not_there(self, sqlite):
        with (
            pytest.raises(UsageError, match="names 'at', but there is no such column"),
            database.opened(sqlite.source()) as table,
        ):
            table.newest("at")

    def test_a_value_is_not_quoted(self, postgresql, monkeypatch):
        monkeypatch.setenv("TICKETS", postgresql_url(postgresql))
        server = Server(postgresql_url(postgresql))
        server.add(server.row(7, text="secret words"))
        with pytest.raises(UsageError, match="a value does not fit its type") as error:
            read(server.source(query=f"SELECT text::int FROM {server.tickets.name} WHERE text LIKE 'secret%'"))
        assert "secret" not in str(error.value)

    def test_a_wrong_password_is_not_shown(self, postgresql, monkeypatch):
        monkeypatch.setenv("TICKETS", postgresql_url(postgresql, password="hunter2"))
        with pytest.raises(EnvironmentFailure, match="cannot be reached") as error:
            read(SqlSource(type="sql", url="env:TICKETS", table="t"))
        assert "hunter2" not in str(error.value)
        assert error.value.__cause__ is None  # whose text might

    def test_a_file_that_is_not_there_is_not_made(self, tmp_path):
        with pytest.raises(UsageError, match="which does not exist"):
            read(SqlSource(type="sql", url=f"sqlite:///{tmp_path / 'no.db'}", table="t"))
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("url", "error", "message"),
        [
            ("tickets.db", UsageError, "must be an address as SQLAlchemy has them"),
            ("postgres+none://host/db", UsageError, "data.source.url is no address of a database"),
            ("mssql+pyodbc://host/db", EnvironmentFailure, r"needs the package pyodbc .*parlance-tfx\[sources\]"),
        ],
    )
    def test_addresses_that_are_none(self, url, error, message):
        with pytest.raises(error, match=message):
            read(SqlSource(type="sql", url=url, table="t"))

    def test_without_sqlalchemy_the_error_names_the_extra(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "sqlalchemy", None)
        monkeypatch.delitem(sys.modules, "components.ingestion.sql", raising=False)
        monkeypatch.delattr("components.ingestion.sql", raising=False)
        with pytest.raises(
            EnvironmentFailure, match=r"SQLAlchemy, which is not installed: pip install 'parlance-tfx\[sources\]'"
        ):
            read(SqlSource(type="sql", url="sqlite:///x.db", table="t"))


class TestOptions:
    @pytest.mark.parametrize("url", ["postgresql://me:hunter2@host/db", "postgresql://host/db?user=me&password=hunter2"])
    def test_a_password_stays_out_of_the_file(self, url):
        with pytest.raises(ValueError, match="url: env:NAME; received a URL with one"):
            SqlSource(type="sql", url=url, table="t")

    @pytest.mark.parametrize("url", ["env:URL", "postgresql://me@host:5432/db", "sqlite:///a:b@c.db"])
    def test_addresses_without_one_may_stand_there(self, url):
        assert SqlSource(type="sql", url=url, table="t").url == url

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({}, "either source.table or source.query"),
            ({"table": "t", "query": "SELECT 1"}, "either source.table or source.query"),
            ({"table": "t", "partitions": 3}, "source.partitions are ranges of source.key"),
        ],
    )
    def test_what_does_not_fit_together(self, settings, message):
        with pytest.raises(ValueError, match=message):
            SqlSource.model_validate({"type": "sql", "url": "env:URL", **settings})
