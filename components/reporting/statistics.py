"""TFDV's statistics as the few plain numbers a report shows."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from tensorflow_metadata.proto.v0 import statistics_pb2

from components.reporting.formats import is_number, shorten

TOP_VALUES = 10
VALUE_LENGTH = 40
# A value that only a few rows have can identify a person (a name, an address, a ticket); a report holds aggregates only.
MIN_VALUE_COUNT = 5

_Feature = statistics_pb2.FeatureNameStatistics
_NUMERIC = (_Feature.INT, _Feature.FLOAT)


def summarize(stats: statistics_pb2.DatasetFeatureStatisticsList, text_columns: Collection[str]) -> dict[str, Any]:
    """Returns the statistics of each split as plain JSON values.

    Args:
      stats: One dataset per split, named after it.
      text_columns: Columns that hold messages; none of their values is returned.

    Returns:
      `{split: {"rows": n, "features": [...]}}`. A feature has name, type (numeric, text, categorical) and missing (a share of
      the rows). A numeric one has mean, std, min, median, max and histogram ([low, high, count] each); any other has unique and
      avg_length (bytes). A categorical one also has top ([value, count] each, most frequent first, without the values that
      fewer than MIN_VALUE_COUNT rows have).
    """
    return {
        dataset.name: {
            "rows": dataset.num_examples,
            "features": [_feature(feature, dataset.num_examples, text_columns) for feature in dataset.features],
        }
        for dataset in stats.datasets
    }


def _feature(feature: statistics_pb2.FeatureNameStatistics, rows: int, text_columns: Collection[str]) -> dict[str, Any]:
    name = feature.name or ".".join(feature.path.step)
    numeric = feature.type in _NUMERIC and feature.HasField("num_stats")
    kind = "text" if name in text_columns else "numeric" if numeric else "categorical"
    summary = {"name": name, "type": kind}
    if numeric:
        return summary | {"missing": _missing(feature.num_stats.common_stats, rows)} | _numbers(feature.num_stats)
    # Bytes that are not UTF-8 have no values to show, and an all-missing column may have no statistics at all.
    common = getattr(feature, feature.WhichOneof("stats") or "string_stats").common_stats
    strings = feature.string_stats
    summary |= {"missing": _missing(common, rows), "unique": strings.unique, "avg_length": strings.avg_length}
    if kind == "categorical":
        summary["top"] = [
            [shorten(top.value, VALUE_LENGTH), int(top.frequency)]
            for top in strings.top_values[:TOP_VALUES]
            if top.frequency >= MIN_VALUE_COUNT
        ]
    return summary


def _missing(common: statistics_pb2.CommonStatistics, rows: int) -> float:
    # Rows without the feature may be absent from num_missing, so what is there is counted.
    return 1 - common.num_non_missing / rows if rows else 0.0


def _numbers(numeric: statistics_pb2.NumericStatistics) -> dict[str, Any]:
    standard = (histogram for histogram in numeric.histograms if histogram.type == statistics_pb2.Histogram.STANDARD)
    histogram = next(standard, statistics_pb2.Histogram())
    return {
        "mean": numeric.mean,
        "std": numeric.std_dev,
        "min": numeric.min,
        "median": numeric.median,
        "max": numeric.max,
        "histogram": [
            [bucket.low_value, bucket.high_value, bucket.sample_count]
            for bucket in histogram.buckets
            if is_number(bucket.low_value) and is_number(bucket.high_value)
        ],
    }
