"""Taxi trips through Parlance's stages and through TensorFlow's own libraries, as stock TFX uses them: the same numbers.

Stock's side reads the same CSV file with TFDV's reader, analyses columns one by one with TFT's analyzers, and evaluates with TFMA's
metrics. The evaluator is compared in depth, on cases made for it, in evaluation/test_parity.py.
"""

import collections
import pathlib

import numpy as np
import pytest

pytestmark = pytest.mark.tensorflow

tf = pytest.importorskip("tensorflow")
tfdv = pytest.importorskip("tensorflow_data_validation")
tfma = pytest.importorskip("tensorflow_model_analysis")
tft = pytest.importorskip("tensorflow_transform")

import apache_beam as beam  # noqa: E402
from apache_beam.options.pipeline_options import PipelineOptions  # noqa: E402
from google.protobuf import text_format  # noqa: E402
from tensorflow_metadata.proto.v0 import statistics_pb2  # noqa: E402
from tensorflow_model_analysis.proto import config_pb2  # noqa: E402
from tensorflow_transform import beam as tft_beam  # noqa: E402
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils  # noqa: E402
from tfx_bsl.tfxio import tf_example_record  # noqa: E402

from benchmarks import taxi  # noqa: E402
from components.evaluation import analyse, segments  # noqa: E402
from components.evaluation.options import EvaluationOptions  # noqa: E402
from components.ingestion import ingest  # noqa: E402
from components.ingestion.options import DataOptions  # noqa: E402
from components.training.options import NgramsOptions  # noqa: E402
from components.transform.columns import RESERVED_CATEGORIES, Columns  # noqa: E402
from components.validation import arrow_statistics, schema_file  # noqa: E402
from tests.components import raw_rows  # noqa: E402
from tests.components.evaluation import small_models  # noqa: E402
from tests.conftest import PROJECT  # noqa: E402

ROWS = 3000
LABEL = "big_tip"
# Strings, and integers with and without missing ones; every column costs TFT a second.
CATEGORIES = ("company", "trip_start_hour", "pickup_community_area")
SCHEMA = (PROJECT / "schemas" / "taxi" / "schema.pbtxt").read_text(encoding="utf-8")
BEAM = PipelineOptions(list(analyse.BEAM_ARGS))


class Taxi:
    """The first trips of the table that ships with tfx: as a CSV file, and as ingestion stores them."""

    def __init__(self, folder):
        self.folder = folder
        self.csv = folder / "trips.csv"
        taxi.write_trips(self.csv, ROWS)
        self.schema = schema_file.parse(SCHEMA)
        options = DataOptions.model_validate({"source": {"type": "csv", "path": str(self.csv)}, "label": LABEL})
        ingest.ingest(options, self.schema, None, str(folder / "examples"), str(folder / "quarantine"))
        self.pattern = str(folder / "examples" / "Split-*" / "*.gz")
        spec = schema_utils.schema_as_feature_spec(self.schema).feature_spec
        parsed = tf.io.parse_example(
            list(tf.data.TFRecordDataset(tf.io.gfile.glob(self.pattern), "GZIP").as_numpy_iterator()), spec
        )
        dense = {name: tf.RaggedTensor.from_sparse(values).to_list() for name, values in parsed.items()}
        self.rows = [
            {name: values[row][0].decode() if isinstance(values[row][0], bytes) else values[row][0]
             for name, values in dense.items() if values[row]}
            for row in range(ROWS)
        ]  # fmt: skip
        self.columns = Columns.of(self.schema, [], LABEL)


@pytest.fixture(scope="module")
def trips(tmp_path_factory):
    return Taxi(tmp_path_factory.mktemp("taxi"))


