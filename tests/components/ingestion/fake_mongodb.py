"""As much of a MongoDB client as ingestion uses, over documents in memory, for machines without a server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_COMPARISONS = {
    "$lte": lambda value, limit: value <= limit,
    "$lt": lambda value, limit: value < limit,
    "$gte": lambda value, limit: value >= limit,
}


class Client:
    """A client of a server that has one collection."""

    def __init__(self, database: str, collection: str):
        self.collection = Collection()
        self._database, self._name = database, collection

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __getitem__(self, database: str) -> Client:
        self._asked = database
        return self

    def list_collection_names(self) -> list[str]:
        return [self._name] if self._asked == self._database else []

    def get_collection(self, name: str, options: object) -> Collection:
        assert name == self._name
        return self.collection


class Collection:
    """A collection."""

    def __init__(self) -> None:
        self.documents: list[dict[str, Any]] = []
        self.sent = 0

    def insert_many(self, documents: list[dict[str, Any]]) -> None:
        self.documents += documents

    def find(self, conditions: dict[str, Any], projection: dict[str, int] | None = None, limit: int = 0, batch_size: int = 0):
        return Cursor(self, [document for document in self.documents if _fits(document, conditions)], projection, limit)

    def count_documents(self, conditions: dict[str, Any]) -> int:
        return len(self.find(conditions).found)


class Cursor:
    """What a query found, handed out document by document."""

    def __init__(self, collection: Collection, found: list[dict[str, Any]], projection: dict[str, int] | None, limit: int):
        self.found = found
        self._collection = collection
        self._projection = projection
        self._limit = limit

    def sort(self, path: str, direction: int) -> Cursor:
        self.found.sort(key=lambda document: _at(document, path), reverse=direction < 0)
        return self

    def limit(self, most: int) -> Cursor:
        self._limit = most
        return self

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for document in self.found[: self._limit or None]:
            self._collection.sent += 1
            yield document if self._projection is None else _projected(document, self._projection)


def _projected(document: dict[str, Any], projection: dict[str, int]) -> dict[str, Any]:
    paths = {path for path, kept in projection.items() if kept}
    clash = [path for path in paths for other in paths if path.startswith(f"{other}.")]
    assert not clash, f"Path collision at {clash}"
    sent = {"_id": document["_id"]} if projection.get("_id", 1) else {}
    for path in paths:
        *outer, last = path.split(".")
        inner, place = sent, document
        for step in outer:
            place = place.get(step, {})
            inner = inner.setdefault(step, {})
        if last in place:
            inner[last] = place[last]
    return sent


def _fits(document: dict[str, Any], conditions: dict[str, Any]) -> bool:
    for key, condition in conditions.items():
        if key == "$and":
            fits = all(_fits(document, part) for part in condition)
        elif key in ("$or", "$nor"):
            fits = any(_fits(document, part) for part in condition) == (key == "$or")
        elif condition is None:
            fits = _at(document, key) is None
        elif condition == {"$ne": None}:
            fits = _at(document, key) is not None
        else:
            [(comparison, limit)] = condition.items()
            value = _at(document, key)
            # The server compares values of one type only.
            fits = type(value) is type(limit) and _COMPARISONS[comparison](value, limit)
        if not fits:
            return False
    return True


def _at(document: Any, path: str) -> Any:
    for step in path.split("."):
        document = document.get(step) if isinstance(document, dict) else None
    return document
