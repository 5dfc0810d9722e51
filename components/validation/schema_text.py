"""Changes of a schema file that leave everything else in it as its author wrote it: order, layout and comments.

The file is read just far enough to know where each field is. Every edit is checked: the edited file must say what the edited schema
says, and nothing else.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from components.errors import ParlanceError
from components.validation import schema_changes, schema_file
from components.validation.schema_changes import Change

_TOKEN = re.compile(r'\s+|#[^\n]*|"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|[\w.+-]+|[^\s\w]')
_OPEN, _CLOSE = "{<", "}>"


@dataclasses.dataclass(frozen=True)
class _Field:
    """A field in the text: `name: scalar`, or `name { fields }`.

    Attributes:
      name: Its name.
      start, end: Where it begins and where it ends.
      body: Where its scalar is, or what is between its braces.
      is_message: Whether it has braces.
    """

    name: str
    start: int
    end: int
    body: tuple[int, int]
    is_message: bool


def edit(text: str, changes: Iterable[Change]) -> str:
    """Returns the text of a schema file with changes made.

    Args:
      text: A schema in text form.
      changes: What to change, as schema_changes.find says it of this schema.

    Raises:
      ParlanceError: The text is laid out in a way that these edits do not understand.
    """
    for change in changes:
        before = schema_file.parse(text)
        wanted = schema_changes.apply(before, [change])
        edited = _edit_field(text, change, before)
        if _meaning(edited) != wanted:
            raise ParlanceError(f"The schema file is laid out in a way that {change.id} cannot be written into; edit it by hand")
        text = edited
    return text


def _meaning(text: str) -> schema_pb2.Schema | None:
    try:
        return text_format.Parse(text, schema_pb2.Schema())
    except text_format.ParseError:
        return None


def _edit_field(text: str, change: Change, schema: schema_pb2.Schema) -> str:
    feature = next(feature for feature in schema.feature if feature.name == change.column)
    block = _named(text, (0, len(text)), "feature", change.column)
    if block is None:
        return text
    if change.field == schema_changes.VALUE:
        shared = not feature.HasField("string_domain")
        domain = (
            _named(text, (0, len(text)), "string_domain", feature.domain) if shared else _one(text, block.body, "string_domain")
        )
        return text if domain is None else _append_value(text, domain, str(change.new))
    container = "presence" if change.field == schema_changes.PRESENCE else str(schema_changes.range_of(feature))
    name = "min_fraction" if change.field == schema_changes.PRESENCE else change.field
    inner = _one(text, block.body, container)
    number = inner and _one(text, inner.body, name)
    if not number:
        return text
    start, end = number.body
    return text[:start] + _number(change.new) + text[end:]


def _append_value(text: str, domain: _Field, value: str) -> str:
    literal = 'value: "' + text_format.text_encoding.CEscape(value, as_utf8=True) + '"'
    values = [field for field in _fields(text, domain.body) if field.name == "value"]
    if not values:
        start = domain.body[0]
        return f"{text[:start]} {literal}{text[start:]}"
    last = values[-1]
    line_start = text.rfind("\n", 0, last.start) + 1
    indent = text[line_start : last.start]
    # On a line of its own, or in a row with the others: the new value stands as the last one does.
    separator = f"\n{indent}" if not indent.strip() and line_start else " "
    return text[: last.end] + separator + literal + text[last.end :]


def _number(value: str | int | float) -> str:
    return repr(value) if isinstance(value, int) else f"{float(value):.9g}"


def _one(text: str, span: tuple[int, int], name: str) -> _Field | None:
    return next((field for field in _fields(text, span) if field.name == name), None)


def _named(text: str, span: tuple[int, int], kind: str, name: str) -> _Field | None:
    """The message of a kind whose `name` field has a value."""
    for field in _fields(text, span):
        if field.name == kind and field.is_message:
            own = _one(text, field.body, "name")
            if own and text_format.text_encoding.CUnescape(text[own.body[0] + 1 : own.body[1] - 1]).decode() == name:
                return field
    return None


def _fields(text: str, span: tuple[int, int]) -> Iterator[_Field]:
    """The fields of one message, without those of messages inside it."""
    tokens = [token for token in _TOKEN.finditer(text, *span) if token[0][0] != "#" and not token[0].isspace()]
    at = 0
    while at < len(tokens):
        name = tokens[at]
        at += 1
        if name[0] in ",;":
            continue
        if at < len(tokens) and tokens[at][0] == ":":
            at += 1
        if at >= len(tokens):
            return
        opened = tokens[at]
        if opened[0] not in _OPEN:
            at += 1
            yield _Field(name[0], name.start(), opened.end(), opened.span(), is_message=False)
            continue
        depth = 1
        while depth and (at := at + 1) < len(tokens):
            depth += (tokens[at][0] in _OPEN) - (tokens[at][0] in _CLOSE)
        if at >= len(tokens):
            return
        closed = tokens[at]
        at += 1
        yield _Field(name[0], name.start(), closed.end(), (opened.end(), closed.start()), is_message=True)