class TestStatistics:
    """Those that the node makes of what ingestion stored, beside those that TFDV makes of the same files and of the CSV file itself."""

    @pytest.fixture(scope="class")
    def node(self, trips):
        """The statistics of all splits together."""
        files = sorted(pathlib.Path(path) for path in tf.io.gfile.glob(trips.pattern))
        return arrow_statistics.compute({"all": files}, trips.schema)["all"]

    def test_are_those_of_tfdv_by_way_of_beam(self, trips, node):
        options = tfdv.StatsOptions(schema=trips.schema)
        stock = tfdv.generate_statistics_from_tfrecord(trips.pattern, stats_options=options, pipeline_options=BEAM)
        assert_same_statistics(node, stock)

    @pytest.fixture(scope="class")
    def both(self, trips, node):
        options = tfdv.StatsOptions(schema=trips.schema, infer_type_from_schema=True)
        stock = tfdv.generate_statistics_from_csv(str(trips.csv), stats_options=options, pipeline_options=BEAM)
        return [
            {
                feature.path.step[0]: feature
                for feature in statistics.datasets[0].features
                if feature.path.step[0] != "big_tip_number"
            }
            for statistics in (node, stock)
        ]

    def test_are_of_the_same_columns_and_types(self, both):
        ours, stock = both
        assert ours.keys() == stock.keys() == {feature.name for feature in schema_file.parse(SCHEMA).feature}
        # A column without a single value has no type in tf.Examples, and no statistics that could differ.
        valued = [name for name, feature in stock.items() if common(feature).num_non_missing]
        assert len(valued) >= len(stock) - 1
        assert {name: ours[name].type for name in valued} == {name: stock[name].type for name in valued}

    def test_count_the_same_values(self, both):
        ours, stock = both
        for name, feature in stock.items():
            for field in ("num_non_missing", "num_missing", "tot_num_values"):
                assert getattr(common(ours[name]), field) == getattr(common(feature), field), (name, field)

    def test_of_numbers_agree(self, both):
        ours, stock = both
        numbers = [name for name, feature in stock.items() if feature.WhichOneof("stats") == "num_stats"]
        assert "fare" in numbers
        for name in numbers:
            mine, other = ours[name].num_stats, stock[name].num_stats
            assert (mine.min, mine.max, mine.num_zeros) == (other.min, other.max, other.num_zeros), name
            np.testing.assert_allclose([mine.mean, mine.std_dev], [other.mean, other.std_dev], rtol=1e-5, err_msg=name)
            # A sketch's, which sees the rows in another order.
            np.testing.assert_allclose(mine.median, other.median, atol=0.02 * (other.max - other.min), err_msg=name)

    def test_of_strings_agree(self, both):
        ours, stock = both
        strings = [name for name, feature in stock.items() if feature.WhichOneof("stats") == "string_stats"]
        assert {"company", LABEL} <= set(strings)
        for name in strings:
            mine, other = ours[name].string_stats, stock[name].string_stats
            assert mine.unique == other.unique, name
            assert mine.avg_length == pytest.approx(other.avg_length, rel=1e-5), name
            assert ranked(mine) == ranked(other), name


def common(feature: statistics_pb2.FeatureNameStatistics):
    return getattr(feature, feature.WhichOneof("stats")).common_stats


def ranked(statistics):
    """How often each of the most frequent values occurs."""
    return {bucket.label: bucket.sample_count for bucket in statistics.rank_histogram.buckets}


def assert_same_statistics(ours, stock):
    """Equal messages, but for the last digits of sums and for the order of values that are equally frequent."""
    [mine], [other] = ours.datasets, stock.datasets
    assert mine.num_examples == other.num_examples
    assert [feature.path for feature in mine.features] == [feature.path for feature in other.features]
    for feature, expected in zip(mine.features, other.features, strict=True):
        name = feature.path.step[0]
        kind = expected.WhichOneof("stats")
        assert feature.WhichOneof("stats") == kind, name
        first, second = (without_chance(getattr(one, kind)) for one in (feature, expected))
        for field in ("mean", "std_dev", "avg_length"):
            if hasattr(first, field):
                assert getattr(first, field) == pytest.approx(getattr(second, field), rel=1e-9), (name, field)
                setattr(first, field, getattr(second, field))
        assert first == second, name


