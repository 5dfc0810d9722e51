"""A file that is read only so far ahead of those who want what is in it.

Arrow's streaming reader of CSV fetches up to 32 blocks before anyone asks for their rows: of blocks that hold the longest of messages,
that is half a gigabyte which does nothing but wait.

    with ReadAhead("tickets.csv") as file:
        for batch in file.asked_for(pyarrow.csv.open_csv(file.arrow)):
            ...
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

import pyarrow as pa

Item = TypeVar("Item")

# One to work on while another one is fetched.
_BLOCKS = 2
_PATIENCE_S = 0.05


class ReadAhead:
    """A file for a reader that fetches blocks in a thread of its own.

    Attributes:
      arrow: What the reader is given.
    """

    def __init__(self, path: str | os.PathLike[str], blocks: int = _BLOCKS):
        """Opens a file.

        Args:
          path: The file.
          blocks: How many blocks are read that nobody has asked for.

        Raises:
          OSError: It cannot be opened.
        """
        self._file = open(path, "rb")  # noqa: SIM115 - closed by `close`
        self._blocks = blocks
        self._changed = threading.Condition()
        self._ahead = 0
        # A reader that is being made, or fails to be, waits for its thread.
        self._asked = True
        self._ended = False
        self.arrow = pa.PythonFile(self, "r")

    def __enter__(self) -> ReadAhead:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def asked_for(self, items: Iterable[Item]) -> Iterator[Item]:
        """Passes on what the reader makes of the file's blocks, and lets it read as it is asked for them. Closes the file in the end."""
        made = iter(items)
        try:
            while True:
                self._now(asked=True)
                try:
                    item = next(made)
                except StopIteration:
                    return
                finally:
                    self._now(asked=False)
                yield item
        finally:
            # Before the reader is given up, which waits for its thread.
            self.close()

    def read(self, size: int = -1) -> bytes:
        """Reads a block, once it may; nothing at the file's end, and once the file is closed."""
        with self._changed:
            while self._ahead >= self._blocks and not self._ended:
                # Whoever still waits needs more than has been read: a row ends in the block after its own.
                if not self._changed.wait(_PATIENCE_S) and self._asked:
                    break
            if self._ended:
                return b""
            self._ahead += 1
        return self._file.read(size)

    def close(self) -> None:
        """Closes the file, and lets go of a reader that waits for it."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._file.close()

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return self._file.closed

    def _now(self, asked: bool) -> None:
        with self._changed:
            self._asked = asked
            if not asked:
                self._ahead = max(0, self._ahead - 1)
            self._changed.notify_all()
