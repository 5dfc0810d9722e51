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


class Place:
    """An executor's place.

    Attributes:
      process: The process it runs in, which leads all that it starts; None while it has none.
    """

    def __init__(self) -> None:
        self.process: int | None = None


class Room:
    """Places for executors. Used from several threads."""

    def __init__(
        self,
        cores: int | None = None,
        available_mib: Callable[[], float] = memory.available_mib,
        own_mib: Callable[[int], float] = memory.own_of_tree_mib,
    ):
        """Prepares.

        Args:
          cores: At most so many executors run at once; the cores this process may use if None.
          available_mib: Returns the memory that is left.
          own_mib: Returns the memory that a process and all below it have taken.
        """
        self._cores = cores or len(os.sched_getaffinity(0))
        self._available_mib = available_mib
        self._own_mib = own_mib
        self._most_mib = _LEAST_MIB
        self._taken: list[Place] = []
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def place(self, ended: Callable[[], bool] = lambda: False) -> Iterator[Place]:
        """Waits for a place and holds it. The first one is always free, however little memory there is.

        Args:
          ended: Says that nobody needs to wait any longer.
        """
        place = Place()
        with self._changed:
            while self._taken and not ended() and not self._fits():
                self._changed.wait(_SECONDS_BETWEEN_LOOKS)
            self._taken.append(place)
        try:
            yield place
        finally:
            with self._changed:
                self._taken.remove(place)
                self._changed.notify_all()

    def needed(self, mib: float) -> None:
        """Says how much memory an executor needed."""
        self._most_mib = max(self._most_mib, mib)

    def _fits(self) -> bool:
        if len(self._taken) >= self._cores:
            return False
        return self._available_mib() - sum(map(self._to_come_mib, self._taken)) >= self._most_mib

    def _to_come_mib(self, place: Place) -> float:
        """What an executor that runs will still take: one that has just begun has taken nothing of what is counted as left."""
        return max(0.0, self._most_mib - (self._own_mib(place.process) if place.process is not None else 0.0))
