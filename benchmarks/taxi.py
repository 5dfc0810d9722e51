"""The whole pipeline on Chicago taxi trips beside stock TFX: same rows, schema, preprocessing and model, alternating.

    python -m benchmarks.taxi [--rows N]... [--rounds N] [--cold-only]

The 15,002 trips that ship with tfx are repeated to the number of rows asked for. Both sides read one CSV file that holds the label
already and start from an empty folder, as a command of its own whose imports count; then each runs once more on what it left, for the
cached rerun. `without the trainer` leaves out the seconds in which nothing but the trainer was at work, which is the same on both sides.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from benchmarks import measure, stock_tfx, whole_run
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


def run_once(side: str, folder: pathlib.Path, trips: pathlib.Path) -> dict[str, Any]:
    """Runs one side on the trips; returns what `whole_run` says of it. Ours leaves `taxi.yaml` in the folder."""
    folder.mkdir(exist_ok=True)
    if side == measure.STOCK:
        return whole_run.stock(
            stock_tfx.Job(
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
        )
    return whole_run.ours(
        folder,
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
        },
    )


def compare(rows: int, rounds: int, unchanged: bool = True) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Runs both sides in turn.

    Args:
      rows: Trips.
      rounds: Runs of each side.
      unchanged: Whether each runs once more on what it left.

    Returns:
      What every run took, by `cold` and `unchanged` and by side.
    """
    kinds = ("cold", "unchanged") if unchanged else ("cold",)
    taken: dict[str, dict[str, list[dict[str, Any]]]] = {kind: {measure.OURS: [], measure.STOCK: []} for kind in kinds}
    with tempfile.TemporaryDirectory() as scratch:
        trips = pathlib.Path(scratch) / "data" / "data.csv"
        trips.parent.mkdir()
        write_trips(trips, rows)
        for number in range(rounds):
            for side in (measure.OURS, measure.STOCK):
                folder = pathlib.Path(scratch) / f"{side}{number}"
                for kind in kinds:
                    taken[kind][side].append(run_once(side, folder, trips))
    return taken


def comparisons(rows: int, taken: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]) -> list[dict[str, Any]]:
    """Sums up what `compare` returned: cold, cold without the trainer, and unchanged."""
    cold = measure.compared("taxi, cold", taken["cold"], rows)
    untrained = measure.compared("taxi, cold, without the trainer", taken["cold"], rows, "untrained_s")
    again = [measure.compared("taxi, unchanged rerun", taken["unchanged"], rows)] if "unchanged" in taken else []
    return [cold, untrained, *again]


def main() -> None:
    """Prints a table and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rows", type=int, action="append", help="trips; may be given several times (default: 15002 150020 1500200)"
    )
    parser.add_argument("--rounds", type=int, default=1, help="runs of each side (default: %(default)s)")
    parser.add_argument("--cold-only", action="store_true", help="leave the unchanged reruns out")
    options = parser.parse_args()
    taken = {rows: compare(rows, options.rounds, not options.cold_only) for rows in options.rows or _ROWS}
    summed_up = [row for rows, runs in taken.items() for row in comparisons(rows, runs)]
    print(measure.table(summed_up))
    for rows, runs in taken.items():
        print(f"\n{rows:,} rows, cold, first run of each side:\n")
        print(whole_run.nodes_table({side: measured[0] for side, measured in runs["cold"].items()}))
    # The last size's cold run stands for the area.
    headline = max(place for place, row in enumerate(summed_up) if row["what"] == "taxi, cold")
    print(json.dumps(measure.result("taxi", summed_up, {str(rows): runs for rows, runs in taken.items()}, headline)))


if __name__ == "__main__":
    main()
