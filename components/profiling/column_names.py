"""What a column's name gives away about its meaning.

Content decides what a column can be; the name breaks ties that content cannot: whether `12` is a count or a code, whether a
sentence was there when the label was not yet known. Names are compared word by word, so `utteranceId` is an id and `video` is not.
"""

from __future__ import annotations

import re
from collections.abc import Set

_CAMEL_CASE = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_WORD = re.compile(r"[^\W\d_]+|\d+")

MESSAGE = frozenset(
    {
        "text", "message", "messages", "msg", "utterance", "query", "question", "body", "subject", "title", "headline",
        "description", "comment", "comments", "content", "review", "sentence", "prompt", "transcript", "note", "notes",
        "tweet", "post", "feedback", "narrative", "complaint", "request", "turn_text", "input_text",
    }
)  # fmt: skip

# Written by or after whoever handled the row: not there yet when the model is asked.
AFTERWARDS = frozenset(
    {
        "answer", "reply", "response", "resolution", "resolved", "closed", "handled", "handling", "rating", "csat",
        "nps", "sentiment", "confidence", "score", "probability", "prediction", "predicted", "annotation",
        "annotations", "annotator", "label", "labels", "slot", "slots", "span", "spans", "tag", "tags", "entities",
        "target",
    }
)  # fmt: skip

# Known when a request arrives, whatever it says.
CONTEXT = frozenset(
    {
        "language", "lang", "locale", "channel", "platform", "device", "os", "region", "country", "market", "tier",
        "plan", "source", "brand", "app", "application", "product", "segment", "hour", "weekday", "month",
    }
)  # fmt: skip

SEGMENT = CONTEXT - {"hour", "weekday", "month"} | {"domain", "gender", "sex", "department", "site", "category"}

GROUP = (
    "conversation", "dialog", "dialogue", "thread", "session", "chat", "call", "ticket", "user", "customer", "patient", "account",
    "author", "speaker", "household", "document", "doc", "template", "visitor", "client",
)  # fmt: skip

IDENTIFIER = frozenset(
    {
        "id", "ids", "uuid", "guid", "key", "hash", "index", "idx", "unnamed", "serial",
    }
)  # fmt: skip

# People and places: many words, yet no language to learn from.
PROPER = frozenset(
    {
        "name", "names", "firstname", "lastname", "surname", "address", "street", "city", "url", "uri", "link", "email",
        "mail", "phone", "path", "file", "filename",
    }
)  # fmt: skip

TIME = frozenset(
    {
        "time", "timestamp", "date", "datetime", "day", "created", "updated", "sent", "received", "at", "ts",
    }
)  # fmt: skip
LATER_TIME = frozenset(
    {
        "updated", "modified", "closed", "resolved", "ended", "end", "finished", "deleted",
    }
)  # fmt: skip

CODE = frozenset(
    {
        "id", "code", "type", "area", "zone", "month", "day", "hour", "weekday", "week", "year", "zip", "zipcode",
        "postcode", "postal", "tract", "region", "district", "class", "group", "category", "sector", "level", "grade",
        "status", "flag", "store", "branch",
    }
)  # fmt: skip
COUNT = frozenset(
    {
        "n", "num", "number", "count", "counts", "age", "quantity", "qty", "amount", "size", "length", "turn", "turns",
        "rank", "price", "total", "sum", "score", "seconds", "minutes", "hours", "days", "years", "miles", "siblings",
        "sibsp", "parch",
    }
)  # fmt: skip


def words(name: str) -> Set[str]:
    """Returns the lower-case words of a name: `utteranceId` and `utterance_id` are `utterance` and `id`."""
    return frozenset(_WORD.findall(_CAMEL_CASE.sub(" ", name).lower()))


def hints(name: str, vocabulary: Set[str]) -> bool:
    """Says whether a name has a word of a vocabulary."""
    return not words(name).isdisjoint(vocabulary)
