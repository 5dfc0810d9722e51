"""TFRecord files without TensorFlow: each record between its length and checksums.

file.write(framed(record))
for record in complete_records(path): ...
"""

from __future__ import annotations

import os
import pathlib
import struct
from collections.abc import Iterator
from typing import BinaryIO

import google_crc32c

_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")
_HEADER_BYTES = _LENGTH.size + _CHECKSUM.size


def framed(record: bytes) -> bytes:
    """A record as it stands in a file: length, checksum of the length, content, checksum of the content."""
    length = _LENGTH.pack(len(record))
    return b"".join((length, _masked(length), record, _masked(record)))


def framed_bytes(record: bytes) -> int:
    """How many bytes a record takes in a file."""
    return _HEADER_BYTES + len(record) + _CHECKSUM.size


def complete_records(path: pathlib.Path) -> Iterator[bytes]:
    """The records of a file up to its end or to the first that is torn or damaged, which a crash may have left.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        end = os.fstat(file.fileno()).st_size
        while len(header := file.read(_HEADER_BYTES)) == _HEADER_BYTES:
            if header[_LENGTH.size :] != _masked(header[: _LENGTH.size]):
                return
            (length,) = _LENGTH.unpack_from(header)
            if length > end - file.tell():
                return
            record = file.read(length)
            if file.read(_CHECKSUM.size) != _masked(record):
                return
            yield record


class TornRecordError(ValueError):
    """A file ends inside a record, or a checksum does not fit."""


def records(file: BinaryIO) -> Iterator[bytes]:
    """The records of a file that is expected to be whole, from where it is read on.

    Raises:
        TornRecordError: It is not whole; the records before the damage have been returned.
        OSError: The file cannot be read.
    """
    while header := file.read(_HEADER_BYTES):
        if len(header) < _HEADER_BYTES or header[_LENGTH.size :] != _masked(header[: _LENGTH.size]):
            raise TornRecordError("the length of a record is torn or damaged")
        (length,) = _LENGTH.unpack_from(header)
        record = file.read(length)
        if len(record) < length or file.read(_CHECKSUM.size) != _masked(record):
            raise TornRecordError("the content of a record is torn or damaged")
        yield record


def complete_bytes(path: pathlib.Path) -> int:
    """How many bytes of a file are complete records.

    Raises:
        OSError: The file cannot be read.
    """
    return sum(map(framed_bytes, complete_records(path)))


def _masked(data: bytes) -> bytes:
    """CRC-32C, rotated and shifted as the format asks, so that checksums of checksums stay harmless."""
    checksum = google_crc32c.value(data)
    return _CHECKSUM.pack((((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) & 0xFFFFFFFF)
