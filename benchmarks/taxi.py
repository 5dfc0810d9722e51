"""The whole pipeline on Chicago taxi trips beside stock TFX: same rows, schema, preprocessing and model, alternating.

    python -m benchmarks.taxi [--rows N]... [--rounds N]

The 15,002 trips that ship with tfx are repeated to the number of rows asked for. Both sides read one CSV file that holds the label
already and start from an empty folder, as a command of its own whose imports count; then each runs once more on what it left, for the
cached rerun. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import sys
import tempfile
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import yaml

from benchmarks import measure, stock_tfx
from components.ingestion import source_path
from components.training.options import ModelOptions

_PROJECT = pathlib.Path(__file__).resolve().parent.parent
_SOURCE = "package:tfx/examples/chicago_taxi_pipeline/data/simple/data.csv"
_SCHEMA = _PROJECT / "schemas" / "taxi" / "schema.pbtxt"
_SEGMENT = "trip_start_hour"
_ROWS = (15_002, 150_020, 1_500_200)
# An epoch over many rows is long enough, and the trainer is the same on both sides.
_EPOCHS = 2


def write_trips(path: pathlib.Path, rows: int) -> None:
    """Writes so many trips as CSV, with the label and without the columns that give it away."""
    trips = pa_csv.read_csv(source_path.resolve(_SOURCE))
    big = pc.fill_null(pc.greater(trips["tips"], pc.multiply(0.2, trips["fare"])), False)
    trips = trips.append_column("big_tip", pc.if_else(big, "true", "false"))
    trips = trips.append_column("big_tip_number", big.cast(pa.int64())).drop_columns(["tips", "payment_type"])
    with open(path, "wb") as file:
        # Stock TFX takes a header as it stands, quotes and all.
        file.write((",".join(trips.column_names) + "\n").encode())
        options = pa_csv.WriteOptions(include_header=False, quoting_style="needed")
        for start in range(0, rows, trips.num_rows):
            pa_csv.write_csv(trips.slice(0, min(trips.num_rows, rows - start)), file, options)


def stock_command(folder: pathlib.Path, trips: pathlib.Path) -> list[str]:
    """The command that runs stock TFX on the trips."""
    job = stock_tfx.Job(
        folder=str(folder),
        data=str(trips.parent),
        schema=str(_SCHEMA),
        text=(),
        label="big_tip",
        label_number="big_tip_number",
        classes=2,
        segment=_SEGMENT,
        model=ModelOptions(epochs=_EPOCHS).model_dump(mode="json"),
    )
    return [sys.executable, "-m", "benchmarks.stock_tfx", json.dumps(dataclasses.asdict(job))]


def our_command(folder: pathlib.Path, trips: pathlib.Path) -> list[str]:
    """The command that runs Parlance on the trips."""
    pipeline_file = folder / "taxi.yaml"
    pipeline_file.write_text(
        yaml.safe_dump(
            {
                "name": "taxi",
                "data": {
                    "source": {"type": "csv", "path": str(trips)},
                    "label": "big_tip",
                    "segments": [_SEGMENT],
                    "exclude": ["big_tip_number"],
                },
                "schema": str(_SCHEMA),
                "model": {"epochs": _EPOCHS},
                "evaluation": {"gates": [{"metric": "accuracy", "min": 0.0}]},
            }
        )
    )
    return [sys.executable, "-m", "pipeline.cli", "run", str(pipeline_file), "--root", str(folder / "root"), "--output", "json"]


def run_once(side: str, folder: pathlib.Path, trips: pathlib.Path) -> dict[str, Any]:
    """Runs one side; returns what it took, with seconds by node and overall metrics."""
    folder.mkdir(exist_ok=True)
    make = {"stock": stock_command, "ours": our_command}[side]
    printed, taken = measure.command(make(folder, trips))
    if side == "stock":
        return {**taken, **json.loads(printed.strip().splitlines()[-1])}
    record = json.loads(printed)
    nodes = {node["id"]: node["seconds"] for node in record["nodes"]}
    states = {node["id"]: node["state"] for node in record["nodes"]}
    return {**taken, "nodes": nodes, "states": states, "metrics": record["metrics"]}


def compare(rows: int, rounds: int) -> dict[str, Any]:
    """Runs both sides in turn; returns medians, ratios and what every run took."""
    cold: dict[str, list[dict[str, Any]]] = {"ours": [], "stock": []}
    again: dict[str, list[dict[str, Any]]] = {"ours": [], "stock": []}
    with tempfile.TemporaryDirectory() as scratch:
        trips = pathlib.Path(scratch) / "data" / "data.csv"
        trips.parent.mkdir()
        write_trips(trips, rows)
        for number in range(rounds):
            for side in ("ours", "stock"):
                folder = pathlib.Path(scratch) / f"{side}{number}"
                cold[side].append(run_once(side, folder, trips))
                again[side].append(run_once(side, folder, trips))
    return {"rows": rows, **_summary("cold", cold), **_summary("unchanged", again), "runs": {"cold": cold, "unchanged": again}}


def _summary(name: str, runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    for measurements in runs.values():
        for measurement in measurements:
            measurement["untrained_s"] = measurement["wall_s"] - measurement["nodes"].get("Trainer", 0.0)
    sides = {
        side: {
            number: round(measure.median(measurements, number), 2) for number in ("wall_s", "untrained_s", "cpu_s", "peak_mib")
        }
        for side, measurements in runs.items()
    }
    ratios = {number: round(sides["ours"][number] / sides["stock"][number], 3) for number in sides["ours"]}
    return {name: {**sides, "ratio": ratios}}


def main() -> None:
    """Prints a table and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rows", type=int, action="append", help="trips; may be given several times (default: 15002 150020 1500200)"
    )
    parser.add_argument("--rounds", type=int, default=1, help="runs of each side (default: %(default)s)")
    options = parser.parse_args()
    results = [compare(rows, options.rounds) for rows in options.rows or _ROWS]
    print("| rows | run | Parlance s | stock TFX s | ratio | without the trainer | peak memory MiB |")
    print("|---|---|---|---|---|---|---|")
    for result in results:
        for name in ("cold", "unchanged"):
            ours, stock, ratio = (result[name][side] for side in ("ours", "stock", "ratio"))
            print(
                f"| {result['rows']:,} | {name} | {ours['wall_s']:.1f} | {stock['wall_s']:.1f} | {ratio['wall_s']:.2f} "
                f"| {ratio['untrained_s']:.2f} | {ours['peak_mib']:.0f} / {stock['peak_mib']:.0f} |"
            )
    last = results[-1]["cold"]
    print(
        json.dumps(
            {
                "area": "taxi",
                "rows": results[-1]["rows"],
                "ours": last["ours"],
                "stock": last["stock"],
                "wall_ratio": last["ratio"]["wall_s"],
                "detail": results,
            }
        )
    )


if __name__ == "__main__":
    main()
