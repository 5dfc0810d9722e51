"""How time, memory and bytes of a run grow: with rows, classes, slices and features.

    python -m benchmarks.cost [--axis NAME]... [--quick]

Runs the whole pipeline on made-up tables, cold, as a command of its own, and changes one thing of the table at a time. What grows is put
as a line through the measured points: so much at the start, and so much for each more. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from benchmarks import measure

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
                    "model": {"epochs": 1},
                    "evaluation": {"gates": [{"metric": "accuracy", "min": 0.0}]},
                }
            )
        )


AXES: dict[str, tuple[int, ...]] = {
    "rows": (20_000, 80_000, 320_000),
    "classes": (10, 100, 400),
    "slices": (5, 50, 500),
    "features": (5, 40, 160),
}
_QUICK = {"rows": (2_000, 4_000)}


def run_once(table: Table) -> dict[str, Any]:
    """Runs the pipeline on a table; returns wall seconds, CPU seconds, peak MiB, seconds by node and bytes by node."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        table.write(folder)
        command = [sys.executable, "-m", "pipeline.cli", "run", str(folder / "cost.yaml"), "--root", str(folder / "root")]
        printed, taken = measure.command([*command, "--output", "json"])
        nodes = {node["id"]: node["seconds"] for node in json.loads(printed)["nodes"]}
        artifacts = folder / "root" / "pipelines" / "cost"
        stored = {node: _bytes(artifacts / node) for node in NODES}
    return {
        **taken,
        **{f"{node} s": nodes[node] for node in NODES},
        **{f"{node} bytes": float(size) for node, size in stored.items()},
        "stored bytes": float(sum(stored.values())),
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


def print_table(results: Sequence[Mapping[str, Any]]) -> None:
    """Prints what every run took, and how much each more costs."""
    print(f"| table | wall s | CPU s | peak MiB | stored MiB | {' | '.join(f'{node} s' for node in NODES)} |")
    print("|---" * (5 + len(NODES)) + "|")
    for result in results:
        for size, run in zip(result["sizes"], result["runs"], strict=True):
            seconds = " | ".join(f"{run[f'{node} s']:.1f}" for node in NODES)
            whole = f"{run['wall_s']:.1f} | {run['cpu_s']:.1f} | {run['peak_mib']:.0f} | {run['stored bytes'] / 2**20:.1f}"
            print(f"| {size:,} {result['axis']} | {whole} | {seconds} |")
        rises = {name: rise * 1000 for name, (_, rise) in result["lines"].items()}
        seconds = " | ".join(f"{rises[f'{node} s']:+.2f}" for node in NODES)
        print(
            f"| each 1,000 more {result['axis']} | {rises['wall_s']:+.2f} | {rises['cpu_s']:+.2f} | {rises['peak_mib']:+.1f} "
            f"| {rises['stored bytes'] / 2**20:+.2f} | {seconds} |"
        )


def _bytes(folder: pathlib.Path) -> int:
    return sum(os.path.getsize(file) for file in folder.rglob("*") if file.is_file())


def main() -> None:
    """Prints a table and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--axis", choices=AXES, action="append", help="what grows; may be given several times (default: all)")
    parser.add_argument("--quick", action="store_true", help="two small tables only, to see that it works")
    options = parser.parse_args()
    axes = _QUICK if options.quick else {axis: AXES[axis] for axis in options.axis or AXES}
    known: dict[Table, dict[str, Any]] = {}
    results = [sweep(axis, sizes, known) for axis, sizes in axes.items()]
    print_table(results)
    print(json.dumps({"area": "cost", "rows": Table().rows, "ours": known.get(Table()), "stock": None, "detail": results}))


if __name__ == "__main__":
    main()
