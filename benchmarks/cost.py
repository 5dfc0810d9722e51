"""How time, memory and bytes of a run grow: with rows, classes, slices and features, and what that means for a billion rows.

    python -m benchmarks.cost [--axis NAME]... [--sizes N ...] [--quick] [--output FOLDER]

Runs the whole pipeline on made-up tables, cold, as a command of its own, and changes one thing of the table at a time. What grows is put
as a line through the measured points: so much at the start, and so much for each more. `cost.md` in the output folder has the runs, the
lines and how far the runs are from them, and what the lines say of 1 and 100 billion rows: seconds of every node, memory, bytes, and
which limit is met first. `cost.json` has every number. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from benchmarks import measure, suite
from components.training.options import ModelOptions

NODES = ("ExampleGen", "StatisticsGen", "Transform", "Trainer", "Evaluator")
_WORDS = 20_000
_WORDS_OF_MESSAGE = 8
_SEED = 0


@dataclasses.dataclass(frozen=True)
class Table:
    """A made-up table.

    Attributes:
      rows: Messages, each of eight words, one of which says the label.
      classes: Labels.
      slices: Values of the one column to slice by.
      features: Numeric columns.
    """

    rows: int = 20_000
    classes: int = 10
    slices: int = 5
    features: int = 5

    def write(self, folder: pathlib.Path) -> None:
        """Writes the table, its schema and its pipeline file, `cost.yaml`."""
        generator = np.random.default_rng(_SEED)
        labels = generator.integers(self.classes, size=self.rows)
        # Frequencies of words fall as they do in language.
        words = np.minimum(generator.zipf(1.3, size=(self.rows, _WORDS_OF_MESSAGE)), _WORDS)
        columns: dict[str, Any] = {
            "text": [f"says{label} " + " ".join(f"w{word}" for word in row) for label, row in zip(labels, words, strict=True)],
            "label": [f"label {label}" for label in labels],
            "segment": [f"segment {value}" for value in generator.integers(self.slices, size=self.rows)],
        }
        for number in range(self.features):
            columns[f"number_{number}"] = generator.normal(size=self.rows).astype(np.float32)
        pq.write_table(pa.table(columns), folder / "table.parquet")
        kinds = {"text": "BYTES", "segment": "BYTES", **{f"number_{number}": "FLOAT" for number in range(self.features)}}
        (folder / "schema.pbtxt").write_text(
            "".join(f'feature {{ name: "{name}" type: {kind} }}\n' for name, kind in kinds.items())
            + 'feature { name: "label" type: BYTES not_in_environment: "SERVING" }\n'
            + 'default_environment: "TRAINING"\ndefault_environment: "SERVING"\n'
        )
        (folder / "cost.yaml").write_text(
            yaml.safe_dump(
                {
                    "name": "cost",
                    "data": {
                        "source": {"type": "parquet", "path": str(folder / "table.parquet")},
                        "text": "text",
                        "label": "label",
                        "segments": ["segment"],
                    },
                    "schema": str(folder / "schema.pbtxt"),
                    "model": {"epochs": _MEASURED_EPOCHS},
                    "evaluation": {"gates": [{"metric": "accuracy", "min": 0.0}]},
                }
            )
        )


AXES: dict[str, tuple[int, ...]] = {
    "rows": (20_000, 80_000, 320_000, 1_280_000),
    "classes": (10, 100, 400),
    "slices": (5, 50, 500),
    "features": (5, 40, 160),
}
_QUICK = {"rows": (2_000, 4_000)}
EXTRAPOLATED = (1_000_000_000, 100_000_000_000)
_DAY = 86_400.0
_OUTPUT = pathlib.Path(".parlance/bench")
_MEASURED_EPOCHS = 1
# What a node can be spread over; whoever takes it further says so here.
SPREAD = {
    "ExampleGen": "threads of one process",
    "StatisticsGen": "Beam workers",
    "Transform": "Beam workers",
    "Trainer": "copies of the network (`model.distribution`)",
    "Evaluator": "Beam workers",
}


def run_once(table: Table) -> dict[str, Any]:
    """Runs the pipeline on a table; returns wall and CPU seconds, peak MiB, MiB read, seconds and stored bytes by node, and the
    bytes of the table itself."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        table.write(folder)
        command = [sys.executable, "-m", "pipeline.cli", "run", str(folder / "cost.yaml"), "--root", str(folder / "root")]
        printed, taken = measure.command([*command, "--output", "json"])
        nodes = {node["id"]: node["seconds"] for node in json.loads(printed)["nodes"]}
        source = (folder / "table.parquet").stat().st_size
        artifacts = folder / "root" / "pipelines" / "cost"
        stored = {node: _bytes(artifacts / node) for node in NODES}
    return {
        **taken,
        **{f"{node} s": nodes[node] for node in NODES},
        **{f"{node} bytes": float(size) for node, size in stored.items()},
        "stored bytes": float(sum(stored.values())),
        "source bytes": float(source),
    }


