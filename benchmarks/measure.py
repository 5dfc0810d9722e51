"""Runs sides of a benchmark, each in a process of its own, and sums up what alternating runs took."""

from __future__ import annotations

import json
import os
import resource
import select
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline.local import memory

OURS, STOCK = "ours", "stock"
_SUMMED_UP = ("cpu_s", "peak_mib")
_SECONDS_BETWEEN_LOOKS = 0.2
# The kernel walks all pages for a look at memory; what is measured shares the cores with it.
_SHARE_OF_LOOKING = 0.03
_SHOWN_UNITS = {"s": 1.0, "ms": 1e3}


def in_own_process(
    module: str, side: Mapping[str, Any], timeout: float | None = None, python: str = sys.executable
) -> dict[str, Any]:
    """Runs `python -m module --side JSON` and returns the JSON object on the last line it prints.

    Args:
      module: The module.
      side: What it shall do.
      timeout: Seconds it may take.
      python: The interpreter; another one than this for a tool that is no dependency.

    Raises:
      RuntimeError: It failed; the message has the end of what it wrote.
    """
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [python, "-m", module, "--side", json.dumps(dict(side))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def command(
    arguments: Sequence[str], timeout: float | None = None, looks: list[tuple[float, float]] | None = None
) -> tuple[str, dict[str, float]]:
    """Runs a command; returns what it printed, and what it took, children included.

    Memory is the sum of all its processes' proportional shares (PSS), so that pages they share count once; it is looked at five times
    a second, less often where a look costs much. What is read are bytes asked of the system, from disk, cache or a pipe; mapped files
    are not among them.

    Args:
      arguments: The command.
      timeout: Seconds it may take.
      looks: Where every look at memory is added: when (seconds since the epoch), and MiB.

    Returns:
      Its standard output, and `wall_s`, `cpu_s`, `peak_mib` and `read_mib`.

    Raises:
      RuntimeError: It failed; the message has the end of what it wrote.
    """
    used, read, started = resource.getrusage(resource.RUSAGE_CHILDREN), _read_by_children(), time.perf_counter()
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as said:
        process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=printed, stderr=said)
        peak = 0.0
        ended = os.pidfd_open(process.pid)
        try:
            waiter = select.poll()
            waiter.register(ended, select.POLLIN)
            pause = 0.0
            while not waiter.poll(pause * 1000):
                if timeout is not None and time.perf_counter() - started > timeout:
                    raise RuntimeError(f"{' '.join(arguments)[:200]} did not end within {timeout:g} s")
                before = time.thread_time()
                mib = memory.of_tree_mib(process.pid)
                pause = max(_SECONDS_BETWEEN_LOOKS, (time.thread_time() - before) / _SHARE_OF_LOOKING)
                peak = max(peak, mib)
                if looks is not None:
                    looks.append((time.time(), mib))
        finally:
            os.close(ended)
            process.kill()
            process.wait()
        wall = time.perf_counter() - started
        printed.seek(0)
        said.seek(0)
        if process.returncode:
            ending = said.read()[-2000:].decode(errors="replace")
            raise RuntimeError(f"{' '.join(arguments)[:200]} ended with {process.returncode}:\n{ending}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
        taken = {"wall_s": wall, "cpu_s": cpu, "peak_mib": peak, "read_mib": (_read_by_children() - read) / 2**20}
        return printed.read().decode(), taken


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


def spread(values: Sequence[float]) -> dict[str, float]:
    """Returns median, lowest and highest of measured values."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def compared(
    what: str,
    runs: Mapping[str, Sequence[Mapping[str, Any]]],
    rows: int | None = None,
    number: str = "wall_s",
    unit: str = "s",
) -> dict[str, Any]:
    """Sums up the runs of some work, ours beside stock's where stock does it.

    Args:
      what: The work, for people.
      runs: By side, `OURS` and `STOCK` or the first alone, what each run took.
      rows: Rows that were worked on, where that says something.
      number: Which number of a run is compared, in seconds.
      unit: What it is shown in, `s` or `ms`.

    Returns:
      A JSON object: the arguments, how many `runs` each side has, and by side the `spread` of that number, CPU seconds and peak memory,
      as far as all runs have them; `ratio` has medians of ours divided by stock's.
    """
    row: dict[str, Any] = {"what": what, "rows": rows, "number": number, "unit": unit, "runs": {}}
    for side, measured in runs.items():
        names = [name for name in dict.fromkeys((number, *_SUMMED_UP)) if all(run.get(name) is not None for run in measured)]
        row["runs"][side] = len(measured)
        row[side] = {name: spread([run[name] for run in measured]) for name in names}
    if row.get(STOCK):
        both = [name for name in row[OURS] if name in row[STOCK] and row[STOCK][name]["median"]]
        row["ratio"] = {name: row[OURS][name]["median"] / row[STOCK][name]["median"] for name in both}
    return row


def table(comparisons: Sequence[Mapping[str, Any]]) -> str:
    """Returns a Markdown table of what `compared` returned: medians, with lowest and highest of several runs in brackets."""
    lines = [
        "| what | rows | runs | Parlance | rows a second | stock TFX | ratio | peak MiB | stock's peak MiB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in comparisons:
        number, unit = row["number"], row["unit"]
        ours, stock = row[OURS], row.get(STOCK, {})
        cells = [
            row["what"],
            f"{row['rows']:,}" if row["rows"] else "",
            " / ".join(str(runs) for runs in dict.fromkeys(row["runs"].values())),
            _shown(ours.get(number), _SHOWN_UNITS[unit], f" {unit}"),
            f"{row['rows'] / ours[number]['median']:,.0f}" if row["rows"] and ours[number]["median"] else "",
            _shown(stock.get(number), _SHOWN_UNITS[unit], f" {unit}"),
            f"{row['ratio'][number]:.2f}" if number in row.get("ratio", {}) else "",
            _shown(ours.get("peak_mib")),
            _shown(stock.get("peak_mib")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def result(area: str, comparisons: Sequence[Mapping[str, Any]], detail: Any, headline: int = 0) -> dict[str, Any]:
    """Returns the JSON object that an area ends with.

    Args:
      area: Its name.
      comparisons: What `compared` returned.
      detail: Whatever else was measured.
      headline: Which comparison's medians stand for the area.
    """
    first = comparisons[headline]
    sides = {
        side: {("wall_s" if name == first["number"] else name): value["median"] for name, value in first[side].items()}
        if first.get(side)
        else None
        for side in (OURS, STOCK)
    }
    ratio = first.get("ratio", {}).get(first["number"])
    return {
        "area": area, "rows": first["rows"], **sides, "wall_ratio": ratio, "comparisons": list(comparisons), "detail": detail
    }  # fmt: skip


def _shown(values: Mapping[str, float] | None, factor: float = 1.0, unit: str = "") -> str:
    if values is None:
        return ""
    median, low, high = (_digits(values[name] * factor) for name in ("median", "min", "max"))
    return f"{median}{unit}" + (f" ({low} to {high})" if low != high else "")


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _read_by_children() -> int:
    """Bytes read by all processes below this one that have ended: the system counts them here, beside what this thread reads."""
    whole, own = (_read_bytes(f"/proc/{who}/io") for who in ("self", "thread-self"))
    return whole - own


def _read_bytes(path: str) -> int:
    with open(path, encoding="ascii") as file:
        return int(next(line.split()[1] for line in file if line.startswith("rchar:")))


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
