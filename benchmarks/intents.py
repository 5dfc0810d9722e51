"""Ingestion of voice commands, beside stock TFX's CsvExampleGen, and how its memory grows with rows.

    python -m benchmarks.intents [--rows N]... [--rounds N] [--stock-limit N]
    python -m benchmarks.intents --profile {csv,parquet} [--rows N]

Utterances are drawn from the grammar of the default job, written as CSV and as Parquet, and ingested by each side as a command of its
own: our node (schema, conforming, splits by group, fingerprint, quarantine, examples) and TFX's (type inference, splits by hash,
examples). Beyond `--stock-limit` rows only ours is measured. Rows a second are of the ingestion itself, without imports, which both
sides time in their own process; wall time, processor time and memory are of the whole command. The last line is one JSON object.

`--profile` does nothing but ingest once in a single thread, and prints the functions that take the most time.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pathlib
import pstats
import sys
import tempfile
import time
from typing import Any
from unittest import mock

import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from benchmarks import measure

_PROJECT = pathlib.Path(__file__).resolve().parent.parent
_SCHEMA = _PROJECT / "schemas" / "intents" / "schema.pbtxt"
_LANGUAGES = ("de", "el", "en", "es", "fr", "nl", "pl", "pt", "ru", "th")
_ROWS = (60_000, 1_000_000)
# More are drawn again from the beginning: rows may repeat, as messages do.
_DISTINCT_ROWS = 60_000
_MOST_FUNCTIONS = 30


def write_tables(folder: pathlib.Path, rows: int) -> None:
    """Writes `csv/data.csv` and `parquet/data.parquet` with so many utterances."""
    from components.ingestion import home_assistant_intents

    drawn = min(rows, _DISTINCT_ROWS)
    table = home_assistant_intents.sample(_LANGUAGES, drawn, seed=0)
    (folder / "csv").mkdir()
    (folder / "parquet").mkdir()
    with (
        open(folder / "csv" / "data.csv", "wb") as file,
        pq.ParquetWriter(folder / "parquet" / "data.parquet", table.schema) as parquet,
    ):
        # Stock TFX takes a header as it stands, quotes and all.
        file.write((",".join(table.column_names) + "\n").encode())
        for start in range(0, rows, drawn):
            part = table.slice(0, min(drawn, rows - start))
            pa_csv.write_csv(part, file, pa_csv.WriteOptions(include_header=False, quoting_style="needed"))
            parquet.write_table(part)


def ours(folder: str, kind: str) -> dict[str, Any]:
    """Ingests with Parlance; returns rows and seconds."""
    from components.ingestion.ingest import ingest
    from components.ingestion.options import DataOptions
    from components.validation import schema_file

    options = DataOptions.model_validate(
        {
            "source": {"type": kind, "path": f"{folder}/{kind}"},
            "text": "text",
            "label": "intent",
            "segments": ["language"],
            "group": "template",
            "split": {"by": "group"},
        }
    )
    with tempfile.TemporaryDirectory() as scratch:
        started = time.perf_counter()
        summary = ingest(options, schema_file.read(_SCHEMA), None, f"{scratch}/examples", f"{scratch}/quarantine")
        return {"rows": sum(summary["rows"].values()), "seconds": time.perf_counter() - started}


def profile(rows: int, kind: str) -> None:
    """Prints where the time of an ingestion goes."""
    from components.ingestion import in_order

    profiler = cProfile.Profile()
    with (
        tempfile.TemporaryDirectory() as folder,
        # The profiler sees one thread, so what is worked on side by side is worked on in that.
        mock.patch.object(in_order, "in_order", lambda work, items: (work(item) for item in items)),
    ):
        write_tables(pathlib.Path(folder), rows)
        ours(folder, kind)  # imports, and tables that are made once
        profiler.runcall(ours, folder, kind)
    pstats.Stats(profiler).strip_dirs().sort_stats("tottime").print_stats(_MOST_FUNCTIONS)


def stock(folder: str, kind: str) -> dict[str, Any]:
    """Ingests with TFX's CsvExampleGen; returns rows and seconds."""
    from tfx import v1 as tfx

    with tempfile.TemporaryDirectory() as scratch:
        splits = [
            tfx.proto.SplitConfig.Split(name=name, hash_buckets=buckets)
            for name, buckets in (("train", 8), ("eval", 1), ("test", 1))
        ]
        pipeline = tfx.dsl.Pipeline(
            pipeline_name="stock",
            pipeline_root=scratch,
            components=[
                tfx.components.CsvExampleGen(
                    input_base=f"{folder}/{kind}",
                    output_config=tfx.proto.Output(split_config=tfx.proto.SplitConfig(splits=splits)),
                )
            ],
            metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(f"{scratch}/metadata.db"),
            beam_pipeline_args=["--direct_running_mode=in_memory"],
        )
        started = time.perf_counter()
        tfx.orchestration.LocalDagRunner().run(pipeline)
        return {"seconds": time.perf_counter() - started}


