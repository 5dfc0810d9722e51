"""Memory of this machine and of the processes of a run."""

from __future__ import annotations

import contextlib
import os
import pathlib
import threading

_SECONDS_BETWEEN_LOOKS = 1.0
_CGROUP = pathlib.Path("/sys/fs/cgroup")
_MIB = 2**20


def available_mib() -> float:
    """Returns how much memory new processes can have: what the machine has left, or the container if that is less."""
    left = []
    with open("/proc/meminfo", encoding="ascii") as file:
        left += [int(line.split()[1]) / 1024 for line in file if line.startswith("MemAvailable:")]
    # Containers of either generation; where there is no limit, the number is missing or larger than any memory.
    for limit, used in (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")):
        with contextlib.suppress(OSError, ValueError):
            left.append((int((_CGROUP / limit).read_text()) - int((_CGROUP / used).read_text())) / _MIB)
    return min(left)


def of_tree_mib(process: int) -> float:
    """Returns the memory of a process and of all below it; pages that they share count once (proportional set size)."""
    return _sum_of_tree_mib(process, ("Pss:",))


def own_of_tree_mib(process: int) -> float:
    """Returns the memory that a process and all below it share with nobody, which is what they have taken since they were forked."""
    return _sum_of_tree_mib(process, ("Private_Clean:", "Private_Dirty:"))


def _sum_of_tree_mib(process: int, kinds: tuple[str, ...]) -> float:
    total, waiting = 0, [process]
    while waiting:
        one = waiting.pop()
        # A process may end between any two of these lines.
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{one}/task"):
                with open(f"/proc/{one}/task/{task}/children", encoding="ascii") as file:
                    waiting += map(int, file.read().split())
            with open(f"/proc/{one}/smaps_rollup", encoding="ascii") as file:
                total += sum(int(line.split()[1]) for line in file if line.startswith(kinds))
    return total / 1024


class PeakWatch:
    """Looks at the memory of this process and of all below it, again and again."""

    def __init__(self) -> None:
        self.peak_mib = 0.0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to look. Does nothing if it has begun."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ends looking."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def look(self) -> None:
        """Looks once."""
        self.peak_mib = max(self.peak_mib, of_tree_mib(os.getpid()))

    def _watch(self) -> None:
        while not self._stop.wait(_SECONDS_BETWEEN_LOOKS):
            self.look()
