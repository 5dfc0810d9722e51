"""Voice commands: ingestion beside stock TFX's CsvExampleGen, the whole pipeline beside stock TFX's, and memory on many rows.

    python -m benchmarks.intents [--rows N]... [--rounds N] [--part {ingestion,whole}]... [--stock-limit N]
    python -m benchmarks.intents --large [N]
    python -m benchmarks.intents --compression [--rows N]
    python -m benchmarks.intents --profile {csv,parquet} [--rows N]

Utterances are drawn from the grammar of the default job and written as CSV and as Parquet. Those beyond the 60,000 that are drawn have a
made-up word each, so that no two rows of a table are equal.

`ingestion`: each side ingests as a command of its own: our node (schema, conforming, splits by group, fingerprint, quarantine, examples)
and TFX's (type inference, splits by hash, examples). Seconds are of the ingestion itself, without imports, which both sides time in their
own process; memory is of the whole command.

`whole`: both sides run their whole pipeline from the CSV file, with the same schema, preprocessing, network and epochs, and with rows of
one template in one split. Memory is the sum over all processes, and the table by node says what was at work when there was most.

Beyond `--stock-limit` rows only ours is measured. `--large` runs nothing but our whole pipeline, once, from Parquet. `--compression`
compares what examples may be compressed with, see `compression`. `--profile` does nothing but ingest once in a single thread, and prints
the functions that take the most time. But for the profile, the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import collections
import cProfile
import json
import pathlib
import pstats
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from benchmarks import compression, measure, stock_tfx, whole_run
from benchmarks.ingestion import made_up_words

_PROJECT = pathlib.Path(__file__).resolve().parent.parent
_SCHEMA = _PROJECT / "schemas" / "intents" / "schema.pbtxt"
_LANGUAGES = ("de", "el", "en", "es", "fr", "nl", "pl", "pt", "ru", "th")
_ROWS = (60_000, 1_000_000)
_LARGE = 5_000_000
_COMPRESSED_ROWS = 200_000
_DISTINCT_ROWS = 60_000
_ROWS_PER_GROUP = 200_000
_LABEL_NUMBER = "label_number"
# An epoch over many rows is long enough, and the trainer is the same on both sides.
_EPOCHS = 2
_MOST_FUNCTIONS = 30
_PARTS = ("ingestion", "whole")


def write_tables(folder: pathlib.Path, rows: int, kinds: Sequence[str] = ("csv", "parquet")) -> int:
    """Writes `csv/data.csv` and `parquet/data.parquet` with so many utterances; returns how many labels they have.

    The column `label_number` has the label's place in the vocabulary that stock TFX will make of its split `train`.
    """
    from components.ingestion import home_assistant_intents

    drawn = home_assistant_intents.sample(_LANGUAGES, min(rows, _DISTINCT_ROWS), seed=0).combine_chunks()
    places = stock_tfx.label_places(_train_counts(drawn, rows))
    numbers = pa.array([places[label] for label in drawn["intent"].to_pylist()], pa.int64())
    drawn = drawn.append_column(_LABEL_NUMBER, numbers)
    writers: dict[str, Any] = {}
    for kind in kinds:
        (folder / kind).mkdir()
        path = folder / kind / f"data.{kind}"
        writers[kind] = open(path, "wb") if kind == "csv" else pq.ParquetWriter(path, drawn.schema)  # noqa: SIM115 - closed below
    if "csv" in writers:
        # Stock TFX takes a header as it stands, quotes and all.
        writers["csv"].write((",".join(drawn.column_names) + "\n").encode())
    for start in range(0, rows, _ROWS_PER_GROUP):
        part = _rows(drawn, np.arange(start, min(start + _ROWS_PER_GROUP, rows)))
        if "csv" in writers:
            pa_csv.write_csv(part, writers["csv"], pa_csv.WriteOptions(include_header=False, quoting_style="needed"))
        if "parquet" in writers:
            writers["parquet"].write_table(part)
    for writer in writers.values():
        writer.close()
    return len(places)


def _train_counts(drawn: pa.Table, rows: int) -> dict[str, int]:
    """Rows of each label in stock's split `train`, of so many rows in all."""
    times = np.full(len(drawn), rows // len(drawn)) + (np.arange(len(drawn)) < rows % len(drawn))
    trains = {group: stock_tfx.trains_on(group) for group in set(drawn["template"].to_pylist())}
    counts: collections.Counter[str] = collections.Counter()
    for label, group, count in zip(drawn["intent"].to_pylist(), drawn["template"].to_pylist(), times.tolist(), strict=True):
        counts[label] += count if trains[group] else 0
    return dict(counts)


def _rows(drawn: pa.Table, numbers: np.ndarray) -> pa.Table:
    part = drawn.take(pa.array(numbers % len(drawn)))
    worded = pc.binary_join_element_wise(part["text"], made_up_words(numbers), " ")
    return part.set_column(0, "text", pc.if_else(pa.array(numbers < len(drawn)), part["text"], worded))


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
            "exclude": [_LABEL_NUMBER],
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


def ingestion(folder: pathlib.Path, rows: int, rounds: int, with_stock: bool) -> list[dict[str, Any]]:
    """Ingests with all sides in turn; returns comparisons of seconds, from CSV and from Parquet."""
    sides = [(measure.OURS, "csv"), (measure.OURS, "parquet")] + ([(measure.STOCK, "csv")] if with_stock else [])
    taken: dict[tuple[str, str], list[dict[str, Any]]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, kind in sides:
            command = [sys.executable, "-m", "benchmarks.intents", "--side", side, "--folder", str(folder), "--kind", kind]
            printed, used = measure.command(command)
            taken[side, kind].append({**used, **json.loads(printed.strip().splitlines()[-1])})
    found = []
    for kind, shown in (("csv", "CSV"), ("parquet", "Parquet")):
        runs = {side: measured for (side, other), measured in taken.items() if other == kind}
        found.append(measure.compared(f"intents, ingestion from {shown}", runs, rows, "seconds"))
    return found


def run_once(side: str, folder: pathlib.Path, tables: pathlib.Path, kind: str, classes: int) -> dict[str, Any]:
    """Runs one side's whole pipeline; returns what `whole_run` says of it.

    Args:
      side: `ours` or `stock`.
      folder: An empty one.
      tables: What `write_tables` wrote.
      kind: `csv` or `parquet`.
      classes: Labels in the tables.
    """
    from components.training.options import ModelOptions

    folder.mkdir()
    if side == measure.STOCK:
        return whole_run.stock(
            stock_tfx.Job(
                folder=str(folder),
                data=str(tables / kind),
                schema=str(_SCHEMA),
                text=("text",),
                label="intent",
                label_number=_LABEL_NUMBER,
                classes=classes,
                segment="language",
                model=ModelOptions(epochs=_EPOCHS).model_dump(mode="json"),
                group="template",
            )
        )
    return whole_run.ours(
        folder,
        {
            "name": "intents",
            "data": {
                "source": {"type": kind, "path": str(tables / kind / f"data.{kind}")},
                "text": "text",
                "label": "intent",
                "segments": ["language"],
                "group": "template",
                "split": {"by": "group"},
                "exclude": [_LABEL_NUMBER],
            },
            "schema": str(_SCHEMA),
            "model": {"epochs": _EPOCHS},
            "evaluation": {"gates": [{"metric": "accuracy", "min": 0.0}]},
        },
    )


def whole(
    tables: pathlib.Path, classes: int, rounds: int, with_stock: bool, kind: str = "csv"
) -> dict[str, list[dict[str, Any]]]:
    """Runs whole pipelines in turn, each in an empty folder that is gone afterwards; returns what they took, by side."""
    taken: dict[str, list[dict[str, Any]]] = {side: [] for side in (measure.OURS, measure.STOCK)[: 1 + with_stock]}
    for _ in range(rounds):
        for side, runs in taken.items():
            with tempfile.TemporaryDirectory() as scratch:
                runs.append(run_once(side, pathlib.Path(scratch, side), tables, kind, classes))
    return taken


def whole_comparisons(rows: int, runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Sums up what `whole` returned: the whole runs, and without the trainer."""
    return [
        measure.compared("intents, whole pipeline", runs, rows),
        measure.compared("intents, whole pipeline without the trainer", runs, rows, "untrained_s"),
    ]


def compare(rows: int, rounds: int, parts: Sequence[str], stock_limit: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Measures some parts with so many rows; returns comparisons, and what every whole run took, by side."""
    with tempfile.TemporaryDirectory() as scratch:
        tables = pathlib.Path(scratch)
        classes = write_tables(tables, rows)
        found = ingestion(tables, rows, rounds, rows <= stock_limit) if "ingestion" in parts else []
        runs = whole(tables, classes, rounds, rows <= stock_limit) if "whole" in parts else {}
    return found + (whole_comparisons(rows, runs) if runs else []), runs


def large(rows: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Runs our whole pipeline from Parquet; returns what `compare` returns."""
    with tempfile.TemporaryDirectory() as scratch:
        tables = pathlib.Path(scratch)
        classes = write_tables(tables, rows, ("parquet",))
        runs = whole(tables, classes, 1, False, "parquet")
    return whole_comparisons(rows, runs), runs


def main() -> None:
    """Prints a table and one JSON object; with --side, measures one side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rows", type=int, action="append", help="utterances; may be given several times (default: 60000 1000000)"
    )
    parser.add_argument("--rounds", type=int, default=1, help="runs of each side (default: %(default)s)")
    parser.add_argument("--part", choices=_PARTS, action="append", help="what is measured (default: all)")
    parser.add_argument(
        "--stock-limit", type=int, default=60_000, metavar="N", help="rows beyond which stock is left out (default: %(default)s)"
    )
    parser.add_argument(
        "--large", type=int, nargs="?", const=_LARGE, metavar="N", help=f"ours on so many rows ({_LARGE:,}) instead"
    )
    parser.add_argument("--compression", action="store_true", help="compare compressions of examples instead")
    parser.add_argument("--profile", choices=("csv", "parquet"), help="show where our time goes instead")
    parser.add_argument("--side", choices=(measure.OURS, measure.STOCK), help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--kind", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps({measure.OURS: ours, measure.STOCK: stock}[options.side](options.folder, options.kind)))
        return
    if options.profile:
        profile((options.rows or _ROWS)[0], options.profile)
        return
    if options.compression:
        with tempfile.TemporaryDirectory() as scratch:
            rows = (options.rows or [_COMPRESSED_ROWS])[0]
            write_tables(pathlib.Path(scratch), rows, ("parquet",))
            compression.print_comparison(pq.read_table(f"{scratch}/parquet/data.parquet"))
        return
    found: list[dict[str, Any]] = []
    detail: dict[str, Any] = {}
    for rows in [options.large] if options.large else options.rows or _ROWS:
        if options.large:
            summed_up, runs = large(rows)
        else:
            summed_up, runs = compare(rows, options.rounds, options.part or _PARTS, options.stock_limit)
        found += summed_up
        detail[str(rows)] = runs
    print(measure.table(found))
    for size, runs in detail.items():
        if runs:
            print(f"\nWhole pipeline, {int(size):,} rows, first run of each side:\n")
            print(whole_run.nodes_table({side: measured[0] for side, measured in runs.items()}))
    print(json.dumps(measure.result("intents", found, detail)))


if __name__ == "__main__":
    main()
