from __future__ import annotations

import math

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import statistics_pb2

from components.reporting.statistics import MIN_VALUE_COUNT, summarize

STATISTICS = f"""
datasets {{
  name: "train" num_examples: 10
  features {{
    path {{ step: "fare" }} type: FLOAT
    num_stats {{
      common_stats {{ num_non_missing: 8 num_missing: 2 }}
      mean: 2 std_dev: 1 min: 1 median: 2 max: 3
      histograms {{ type: QUANTILES buckets {{ low_value: 1 high_value: 3 sample_count: 8 }} }}
      histograms {{
        type: STANDARD
        buckets {{ low_value: 1 high_value: 2 sample_count: 6 }}
        buckets {{ low_value: 2 high_value: 3 sample_count: 2 }}
        buckets {{ low_value: 3 high_value: inf sample_count: 0 }}
      }}
    }}
  }}
  features {{
    path {{ step: "text" }} type: STRING
    string_stats {{
      common_stats {{ num_non_missing: 10 }} unique: 9 avg_length: 12.5
      top_values {{ value: "call me on 555" frequency: 9 }}
    }}
  }}
  features {{
    path {{ step: "channel" }} type: STRING
    string_stats {{
      common_stats {{ num_non_missing: 10 }} unique: 3 avg_length: 3
      top_values {{ value: "app" frequency: {MIN_VALUE_COUNT} }}
      top_values {{ value: "ann@example.org" frequency: {MIN_VALUE_COUNT - 1} }}
    }}
  }}
  features {{ path {{ step: "empty" }} type: STRING string_stats {{ common_stats {{ num_missing: 10 }} }} }}
}}
"""


@pytest.fixture
def train():
    stats = text_format.Parse(STATISTICS, statistics_pb2.DatasetFeatureStatisticsList())
    split = summarize(stats, ["text"])["train"]
    assert split["rows"] == 10
    return {feature["name"]: feature for feature in split["features"]}


def test_numbers(train):
    fare = train["fare"]
    assert (fare["type"], fare["mean"], fare["std"], fare["min"], fare["median"], fare["max"]) == ("numeric", 2, 1, 1, 2, 3)
    assert fare["missing"] == pytest.approx(0.2)


def test_the_histogram_is_the_standard_one_without_endless_buckets(train):
    assert train["fare"]["histogram"] == [[1, 2, 6], [2, 3, 2]]
    assert all(math.isfinite(high) for _, high, _ in train["fare"]["histogram"])


def test_text_has_no_values(train):
    assert train["text"] == {"name": "text", "type": "text", "missing": 0.0, "unique": 9, "avg_length": 12.5}


def test_values_that_few_rows_have_are_left_out(train):
    assert train["channel"]["top"] == [["app", MIN_VALUE_COUNT]]


def test_a_column_without_any_value_is_missing_everywhere(train):
    assert train["empty"]["missing"] == 1.0


def test_a_split_without_rows_has_nothing_missing():
    stats = text_format.Parse(
        'datasets { name: "eval" features { path { step: "a" } type: STRING } }', statistics_pb2.DatasetFeatureStatisticsList()
    )
    assert summarize(stats, [])["eval"]["features"][0]["missing"] == 0.0
