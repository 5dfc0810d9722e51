"""Parts of serialized messages, without parsing all of them: for messages of which most is not wanted, or wanted as numpy arrays."""

from __future__ import annotations

import functools
from collections.abc import Iterator

Buffer = bytes | memoryview

_SMALL_VARINTS = [bytes([value]) for value in range(128)]


def length_delimited(message: Buffer, number: int) -> Iterator[Buffer]:
    """The payloads of one length-delimited field (bytes, text, message, packed numbers) of a well-formed serialized message.

    Args:
        message: The bytes of the message. Payloads of a memoryview are views too: nothing is copied.
        number: The field's number.
    """
    position = 0
    while position < len(message):
        tag, position = read_varint(message, position)
        if tag & 7 == 0:
            _, position = read_varint(message, position)
        elif tag & 7 == 2:
            length, position = read_varint(message, position)
            if tag >> 3 == number:
                yield message[position : position + length]
            position += length
        else:
            position += 8 if tag & 7 == 1 else 4


def field(number: int, payload: Buffer) -> bytes:
    """One length-delimited field, serialized."""
    return b"".join((tag(number), varint(len(payload)), payload))


@functools.cache
def tag(number: int) -> bytes:
    """What a length-delimited field begins with; its length and its payload follow."""
    return varint(number << 3 | 2)


def read_varint(data: Buffer, position: int) -> tuple[int, int]:
    """The varint at a position, and the position after it.

    Raises:
        ValueError: The data end within it, or it is longer than any varint.
    """
    value = shift = 0
    while position < len(data) and shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError("the data end within a varint")


def varint(value: int) -> bytes:
    """A number that is not negative as a varint."""
    if value < len(_SMALL_VARINTS):
        return _SMALL_VARINTS[value]
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