def without_chance(statistics):
    """A copy in which values that are equally frequent stand in the order of their text; the top values cut at a tie may be any."""
    copy = type(statistics)()
    copy.CopyFrom(statistics)
    if hasattr(copy, "rank_histogram"):
        buckets = sorted(copy.rank_histogram.buckets, key=lambda bucket: (-bucket.sample_count, bucket.label))
        for rank, bucket in enumerate(buckets):
            bucket.low_rank = bucket.high_rank = rank
        del copy.rank_histogram.buckets[:]
        copy.rank_histogram.buckets.extend(buckets)
        for value in copy.top_values:
            value.value = ""
    return copy


class TestTransform:
    """One graph for all columns, made by Parlance's analyzers, beside TFT's own analyzers, one for each column."""

    @pytest.fixture(scope="class")
    def ours(self, trips):
        encoder = NgramsOptions().model_dump(mode="json")
        config = {"schema": SCHEMA, "text": [], "label": LABEL, "encoder": encoder}
        return tft.TFTransformOutput(str(raw_rows.analyse(trips.rows, config, trips.folder / "ours")))

    @pytest.fixture(scope="class")
    def stock(self, trips):
        """What TFT's own analyzers find, by column: the values of categories and label, the most frequent first."""
        strings = [*CATEGORIES, LABEL]

        def preprocessing_fn(inputs):
            outputs = {}
            for name in strings:
                values = inputs[name]
                if values.dtype != tf.string:
                    values = tf.sparse.map_values(tf.strings.as_string, values)
                least = 1 if name == LABEL else 2
                outputs[name] = tft.compute_and_apply_vocabulary(values, frequency_threshold=least, vocab_filename=name)
            return outputs

        spec = schema_utils.schema_as_feature_spec(trips.schema).feature_spec
        rows = [{name: [row[name]] if name in row else [] for name in spec} for row in trips.rows]
        with tft_beam.Context(temp_dir=str(trips.folder / "scratch")):
            metadata = dataset_metadata.DatasetMetadata.from_feature_spec(spec)
            function = (rows, metadata) | tft_beam.AnalyzeDataset(preprocessing_fn)
            _ = function | tft_beam.WriteTransformFn(str(trips.folder / "stock"))
        return tft.TFTransformOutput(str(trips.folder / "stock"))

    def test_labels_have_the_same_places(self, ours, stock):
        assert ours.vocabulary_by_name("label") == stock.vocabulary_by_name(LABEL)

    def test_categories_are_the_same_values_the_most_frequent_first(self, trips, ours, stock):
        lines = ours.vocabulary_by_name("categories")
        for name in CATEGORIES:
            position = trips.columns.categorical.index(name)
            prefix = b"%d\t" % position
            block = [line.removeprefix(prefix) for line in lines if line.partition(b"\t")[0] == b"%d" % position]
            mine, other = block[RESERVED_CATEGORIES:], stock.vocabulary_by_name(name)
            rows = collections.Counter(str(row[name]).encode() for row in trips.rows if name in row)
            assert set(mine) == set(other), name
            # Where values are equally frequent, their order is nobody's promise.
            assert [rows[value] for value in mine] == [rows[value] for value in other], name
            assert len(mine) >= 2

    def test_numbers_are_parted_at_the_same_places(self, trips, ours):
        """TFT's ranks between the exact quantiles, beside ours between those of a sketch."""
        examples = [raw_rows.serialized(row) for row in trips.rows]
        spec = schema_utils.schema_as_feature_spec(trips.schema).feature_spec
        ranks = ours.transform_features_layer()(tf.io.parse_example(examples, spec))["numbers"].numpy()
        for position, name in enumerate(trips.columns.numeric):
            has = np.array([name in row for row in trips.rows])
            values = np.array([row[name] for row in trips.rows if name in row], np.float32)
            exact = np.quantile(values, np.arange(1, 100) / 100, method="inverted_cdf").astype(np.float32)
            expected = tft.apply_buckets_with_interpolation(tf.constant(values), [exact]).numpy()
            # Half a per cent is the sketch's error; values that occur often may lie on either side of it.
            assert np.quantile(np.abs(ranks[has, position] - expected), 0.95) < 0.02, name


