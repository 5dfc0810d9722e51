"""A CSV file in blocks of whole rows, read no further ahead than somebody asks.

Arrow's own stream of batches reads dozens of blocks ahead of its parser, half a gigabyte for blocks that hold long messages. Here a block
is read when it is asked for. Where a row ends is decided as Arrow's parser decides it: a quote opens a quoted field only as the first
character of a field, two quotes within one stand for one, and behind the closing quote quotes are characters like others.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from components.errors import UsageError

_QUOTE, _NEWLINE, _RETURN = b'"\n\r'
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_HOW_TO_QUOTE = "Close every quote that opens a field; a quote that is text is written twice, in a field that is quoted"


def blocks(path: pathlib.Path, delimiter: str, size: int, longest_row: int) -> Iterator[bytes]:
    """Reads a file in blocks that end where a row ends.

    Args:
      path: A CSV file. A byte order mark at its start is left out.
      delimiter: One ASCII character.
      size: Bytes to read at a time. A block has that many at most, and the row that a block before it could not complete.
      longest_row: How many bytes a row may have.

    Yields:
      The content of the file, one block after the other.

    Raises:
      UsageError: A row is longer than `longest_row`, or a quote is still open where the file ends.
    """
    with open(path, "rb") as file:
        if file.read(len(_BYTE_ORDER_MARK)) != _BYTE_ORDER_MARK:
            file.seek(0)
        yield from _whole_rows(file, path, ord(delimiter), size, longest_row)


def _whole_rows(file: BinaryIO, path: pathlib.Path, delimiter: int, size: int, longest_row: int) -> Iterator[bytes]:
    rest, lines = b"", 0
    while read := file.read(size):
        data = rest + read
        end = _end_of_last_row(data, _quoted(data, delimiter))
        if not end and len(data) > longest_row:
            raise UsageError(
                f"{path}: the row that begins in line {lines + 1} is longer than {longest_row >> 20} MiB. {_HOW_TO_QUOTE}"
            )
        if end:
            yield data[:end]
            lines += data.count(b"\n", 0, end)
        rest = data[end:]
    if rest:
        opened, closed = _quoted(rest, delimiter)
        if len(opened) and closed[-1] == len(rest):
            field = len(opened) - 1
            while field and opened[field] == closed[field - 1] + 1:
                field -= 1
            line = lines + rest.count(b"\n", 0, int(opened[field])) + 1
            raise UsageError(f"{path}: the quote opened in line {line} is never closed. {_HOW_TO_QUOTE}")
        yield rest


def _end_of_last_row(data: bytes, quoted: tuple[np.ndarray, np.ndarray]) -> int:
    """Returns where the last row that is complete ends, its line end included; 0 if none is.

    Args:
      data: Begins where a row begins.
      quoted: See `_quoted`.
    """
    opened, closed = quoted
    # A lone carriage return ends a row, too, for Arrow; as the last byte it may be half of a line end.
    for line_end, until in ((b"\n", len(data)), (b"\r", len(data) - 1)):
        while (at := data.rfind(line_end, 0, until)) >= 0:
            field = int(np.searchsorted(opened, at)) - 1
            if field < 0 or at > closed[field]:
                return at + 1
            until = int(opened[field])
    return 0


def _quoted(data: bytes, delimiter: int) -> tuple[np.ndarray, np.ndarray]:
    """Finds the quoted fields of some rows.

    Args:
      data: Begins where a row begins.
      delimiter: The byte between fields.

    Returns:
      Where their opening and closing quotes are, int64 [parts] each, in order; the length of the data for a field that is not closed.
      Quotes that stand for one may cut a field into parts.
    """
    characters = np.frombuffer(data, np.uint8)
    quotes = np.flatnonzero(characters == _QUOTE)
    before = characters[quotes - 1]
    opens = (before == delimiter) | (before == _NEWLINE) | (before == _RETURN) | (quotes == 0)
    doubled = np.diff(quotes, prepend=-2) == 1
    # As files are written, every second quote closes: all others then open a field, or follow the one they double.
    if (opens | doubled)[::2].all():
        closed = quotes[1::2]
        return quotes[::2], closed if len(quotes) % 2 == 0 else np.append(closed, len(data))
    return _quoted_one_by_one(quotes, opens, len(data))


def _quoted_one_by_one(quotes: np.ndarray, opens: np.ndarray, end: int) -> tuple[np.ndarray, np.ndarray]:
    """The same for data with quotes within fields that are not quoted, which have no partner."""
    places, openings = quotes.tolist(), np.flatnonzero(opens)
    opened, closed, index = [], [], 0
    while (following := int(np.searchsorted(openings, index))) < len(openings):
        index = int(openings[following])
        opened.append(places[index])
        index += 1
        while index + 1 < len(places) and places[index + 1] == places[index] + 1:
            index += 2
        closed.append(places[index] if index < len(places) else end)
        index += 1
    return np.array(opened, np.int64), np.array(closed, np.int64)