def line(sizes: Sequence[int], values: Sequence[float]) -> tuple[float, float]:
    """Returns the line nearest to measured points, by least squares: its value at 0, and how much it rises for 1."""
    rise, start = np.polyfit(sizes, values, 1)
    return float(start), float(rise)


def sweep(axis: str, sizes: Sequence[int], known: dict[Table, dict[str, Any]]) -> dict[str, Any]:
    """Runs tables that differ in one thing; returns what each took, and the line through every number.

    Args:
      axis: The field of Table that changes.
      sizes: Its values.
      known: Runs already made, which is added to.
    """
    runs = []
    for size in sizes:
        table = dataclasses.replace(Table(), **{axis: size})
        if table not in known:
            known[table] = run_once(table)
        runs.append(known[table])
    lines = {name: line(sizes, [run[name] for run in runs]) for name in runs[0]}
    return {"axis": axis, "sizes": list(sizes), "runs": runs, "lines": lines}


def runs_table(results: Sequence[Mapping[str, Any]]) -> str:
    """Returns what every run took, and how much each more costs, as Markdown."""
    lines = [
        f"| table | wall s | CPU s | peak MiB | stored MiB | {' | '.join(f'{node} s' for node in NODES)} |",
        "|---" * (5 + len(NODES)) + "|",
    ]
    for result in results:
        for size, run in zip(result["sizes"], result["runs"], strict=True):
            seconds = " | ".join(f"{run[f'{node} s']:.1f}" for node in NODES)
            whole = f"{run['wall_s']:.1f} | {run['cpu_s']:.1f} | {run['peak_mib']:.0f} | {run['stored bytes'] / 2**20:.1f}"
            lines.append(f"| {size:,} {result['axis']} | {whole} | {seconds} |")
        rises = {name: rise * 1000 for name, (_, rise) in result["lines"].items()}
        seconds = " | ".join(f"{rises[f'{node} s']:+.2f}" for node in NODES)
        lines.append(
            f"| each 1,000 more {result['axis']} | {rises['wall_s']:+.2f} | {rises['cpu_s']:+.2f} | {rises['peak_mib']:+.1f} "
            f"| {rises['stored bytes'] / 2**20:+.2f} | {seconds} |"
        )
    return "\n".join(lines)


