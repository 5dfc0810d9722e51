"""Where a request is answered: on the thread that took it, or in the pool.

Handing a request to another thread and back costs Python more than a small model takes to run: several switches of Python's lock, and
caches that start cold. So short requests are answered where they were taken. Long ones would keep all others waiting there, and leave
the other CPUs idle; they go to the pool.

What is short is measured, for each method and model by itself. Nothing here knows gRPC or models.
"""

from __future__ import annotations

# Handling in this time gains by staying, whatever the number of CPUs: about what going to the pool and back costs under load.
_QUICK_SECONDS = 0.001
# Longer than that is slow, however it came about.
_SLOW_SECONDS = 0.002
# One request that holds up all others for so long is enough to send the next ones away.
_INTOLERABLE_SECONDS = 0.05
# So many quick ones in a row before requests stay; so many more slow ones than others before they go.
_QUICK_IN_A_ROW, _SLOW_IN_ALL = 8, 16
# Requests in the pool before staying is tried again, first and at most: twice as many after every trial that failed.
_FIRST_HOLD, _LONGEST_HOLD = 64, 8192
# A large request may take long although small ones of its model do not.
_LARGE_BYTES = 16 * 1024
# Clients choose names of models, so there may be any number of kinds.
_MOST_KINDS = 256

_MODEL_SPEC_TAG = 0x0A  # field 1, which all requests for inference have their model in, and which is written first


class Dispatch:
    """Decides it. For one thread that takes requests; only `Pace.pooled` may be called by any."""

    def __init__(self) -> None:
        self._paces: dict[tuple[str, bytes], Pace] = {}

    def pace(self, method: str, message: bytes) -> Pace:
        """What is known of requests like this one."""
        # A name longer than a varint of one byte counts shares its entry with others of that kind.
        named = len(message) > 1 and message[0] == _MODEL_SPEC_TAG and message[1] < 0x80
        kind = (method, message[: 2 + message[1]] if named else b"")
        pace = self._paces.get(kind)
        if pace is None:
            if len(self._paces) >= _MOST_KINDS:
                self._paces.clear()
            pace = self._paces[kind] = Pace()
        return pace


class Pace:
    """How long requests of one kind take.

    Attributes:
        stays: Whether the next small one is answered where it was taken.
    """

    __slots__ = ("_held", "_hold", "_quick", "_slow", "stays")

    def __init__(self) -> None:
        self.stays = False
        self._quick = self._slow = self._held = 0
        self._hold = _FIRST_HOLD

    def keeps(self, message: bytes) -> bool:
        """Whether a request is answered where it was taken."""
        return self.stays and len(message) <= _LARGE_BYTES

    def stayed(self, seconds: float) -> None:
        """Notes how long one took where it was taken, by the clock."""
        if seconds <= _SLOW_SECONDS:
            self._slow = max(self._slow - 1, 0)
            return
        self._slow = _SLOW_IN_ALL if seconds > _INTOLERABLE_SECONDS else self._slow + 1
        if self._slow >= _SLOW_IN_ALL:
            self.stays = False
            self._quick, self._held = 0, self._hold
            self._hold = min(2 * self._hold, _LONGEST_HOLD)

    def pooled(self, message: bytes, cpu_seconds: float) -> None:
        """Notes how much of its thread's CPU time one took in the pool: by the clock it may have waited for others only."""
        if self._held:
            self._held -= 1
        elif cpu_seconds > _QUICK_SECONDS:
            self._quick = 0
        elif len(message) <= _LARGE_BYTES:
            self._quick += 1
            if self._quick >= _QUICK_IN_A_ROW:
                self._quick = self._slow = 0
                self.stays = True