def compare(rows: int, rounds: int, with_stock: bool) -> dict[str, Any]:
    """Runs the sides in turn; returns medians."""
    sides = [("ours", "csv"), ("ours", "parquet")] + ([("stock", "csv")] if with_stock else [])
    taken: dict[tuple[str, str], list[dict[str, Any]]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as folder:
        write_tables(pathlib.Path(folder), rows)
        for _ in range(rounds):
            for side, kind in sides:
                command = [sys.executable, "-m", "benchmarks.intents", "--side", side, "--folder", folder, "--kind", kind]
                printed, used = measure.command(command)
                taken[side, kind].append({**used, **json.loads(printed.strip().splitlines()[-1])})
    result: dict[str, Any] = {"rows": rows}
    for (side, kind), measurements in taken.items():
        numbers = {name: round(measure.median(measurements, name), 2) for name in ("seconds", "wall_s", "cpu_s", "peak_mib")}
        result[f"{side} {kind}"] = {**numbers, "rows_per_s": round(rows / numbers["seconds"])}
    return result


def main() -> None:
    """Prints a table and one JSON object; with --side, measures one side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rows", type=int, action="append", help="utterances; may be given several times (default: 60000 1000000)"
    )
    parser.add_argument("--rounds", type=int, default=1, help="runs of each side (default: %(default)s)")
    parser.add_argument("--stock-limit", type=int, default=1_000_000, metavar="N", help="rows beyond which stock is left out")
    parser.add_argument("--profile", choices=("csv", "parquet"), help="show where our time goes instead")
    parser.add_argument("--side", choices=("ours", "stock"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--kind", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps({"ours": ours, "stock": stock}[options.side](options.folder, options.kind)))
        return
    if options.profile:
        profile((options.rows or _ROWS)[0], options.profile)
        return
    results = [compare(rows, options.rounds, rows <= options.stock_limit) for rows in options.rows or _ROWS]
    print("| rows | side | seconds | rows a second | command, wall s | processor s | peak memory MiB |")
    print("|---|---|---|---|---|---|---|")
    for result in results:
        for name, numbers in result.items():
            if name != "rows":
                print(
                    f"| {result['rows']:,} | {name} | {numbers['seconds']:.1f} | {numbers['rows_per_s']:,} | {numbers['wall_s']:.1f} "
                    f"| {numbers['cpu_s']:.1f} | {numbers['peak_mib']:.0f} |"
                )
    last = results[-1]
    stock_side = last.get("stock csv")
    print(
        json.dumps(
            {
                "area": "intents",
                "rows": last["rows"],
                "ours": last["ours csv"],
                "stock": stock_side,
                "wall_ratio": round(last["ours csv"]["wall_s"] / stock_side["wall_s"], 3) if stock_side else None,
                "detail": results,
            }
        )
    )


if __name__ == "__main__":
    main()
