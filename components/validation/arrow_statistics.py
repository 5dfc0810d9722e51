"""TFDV's statistics of stored examples, from Arrow record batches in as many processes as there are cores.

TFDV's generators are combiners: they take batches of rows, what they have gathered can be merged, and at the end it becomes statistics.
TFX runs them inside Beam, whose graph of 450 steps takes ten CPU seconds to build and run before the first row counts. Here they are run
as they are, over the same batches of the same decoder, so that the statistics are the same.
"""

from __future__ import annotations

import concurrent.futures
import gzip
import io
import multiprocessing
import os
import pathlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import process
from typing import Any

import pyarrow as pa
from tensorflow_data_validation.statistics import stats_impl, stats_options
from tensorflow_data_validation.statistics.generators import stats_generator
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2
from tfx_bsl.coders import example_coder

from components.errors import EnvironmentFailure
from serving import tfrecords

# A batch bounds memory; generators work a column of it at a time.
_ROWS_PER_BATCH = 4096
_BATCH_BYTES = 16 << 20
_READ_BYTES = 1 << 20
# Compressed. Less is done before other processes have begun.
_LEAST_BYTES_TO_SHARE = 4 << 20

_Gathered = list[Any]


def compute(
    files: Mapping[str, Sequence[pathlib.Path]],
    schema: schema_pb2.Schema,
    processes: int | None = None,
    least_bytes_to_share: int = _LEAST_BYTES_TO_SHARE,
) -> dict[str, statistics_pb2.DatasetFeatureStatisticsList]:
    """Returns the statistics of each split.

    Files are shared out to processes, forked from this one, and what they gather is merged in the order of the files, so that quantiles,
    which are approximate, and the last digits of means do not depend on how many there are. Which of several equally frequent values
    comes first is chance, as in Beam.

    Args:
      files: By split, its compressed TFRecord files of tf.Examples.
      schema: The curated schema: which integers are categories, and the statistics it asks for.
      processes: At most so many work at once; as many as there are cores if None.
      least_bytes_to_share: With files of fewer bytes altogether this process does all.

    Raises:
      EnvironmentFailure: A file cannot be read to its end, or a process was killed.
    """
    tasks = [(split, path) for split, paths in files.items() for path in paths]
    workers = min(processes or len(os.sched_getaffinity(0)), len(tasks))
    if workers > 1 and sum(path.stat().st_size for _, path in tasks) >= least_bytes_to_share:
        gathered = _in_processes([path for _, path in tasks], schema, workers)
    else:
        gathered = (_gather(path, schema) for _, path in tasks)
    generators = _generators(schema)
    merged: dict[str, _Gathered] = {split: [generator.create_accumulator() for generator in generators] for split in files}
    for (split, _), more in zip(tasks, gathered, strict=True):
        merged[split] = [
            generator.merge_accumulators(pair) for generator, *pair in zip(generators, merged[split], more, strict=True)
        ]
    return {split: stats_impl.extract_statistics_output(merged[split], generators) for split in files}


def _generators(schema: schema_pb2.Schema) -> list[stats_generator.CombinerStatsGenerator]:
    generators = stats_impl.get_generators(stats_options.StatsOptions(schema=schema), in_memory=True)
    for generator in generators:
        generator.setup()
    return generators


def _in_processes(paths: Sequence[pathlib.Path], schema: schema_pb2.Schema, workers: int) -> Iterator[_Gathered]:
    # The pool forks before it starts a thread, and nothing above has started one.
    with concurrent.futures.ProcessPoolExecutor(workers, multiprocessing.get_context("fork")) as pool:
        try:
            yield from pool.map(_gather, paths, [schema] * len(paths))
        except process.BrokenProcessPool as error:
            raise EnvironmentFailure(
                "A process that computed statistics was killed; when nobody did that by hand, the machine ran out of memory. "
                "Use a machine with more memory, then run again: finished nodes are cached"
            ) from error


def _gather(path: pathlib.Path, schema: schema_pb2.Schema) -> _Gathered:
    """What each generator gathers of one file, small enough to be sent to another process."""
    generators = _generators(schema)
    gathered = [generator.create_accumulator() for generator in generators]
    for batch in _batches(path):
        gathered = [generator.add_input(before, batch) for generator, before in zip(generators, gathered, strict=True)]
    return [generator.compact(one) for generator, one in zip(generators, gathered, strict=True)]


def _batches(path: pathlib.Path) -> Iterator[pa.RecordBatch]:
    decoder = example_coder.ExamplesToRecordBatchDecoder()
    pending: list[bytes] = []
    size = 0
    # Records are read in small pieces, which GzipFile answers in Python.
    with gzip.open(path) as content, io.BufferedReader(content, _READ_BYTES) as file:  # type: ignore[type-var]
        try:
            for record in tfrecords.records(file):
                pending.append(record)
                size += len(record)
                if len(pending) >= _ROWS_PER_BATCH or size >= _BATCH_BYTES:
                    yield decoder.DecodeBatch(pending)
                    pending, size = [], 0
        except (tfrecords.TornRecordError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise EnvironmentFailure(
                f"{path} is damaged. Run again with --no-cache, so that the examples are written anew"
            ) from error
    if pending:
        yield decoder.DecodeBatch(pending)
