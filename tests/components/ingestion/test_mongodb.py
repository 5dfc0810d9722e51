"""Collections of MongoDB: the same of a server that speaks its protocol, where there is one, and of a client over memory."""

import datetime
import sys
import uuid

import pytest

from components.errors import EnvironmentFailure, UsageError
from components.ingestion import database, readers, watermark
from components.ingestion.options import Incremental, MongoSource
from tests.components.ingestion import fake_mongodb

bson = pytest.importorskip("bson", reason="needs the extra: pip install 'parlance-tfx[sources]'")
pymongo = pytest.importorskip("pymongo", reason="needs the extra: pip install 'parlance-tfx[sources]'")

NEW_YEAR = datetime.datetime(2026, 1, 1)


class Server:
    """A collection with 48 hourly documents, one of which has no time."""

    def __init__(self, url, name, collection):
        self.url, self.name, self.collection = url, name, collection
        self.made = 0
        self.add(*({"at": NEW_YEAR + datetime.timedelta(hours=hour)} for hour in range(47)), {})

    def add(self, *documents):
        made = []
        for document in documents:
            self.made += 1
            made.append(
                {
                    "_id": bson.ObjectId(f"{self.made:024x}"),
                    "number": bson.Int64(self.made),
                    "text": f"message {self.made}",
                    "customer": {"tier": self.made % 3, "tags": ["x", {"a": 1}]},
                    **document,
                }
            )
        self.collection.insert_many(made)

    def source(self, **settings):
        return MongoSource.model_validate(
            {"type": "mongodb", "url": self.url, "database": "support", "collection": self.name, **settings}
        )


@pytest.fixture(params=["memory", "server"])
def server(request, monkeypatch):
    name = f"tickets_{uuid.uuid4().hex}"
    if request.param == "server":
        url = request.getfixturevalue("mongodb_url")
        with pymongo.MongoClient(url) as client:
            yield Server(url, name, client.support[name])
        return
    from components.ingestion import mongodb

    client = fake_mongodb.Client("support", name)
    monkeypatch.setattr(mongodb.pymongo, "MongoClient", lambda *arguments, **options: client)
    yield Server("mongodb://memory/", name, client.collection)


def read(source, columns=None, regions=None):
    return list(readers.read_batches(source, regions, columns))


def values(chunks, column):
    return [value for chunk in chunks for value in chunk.rows.column(column).to_pylist()]


class TestReading:
    def test_documents_are_rows(self, server):
        [chunk] = read(server.source())
        assert chunk.rows.slice(1, 1).to_pylist() == [
            {
                "_id": f"{2:024x}",
                "number": 2,
                "text": "message 2",
                "customer": '{"tier": 2, "tags": ["x", {"a": 1}]}',
                "at": "2026-01-01 01:00:00.000000",
            }
        ]
        assert chunk.positions.tolist() == list(range(1, 49))
        assert chunk.rows.column("at").null_count == 1
        assert chunk.source == server.name

    def test_dotted_paths_reach_inside(self, server):
        fields = {"tier": "customer.tier", "tag": "customer.tags.1.a", "absent": "customer.no.such"}
        [chunk] = read(server.source(fields=fields), ["tier", "tag", "absent", "customer"])
        assert chunk.rows.slice(4, 1).to_pylist() == [{"tier": 2, "tag": 1, "customer": '{"tier": 2, "tags": ["x", {"a": 1}]}'}]
        assert {"tier", "tag", "number", "text"} <= set(chunk.columns)

    def test_without_columns_there_are_positions(self, server):
        [chunk] = read(server.source(), ["absent"])
        assert (chunk.rows.num_columns, len(chunk.positions)) == (0, 48)

    def test_memory_is_bounded_by_blocks(self, server, monkeypatch):
        monkeypatch.setattr(database, "ROWS_PER_BLOCK", 20)
        assert [chunk.rows.num_rows for chunk in read(server.source(batch_size=7), ["text"])] == [20, 20, 8]
        monkeypatch.setattr(database, "BYTES_PER_BLOCK", 30)
        assert max(chunk.rows.num_rows for chunk in read(server.source(), ["text"])) == 4

    def test_values_that_only_bson_has(self, server):
        server.add({"text": bson.Binary(b"raw"), "extra": bson.ObjectId("0" * 24)})
        [chunk] = read(server.source(), ["text", "extra"])
        assert chunk.rows.slice(48, 1).to_pylist() == [{"text": "raw", "extra": "0" * 24}]

    @pytest.mark.parametrize("server", ["memory"], indirect=True)  # FerretDB 1 has no decimals
    def test_decimals_are_numbers(self, server):
        server.add({"number": bson.Decimal128("1.5")})
        [chunk] = read(server.source(), ["number"])
        assert values([chunk], "number")[-1] == 1.5


