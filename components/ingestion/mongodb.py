"""Collections of MongoDB, or of a server that speaks its protocol: documents become rows by the dotted paths of their fields."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from components.errors import EnvironmentFailure, ParlanceError, UsageError
from components.ingestion import database, value_columns
from components.ingestion.database import Block
from components.ingestion.options import MongoSource
from components.ingestion.watermark import Bound, Region

try:
    import bson
    import pymongo
    import pymongo.errors
    from bson.codec_options import CodecOptions
    from pymongo import uri_parser
except ImportError as missing:
    raise database.missing("mongodb", "pymongo") from missing

_CONNECT_MILLISECONDS = 10_000
# Documents have no header; the names that errors and `ignored columns` show are those of a few of them.
_DOCUMENTS_LOOKED_AT = 100
_NOT_AUTHORISED = (13, 18)
_IN_LIST = re.compile(r"\.\d+(?:\.|$)")


@contextlib.contextmanager
def opened(source: MongoSource) -> Iterator[MongoTable]:
    """Connects to the server of a source.

    Raises:
      UsageError: The address is none, or the collection does not exist.
      EnvironmentFailure: The server cannot be reached, or lets nobody in.
    """
    url = database.address(source.url)
    errors = _Errors(url)
    try:
        client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(
            url, serverSelectionTimeoutMS=_CONNECT_MILLISECONDS, appname="parlance"
        )
    except (pymongo.errors.PyMongoError, ValueError) as error:
        raise errors.say(UsageError, "data.source.url is no address of MongoDB", error) from None
    with client, errors.of(f"The collection {source.database}.{source.collection}"):
        # Text that is not UTF-8 sets its row aside instead of ending the run.
        options: CodecOptions[dict[str, Any]] = CodecOptions(unicode_decode_error_handler="surrogateescape")
        base = client[source.database]
        if source.collection not in base.list_collection_names():
            names = ", ".join(sorted(base.list_collection_names())) or "none"
            raise UsageError(f"There is no collection {source.collection!r} in {source.database!r}; collections: {names}")
        yield MongoTable(source, base.get_collection(source.collection, options))


class MongoTable:
    """See `database.Table`."""

    def __init__(self, source: MongoSource, collection: Any):
        self._source = source
        self._collection = collection
        self.name = source.collection
        looked_at = collection.find({}, limit=_DOCUMENTS_LOOKED_AT)
        fields = dict.fromkeys(name for document in looked_at for name in document)
        self._columns = tuple(dict.fromkeys([*source.fields, *(name for name in fields if name not in source.fields)]))

    def newest(self, column: str) -> Any:
        """See `database.Table`."""
        found = self._collection.find({column: {"$ne": None}}, {column: 1}).sort(column, -1).limit(1)
        return next((_at(document, column) for document in found), None)

    def count(self, region: Region) -> int:
        """See `database.Table`."""
        return int(self._collection.count_documents(_conditions(region)))

    def without_value(self, region: Region) -> int:
        """See `database.Table`."""
        return int(self._collection.count_documents({"$or": [{path: None} for path in region.columns]}))

    def blocks(self, region: Region, columns: Collection[str] | None) -> Iterator[Block]:
        """See `database.Table`."""
        wanted = self._columns if columns is None else tuple(columns)
        paths = {name: self._source.fields.get(name, name) for name in wanted}
        found = self._collection.find(_conditions(region), _projection(paths.values()), batch_size=self._source.batch_size).sort(
            "_id", 1
        )
        rows: list[list[Any]] = []
        size = before = 0
        yielded = False
        for document in found:
            row = [_plain(_at(document, path)) for path in paths.values()]
            rows.append(row)
            size += sum(len(value) for value in row if isinstance(value, str | bytes))
            if len(rows) >= database.ROWS_PER_BLOCK or size >= database.BYTES_PER_BLOCK:
                yield self._block(rows, paths, before)
                before, rows, size, yielded = before + len(rows), [], 0, True
        if rows or not yielded:
            yield self._block(rows, paths, before)

    def _block(self, rows: list[list[Any]], paths: Mapping[str, str], before: int) -> Block:
        values = list(zip(*rows, strict=True)) if rows else [()] * len(paths)
        columns = {name: column for name, column in zip(paths, values, strict=True) if any(cell is not None for cell in column)}
        arrays = [value_columns.column(column) for column in columns.values()]
        batch = pa.RecordBatch.from_arrays(arrays, names=list(columns))
        positions = np.arange(before + 1, before + len(rows) + 1, dtype=np.int64)
        return Block(batch, positions, tuple(dict.fromkeys([*columns, *self._columns])))


class _Errors:
    """Says what a server objects to, without its address, its password and its data."""

    def __init__(self, url: str):
        self._url = url
        try:
            self._password = uri_parser.parse_uri(url).get("password")
        except (pymongo.errors.PyMongoError, ValueError):
            self._password = None

    @contextlib.contextmanager
    def of(self, what: str) -> Iterator[None]:
        try:
            yield
        except (pymongo.errors.ConnectionFailure, pymongo.errors.ConfigurationError) as error:
            raise self.say(EnvironmentFailure, "The server of data.source.url cannot be reached", error) from None
        except pymongo.errors.OperationFailure as error:
            kind = EnvironmentFailure if error.code in _NOT_AUTHORISED else UsageError
            raise self.say(kind, f"{what} cannot be read", error) from None
        except (pymongo.errors.PyMongoError, bson.errors.BSONError) as error:
            raise self.say(UsageError, f"{what} cannot be read", error) from None

    def say(self, error_type: type[ParlanceError], what: str, error: Exception) -> ParlanceError:
        return database.failure(error_type, what, error, self._url, self._password)


def _conditions(region: Region) -> dict[str, Any]:
    conditions: list[dict[str, Any]] = [_within(bound) for bound in region.until]
    if region.since:
        conditions.append({"$nor": [{"$and": [_within(bound) for bound in region.since]}]})
    if region.start is not None:
        conditions.append({region.start.column: {"$gte": region.start.value}})
    return {"$and": conditions} if conditions else {}


def _within(bound: Bound) -> dict[str, Any]:
    return {bound.column: {"$lte" if bound.inclusive else "$lt": bound.value}}


def _projection(paths: Collection[str]) -> dict[str, int]:
    """The fields to send. A field and one inside it cannot both be asked for; the outer one brings the inner."""
    # A place in a list is found by name here, but not by the server.
    asked = {_IN_LIST.split(path)[0] for path in paths}
    outer = {path for path in asked if not any(path.startswith(f"{other}.") for other in asked)}
    return {**dict.fromkeys(sorted(outer), 1), **({} if "_id" in outer else {"_id": 0})} if outer else {"_id": 1}


def _at(document: Any, path: str) -> Any:
    for step in path.split("."):
        if isinstance(document, Mapping):
            document = document.get(step)
        elif isinstance(document, list) and step.isdigit() and int(step) < len(document):
            document = document[int(step)]
        else:
            return None
    return document


def _plain(value: Any) -> Any:
    """A value without the types that only BSON has."""
    if isinstance(value, bson.Decimal128):
        return value.to_decimal()
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, bytes):
        return bytes(value)
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return value.encode("utf-8", "surrogateescape")
        return str(value)
    return str(value) if isinstance(value, bson.ObjectId) else value