class TestMetrics:
    """Of trips scored by their fare: TFMA's evaluator and ours, overall and for each company."""

    @pytest.fixture(scope="class")
    def both(self, trips):
        rows = []
        for row in trips.rows:
            positive = 1 / (1 + np.exp(3 - row.get("fare", 0.0) / 8))
            big = row[LABEL] == "true"
            rows.append(
                {
                    "label": row[LABEL],
                    "label_id": int(big),
                    "company": row.get("company", "none"),
                    "scores": [1 - positive, positive],
                }
            )
        pattern = small_models.write_split(trips.folder / "test", rows, files=2)
        model = small_models.StoredScores(["false", "true"], "scores").save(trips.folder / "model")
        analyse.analyse(
            model_path=model,
            baseline_path=None,
            example_pattern=pattern,
            columns=analyse.Columns("label", weight=None),
            segments=segments.plan([["company"]], [], {}, with_length=False),
            train_label_counts={"false": 1, "true": 1},
            options=EvaluationOptions.model_validate(
                {"gates": [{"metric": "accuracy", "min": 0.1}], "min_rows": 1, "bootstrap": {"replicates": 0}}
            ),
            output_dir=str(trips.folder / "evaluation"),
        )
        counted = """
            metrics { class_name: "ExampleCount" } metrics { class_name: "SparseCategoricalAccuracy" }
            metrics { class_name: "SparseCategoricalCrossentropy" }"""
        # A curve costs TFMA a second for each slice.
        curve = 'binarize { class_ids { values: 1 } } metrics { class_name: "AUC" }'
        run_stock(pattern, trips.folder / "counted", 'slicing_specs {} slicing_specs { feature_keys: "company" }', counted)
        run_stock(pattern, trips.folder / "curve", "slicing_specs {}", curve)
        return [by_slice(trips.folder / name) for name in ("evaluation", "counted", "curve")]

    @pytest.mark.parametrize(
        ("stock_key", "stock", "ours"),
        [
            ("", "example_count", "example_count"),
            ("", "sparse_categorical_accuracy", "accuracy"),
            ("", "sparse_categorical_crossentropy", "log_loss"),
            ("classId:1", "auc", "auc"),
        ],
    )
    def test_are_equal(self, both, stock_key, stock, ours):
        mine, counted, curve = both
        other = curve if stock_key else counted
        assert len(other) == (1 if stock_key else len(mine)) == len(other.keys() & mine.keys())
        for slice_, values in other.items():
            assert number(mine[slice_][""][ours]) == pytest.approx(number(values[stock_key][stock]), abs=1e-6), slice_


def run_stock(pattern, folder, slices, metrics):
    model = 'model_specs { label_key: "label_id" prediction_key: "scores" }'
    config = text_format.Parse(f"{model} {slices} metrics_specs {{ {metrics} }}", config_pb2.EvalConfig())
    source = tf_example_record.TFExampleRecord(pattern, raw_record_column_name=tfma.ARROW_INPUT_COLUMN)
    with beam.Pipeline(options=BEAM) as pipeline:
        _ = pipeline | source.BeamSource() | tfma.ExtractEvaluateAndWriteResults(eval_config=config, output_path=str(folder))


def by_slice(folder):
    result = tfma.load_eval_result(str(folder))
    return {tuple((column, str(value)) for column, value in key): metrics[""] for key, metrics in result.slicing_metrics}


def number(value):
    return float(next(iter(value.values())))