class TestSpans:
    def next_span(self, source, spans):
        with database.opened(source) as table:
            span, region = watermark.resolve(table, source.incremental, spans)
        spans[:] = [watermark.closed(known.to_json()) for known in [*spans, span] if known is span or known.number != span.number]
        return read(source, ["number"], [region.to_json()])

    def test_late_documents_are_in_the_next_one(self, server):
        incremental = Incremental(column="at", by="day", arrival="_id", start=datetime.date(2026, 1, 1))
        source, spans = server.source(incremental=incremental), []
        first = self.next_span(source, spans)
        assert values(first, "number") == list(range(1, 25))
        assert dict(first[0].skipped) == {"rows without a value of 'at' or '_id'": 1}
        server.add({"at": NEW_YEAR}, {"at": NEW_YEAR + datetime.timedelta(days=3)})
        assert values(self.next_span(source, spans), "number") == [*range(25, 48), 49]

    def test_what_arrives_in_the_order_of_ids(self, server):
        source, spans = server.source(incremental=Incremental(column="_id", window=2)), []
        assert len(values(self.next_span(source, spans), "number")) == 48
        server.add({})
        self.next_span(source, spans)
        server.add({})
        assert values(self.next_span(source, spans), "number") == [49, 50]

    def test_a_nested_number(self, server):
        with database.opened(server.source()) as table:
            assert table.newest("customer.tier") == 2
            assert table.newest("no.such") is None

    def test_a_version_tells_when_documents_changed(self, server):
        with database.opened(server.source()) as table:
            before = database.version(table, "number")
            assert database.version(table, "number") == before
            server.add({})
            assert database.version(table, "number") != before


class TestErrors:
    def test_a_collection_that_is_not_there(self, server):
        with pytest.raises(UsageError, match=f"There is no collection 'nothing' in 'support'; collections: .*{server.name}"):
            read(server.source(collection="nothing"))
        with pytest.raises(UsageError, match="in 'nowhere'; collections: none"):
            read(server.source(database="nowhere"))

    def test_a_server_that_is_not_there(self, monkeypatch):
        from components.ingestion import mongodb

        monkeypatch.setattr(mongodb, "_CONNECT_MILLISECONDS", 50)
        monkeypatch.setenv("TICKETS", "mongodb://me:hunter2@127.0.0.1:1/")
        with pytest.raises(EnvironmentFailure, match="cannot be reached: ServerSelectionTimeoutError") as error:
            read(MongoSource(type="mongodb", url="env:TICKETS", database="support", collection="tickets"))
        assert "hunter2" not in str(error.value)
        assert error.value.__cause__ is None

    def test_without_pymongo_the_error_names_the_extra(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "pymongo", None)
        monkeypatch.delitem(sys.modules, "components.ingestion.mongodb", raising=False)
        monkeypatch.delattr("components.ingestion.mongodb", raising=False)
        with pytest.raises(EnvironmentFailure, match=r"pymongo, which is not installed: pip install 'parlance-tfx\[sources\]'"):
            read(MongoSource(type="mongodb", url="mongodb://host/", database="support", collection="tickets"))

    def test_an_address_that_is_none(self):
        with pytest.raises(UsageError, match="data.source.url is no address of MongoDB"):
            read(MongoSource(type="mongodb", url="http://localhost/", database="support", collection="tickets"))

    def test_a_password_stays_out_of_the_file(self):
        with pytest.raises(ValueError, match="url: env:NAME; received a URL with one"):
            MongoSource(type="mongodb", url="mongodb://me:hunter2@host/", database="support", collection="tickets")

    def test_a_variable_that_is_not_set_here(self, monkeypatch):
        monkeypatch.delenv("TICKETS", raising=False)
        with pytest.raises(EnvironmentFailure, match="the environment variable TICKETS is not set here"):
            read(MongoSource(type="mongodb", url="env:TICKETS", database="support", collection="tickets"))
