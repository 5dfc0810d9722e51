"""How many executors may run at once: as many as there are cores, as long as memory is left for one more."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator

from pipeline.local import memory

# A node with TensorFlow and little data; what nodes of this run have needed so far counts if it is more.
_LEAST_MIB = 1024.0
# Memory comes back without anybody saying so.
_SECONDS_BETWEEN_LOOKS = 0.5


class Room:
    """Places for executors. Used from several threads."""

    def __init__(self, cores: int | None = None, available_mib: Callable[[], float] = memory.available_mib):
        """Prepares.

        Args:
          cores: At most so many executors run at once; the cores this process may use if None.
          available_mib: Returns the memory that is left.
        """
        self._cores = cores or len(os.sched_getaffinity(0))
        self._available_mib = available_mib
        self._most_mib = _LEAST_MIB
        self._taken = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def place(self, ended: Callable[[], bool] = lambda: False) -> Iterator[None]:
        """Waits for a place and holds it. The first one is always free, however little memory there is.

        Args:
          ended: Says that nobody needs to wait any longer.
        """
        with self._changed:
            while self._taken and not ended() and not self._fits():
                self._changed.wait(_SECONDS_BETWEEN_LOOKS)
            self._taken += 1
        try:
            yield
        finally:
            with self._changed:
                self._taken -= 1
                self._changed.notify_all()

    def needed(self, mib: float) -> None:
        """Says how much memory an executor needed."""
        self._most_mib = max(self._most_mib, mib)

    def _fits(self) -> bool:
        return self._taken < self._cores and self._available_mib() >= self._most_mib