def last_stretch(result: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a sweep's result with the lines through its two largest sizes: what is bounded, as vocabularies and buffers are, grows at
    first, and would be taken for growth without end."""
    runs = result["runs"][-2:]
    return {**result, "lines": {name: line(result["sizes"][-2:], [run[name] for run in runs]) for name in runs[0]}}


def farthest(result: Mapping[str, Any], name: str) -> float:
    """Returns by what share of itself the run farthest from a number's line is away from it."""
    start, rise = result["lines"][name]
    pairs = zip(result["sizes"], (run[name] for run in result["runs"]), strict=True)
    return max(abs(value - start - rise * size) / value for size, value in pairs if value)


def lines_table(results: Sequence[Mapping[str, Any]]) -> str:
    """Returns the lines as Markdown: of wall and CPU seconds, memory and stored bytes along every axis, and of every node's seconds."""
    lines = ["| number | at the start | for each 1,000 more | farthest run from the line |", "|---|---|---|---|"]
    for result in results:
        for name in ("wall_s", "cpu_s", "peak_mib", "stored bytes", *(f"{node} s" for node in NODES)):
            start, rise = result["lines"][name]
            shown, factor = (f"{name.removesuffix(' bytes')} MiB", 2.0**-20) if name.endswith("bytes") else (name, 1.0)
            lines.append(
                f"| {shown} by {result['axis']} | {start * factor:.2f} | {rise * factor * 1000:+.4g} | {farthest(result, name):.0%} |"
            )
    return "\n".join(lines)


def at(result: Mapping[str, Any], name: str, rows: float) -> float:
    """Returns what a number's line says of so many rows; 0 where it falls below."""
    start, rise = result["lines"][name]
    return max(0.0, start + rise * rows)


def reached(result: Mapping[str, Any], name: str, limit: float) -> float:
    """Returns the number of rows at which a number's line meets a limit; infinity if it never does."""
    start, rise = result["lines"][name]
    return max(0.0, (limit - start) / rise) if rise > 0 else float("inf")


def limits(result: Mapping[str, Any], memory_mib: float, free_bytes: float, epochs: int) -> list[tuple[float, str]]:
    """Returns what stands in the way of more rows on this machine, what is met first at the beginning.

    Args:
      result: What `sweep` returned for rows.
      memory_mib: Memory of the machine.
      free_bytes: Bytes that are free on its disk.
      epochs: Epochs of a real training; it was measured with one.

    Returns:
      Rows, and what happens there.
    """
    start, rise = result["lines"]["Trainer s"]
    trained = dict(result, lines={**result["lines"], "Trainer s": (start, rise * epochs / _MEASURED_EPOCHS)})
    met = [
        (reached(result, "peak_mib", memory_mib), f"memory: the run's peak is the machine's {memory_mib / 1024:.0f} GiB"),
        (
            reached(result, "stored bytes", free_bytes),
            f"disk: what nodes store fills the {free_bytes / 1e9:,.0f} GB that are free",
        ),
    ]
    for node in NODES:
        times = f", at most {epochs} epochs" if node == "Trainer" else ""
        met.append((reached(trained, f"{node} s", _DAY), f"time: {node} ({SPREAD[node]}{times}) takes a day"))
    return sorted(met)


def passes(result: Mapping[str, Any]) -> float:
    """Returns how many times a run reads the bytes of its table and of the examples made of it."""
    lines = result["lines"]
    once = lines["source bytes"][1] + lines["ExampleGen bytes"][1]
    return lines["read_mib"][1] * 2**20 / once if once > 0 else float("nan")


def extrapolation(result: Mapping[str, Any], machine: Mapping[str, Any], free_bytes: float, epochs: int) -> str:
    """Returns what the lines along rows say of `EXTRAPOLATED` rows, as Markdown.

    Args:
      result: What `sweep` returned for rows.
      machine: What `suite.machine` returned.
      free_bytes: Bytes that are free on the disk.
      epochs: Epochs of a real training.
    """
    few, many = min(result["sizes"]), max(result["sizes"])
    result = last_stretch(result)
    head = f"| | {' | '.join(f'{rows:,} rows' for rows in EXTRAPOLATED)} |"
    lines = [
        f"Measured from {few:,} to {many:,} rows; everything beyond is the line through the two largest tables, "
        f"{EXTRAPOLATED[0] / many:,.0f} times and more outside of what was measured.",
        "",
        head,
        "|---" * (1 + len(EXTRAPOLATED)) + "|",
    ]

    def row(what: str, shown: Any) -> None:
        lines.append(f"| {what} | {' | '.join(shown(rows) for rows in EXTRAPOLATED)} |")

    for node in NODES:
        row(f"{node}, hours", lambda rows, node=node: f"{at(result, f'{node} s', rows) / 3600:,.1f}")
    row(
        f"Trainer with {epochs} epochs, hours",
        lambda rows: f"{at(result, 'Trainer s', rows) * epochs / _MEASURED_EPOCHS / 3600:,.1f}",
    )
    row("processor, hours", lambda rows: f"{at(result, 'cpu_s', rows) / 3600:,.0f}")
    row("cores for a run a day, if all of it were spread", lambda rows: f"{at(result, 'cpu_s', rows) / _DAY:,.1f}")
    row("peak memory of one machine, GiB", lambda rows: f"{at(result, 'peak_mib', rows) / 1024:,.1f}")
    row("the table, GB", lambda rows: f"{at(result, 'source bytes', rows) / 1e9:,.0f}")
    row("stored by the nodes, GB", lambda rows: f"{at(result, 'stored bytes', rows) / 1e9:,.0f}")
    row("read by the nodes, GB", lambda rows: f"{at(result, 'read_mib', rows) * 2**20 / 1e9:,.0f}")
    count = passes(result)
    lines += [
        "",
        f"A run reads table and examples {count:.1f} times over." if count == count else "",
        f"On this machine ({machine['cores']} cores, {machine['memory_gib']} GiB of memory), in the order in which limits are met:",
        "",
    ]
    found = limits(result, machine["memory_gib"] * 1024, free_bytes, epochs)
    lines += [f"{place}. {_rows(rows)}: {what}." for place, (rows, what) in enumerate(found, 1)]
    slowest = max(NODES, key=lambda node: result["lines"][f"{node} s"][1])
    lines += [
        "",
        f"First to break: {found[0][1]}, at {_rows(found[0][0])}. The node that grows most with rows is {slowest}, "
        f"{result['lines'][f'{slowest} s'][1] * 1e6:,.0f} s for each million.",
    ]
    if slowest == "ExampleGen" or any("ExampleGen" in what for _, what in found[:3]):
        lines.append("ExampleGen cannot be spread over machines: beyond that size, give each run a span of the data.")
    return "\n".join(lines)


def _rows(rows: float) -> str:
    return "never, it did not grow" if rows == float("inf") else f"{float(f'{rows:.2g}'):,.0f} rows"


def markdown(results: Sequence[Mapping[str, Any]], machine: Mapping[str, Any], free_bytes: float, epochs: int) -> str:
    """Returns the whole section."""
    parts = [
        "## What a run costs",
        f"`python -m benchmarks.cost`, {datetime.datetime.now(datetime.UTC):%Y-%m-%d}, commit {suite.commit() or 'unknown'}; "
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB of memory. Each run once, cold; one epoch; a table has "
        f"{Table().rows:,} rows, {Table().classes} classes, {Table().slices} slices and {Table().features} numeric features but for what "
        "grows.",
        runs_table(results),
        "### Lines",
        lines_table(results),
    ]
    along_rows = [result for result in results if result["axis"] == "rows"]
    if along_rows:
        parts += ["### A billion rows", extrapolation(along_rows[0], machine, free_bytes, epochs)]
    return "\n\n".join(parts) + "\n"


def _bytes(folder: pathlib.Path) -> int:
    return sum(os.path.getsize(file) for file in folder.rglob("*") if file.is_file())


def main() -> None:
    """Writes and prints the section, and prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--axis", choices=AXES, action="append", help="what grows; may be given several times (default: all)")
    parser.add_argument("--sizes", type=int, nargs="+", metavar="N", help="its sizes, at least two; with one --axis")
    parser.add_argument("--quick", action="store_true", help="two small tables only, to see that it works")
    parser.add_argument("--output", type=pathlib.Path, default=_OUTPUT, help="folder of the results (default: %(default)s)")
    options = parser.parse_args()
    if options.sizes and (len(options.axis or ()) != 1 or len(set(options.sizes)) < 2):
        parser.error(f"--sizes needs one --axis and at least two sizes; received {options.axis} and {options.sizes}")
    axes: Mapping[str, Sequence[int]] = _QUICK if options.quick else {axis: AXES[axis] for axis in options.axis or AXES}
    if options.sizes:
        axes = {options.axis[0]: sorted(set(options.sizes))}
    known: dict[Table, dict[str, Any]] = {}
    results: list[dict[str, Any]] = []
    options.output.mkdir(parents=True, exist_ok=True)
    machine, free, epochs = suite.machine(), shutil.disk_usage(options.output).free, ModelOptions().epochs
    for axis, sizes in axes.items():
        results.append(sweep(axis, sizes, known))
        # After every axis, so that what is interrupted keeps what it has.
        (options.output / "cost.json").write_text(json.dumps({"machine": machine, "results": results}, indent=1) + "\n")
        (options.output / "cost.md").write_text(markdown(results, machine, free, epochs))
    print((options.output / "cost.md").read_text())
    first, ours = next(iter(known.items()))
    print(json.dumps({"area": "cost", "rows": first.rows, "ours": ours, "stock": None, "wall_ratio": None, "detail": results}))


if __name__ == "__main__":
    main()
