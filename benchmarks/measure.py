"""Runs sides of a benchmark, each in a process of its own, alternating, and sums up what they took."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def in_own_process(module: str, side: Mapping[str, Any], timeout: float | None = None) -> dict[str, Any]:
    """Runs `python -m module --side JSON` and returns the JSON object on the last line it prints.

    Raises:
      RuntimeError: It failed; the message has the end of what it wrote.
    """
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", module, "--side", json.dumps(dict(side))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """Runs some work; returns its result, and wall seconds, CPU seconds and peak memory (MiB, of the whole process while it ran)."""
    peak, done = _PeakMemory(), time.perf_counter
    started, cpu = done(), time.process_time()
    with peak:
        result = work()
    return result, {
        "wall_s": done() - started,
        "cpu_s": time.process_time() - cpu,
        "peak_mib": peak.mib,
        "grown_mib": peak.grown_mib,
    }


def median(measurements: Sequence[Mapping[str, Any]], name: str) -> float:
    """Returns the median of one number over measurements."""
    return statistics.median(measurement[name] for measurement in measurements)


class _PeakMemory:
    """Watches the resident memory of this process."""

    def __init__(self, interval: float = 0.02):
        self._interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._first = self._highest = _resident()

    def __enter__(self) -> _PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._thread.join()
        self._highest = max(self._highest, _resident())

    @property
    def mib(self) -> float:
        return self._highest / 2**20

    @property
    def grown_mib(self) -> float:
        return (self._highest - self._first) / 2**20

    def _watch(self) -> None:
        while not self._stop.wait(self._interval):
            self._highest = max(self._highest, _resident())


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
