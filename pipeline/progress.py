"""Progress for people: one line per node; live on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import itertools
import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from components.ingestion.options import sample_name
from pipeline import verdict_table

_MARKS = {"complete": "✓", "cached": "✓", "failed": "✗", "skipped": "–"}
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_TICK_SECONDS = 0.1
_CLEAR = "\r\x1b[K"
# A run has taken over the streams by which the width of a terminal is found.
_TABLE_WIDTH = 100


class Progress:
    """Shows a run on a stream. On a terminal the last line says which nodes run, and for how long."""

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._live = stream.isatty()
        self._width = 0
        self._started: dict[str, float] = {}
        # The ticker writes in a thread of its own.
        self._lock = threading.Lock()
        self._stop: threading.Event | None = None
        self._ticker: threading.Thread | None = None

    def run_started(self, run_id: str, nodes: Sequence[str]) -> None:
        """See runner.Listener."""
        self._width = max(map(len, nodes))
        self._print(f"run {run_id}\n")

    def node_started(self, node_id: str) -> None:
        """See runner.Listener."""
        if not self._live:
            return
        with self._lock:
            self._started[node_id] = time.monotonic()
        if self._ticker is None:
            self._stop = threading.Event()
            self._ticker = threading.Thread(target=self._tick, args=(self._stop,), daemon=True)
            self._ticker.start()

    def node_ended(self, node: dict[str, Any]) -> None:
        """See runner.Listener."""
        with self._lock:
            self._started.pop(node["id"], None)
            idle = not self._started
        if idle:
            self._end_tick()
        line = node_line(node, self._width) + "\n"
        with self._lock:
            self._print(_CLEAR + line if self._live else line)

    def _tick(self, stop: threading.Event) -> None:
        for frame in itertools.cycle(_SPINNER):
            with self._lock:
                self._print(_CLEAR + running_line(frame, self._started, self._width, self._columns()))
            if stop.wait(_TICK_SECONDS):
                return

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns
        except (OSError, io.UnsupportedOperation):
            return _TABLE_WIDTH

    def _end_tick(self) -> None:
        if self._ticker is not None and self._stop is not None:
            self._stop.set()
            self._ticker.join()
            self._ticker = None

    def _print(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def running_line(mark: str, started: Mapping[str, float], width: int, columns: int) -> str:
    """Returns the line of the nodes that run: the first one as a finished node would be shown, others behind it.

    Args:
      mark: What stands for running.
      started: When each node began, by `time.monotonic`.
      width: Of the longest id.
      columns: Of the terminal. A longer line would wrap and could not be cleared.
    """
    now = time.monotonic()
    first, *others = [f"{node_id:<{width}} {now - begun:7.1f} s" for node_id, begun in started.items()] or [""]
    return "  ".join([f"  {mark} {first}", *(" ".join(other.split()) for other in others)])[: columns - 1]


def node_line(node: dict[str, Any], width: int) -> str:
    """Returns the line of a node that has ended: mark, id, seconds, `cached`, and its key numbers or its error's first line."""
    if node["state"] == "failed":
        note = node["error"].splitlines()[0]
    elif node["state"] == "skipped":
        # Records of runs from before there was one have no reason.
        note = ": ".join(filter(None, ["skipped", node.get("reason")]))
    else:
        facts = [_fact(name, value) for name, value in node["summary"].items()]
        note = ", ".join((["cached"] if node["state"] == "cached" else []) + facts)
    return f"  {_MARKS[node['state']]} {node['id']:<{width}} {node['seconds']:7.1f} s  {note}".rstrip()


def conclusion(record: dict[str, Any]) -> list[str]:
    """Returns the last lines of a run: verdict, warnings about the data, accuracy beside its yardsticks, pushed version, report."""
    lines = []
    if "error" in record:
        lines.append(f"{record['state']}: {record['error']}")
    elif record["verdict"] is None:
        lines.append(record["state"])
    else:
        lines.append("blessed" if record["verdict"]["blessed"] else f"rejected: {_who_said_no(record)}")
    lines += what_else(record.get("nodes", ()))
    if "error" not in record:
        lines += verdict_table.lines(data_warnings(record), urgent_only=True, width=_TABLE_WIDTH)
    if record["verdict"] and "error" not in record:
        lines += verdict_table.lines(record["verdict"]["findings"], urgent_only=True, width=_TABLE_WIDTH)
    if (accuracy := record["metrics"].get("accuracy")) is not None:
        yardsticks = [
            f"{name} {metrics['accuracy']:.4f}" if metrics else f"{name} none yet"
            for name, metrics in (("majority class", record["majority_metrics"]), ("baseline", record["baseline_metrics"]))
        ]
        lines.append(f"accuracy {accuracy:.4f}  ({', '.join(yardsticks)})")
    # Records of runs from before there was one have no such entry.
    if sampled := sample_name(record.get("sample", 1.0)):
        lines.append(f"data     {sampled} of the rows")
    if (smoke_test := record.get("smoke_test")) is not None:
        lines.append(f"smoke test {smoke_test['summary']}")
    if "override" in record:
        lines.append(override_line(record["override"]))
    if record["pushed"]:
        lines.append(f"pushed   {record['pushed']['model']} version {record['pushed']['version']} to {record['pushed']['path']}")
    took = f"{record['seconds']:.1f} s"
    if "peak_mib" in record:
        took += f", peak memory {record['peak_mib'] / 1024:.1f} GiB"
    return [*lines, f"took     {took}", f"log      {record['log']}", f"report   {record['report']}"]


def what_else(nodes: Sequence[dict[str, Any]]) -> list[str]:
    """Returns lines that say what became of the other nodes when one failed: those that ran all the same, and those that could not."""
    failed = [node["id"] for node in nodes if node["state"] == "failed"]
    if not failed:
        return []
    ids = [node["id"] for node in nodes]
    after = [node["id"] for node in nodes[ids.index(failed[0]) :] if node["state"] in ("complete", "cached")]
    reasons: dict[str, list[str]] = {}
    for node in nodes:
        if node["state"] == "skipped":
            reasons.setdefault(node.get("reason", ""), []).append(node["id"])
    lines = [f"failed   {', '.join(failed)}"]
    lines += [f"ran      {', '.join(after)} all the same"] if after else []
    return lines + [f"not run  {', '.join(skipped)}{reason and f' ({reason})'}" for reason, skipped in reasons.items()]


def data_warnings(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns what the data gate warned of; nothing of a run that its data stopped, whose verdict says it already."""
    judged = (record["verdict"] or {}).get("findings", ())
    # Records of runs from before there were any have no such entry.
    return [finding for finding in record.get("data_findings", ()) if finding not in judged]


def _who_said_no(record: dict[str, Any]) -> str:
    return "the smoke test failed" if (record.get("smoke_test") or {}).get("state") == "failed" else "the gate said no"


def override_line(statement: dict[str, Any]) -> str:
    """Returns who released a rejected model, when and why."""
    return f"released by override of {statement['by']} at {statement['at']}: {statement['reason']}"


def _fact(name: str, value: Any) -> str:
    name = name.replace("_", " ")
    if isinstance(value, bool):
        return name if value else f"not {name}"
    if isinstance(value, float):
        return f"{name} {value:.3f}" if abs(value) < 10 else f"{name} {value:,.0f}"
    return f"{name} {value:,}" if isinstance(value, int) else f"{name} {value}"
