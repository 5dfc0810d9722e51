"""The analysis without Beam, beside TensorFlow Transform's own of the same preprocessing function, and over a window that moves on."""

import functools
import pathlib

import numpy as np
import pytest

pytestmark = pytest.mark.tensorflow

tf = pytest.importorskip("tensorflow")
tft = pytest.importorskip("tensorflow_transform")

from tensorflow_transform import beam as tft_beam  # noqa: E402
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils  # noqa: E402

from components.transform import analysis, analyzers, partial_results  # noqa: E402
from components.transform.preprocessing import preprocessing_fn  # noqa: E402
from components.validation import schema_file  # noqa: E402
from tests.components import raw_rows  # noqa: E402

TEXT = """
feature { name: "text" type: BYTES }
feature { name: "empty text" type: BYTES }
feature { name: "channel" type: BYTES }
feature { name: "zip" type: INT int_domain { is_categorical: true } }
feature { name: "price" type: FLOAT }
feature { name: "never" type: FLOAT }
feature { name: "label" type: BYTES not_in_environment: "SERVING" }
default_environment: "TRAINING"
default_environment: "SERVING"
"""
SCHEMA = schema_file.parse(TEXT)
CONFIG = {
    "schema": TEXT,
    "text": ["text", "empty text"],
    "label": "label",
    "encoder": {"name": "tokens", "vocabulary": 20, "min_count": 2, "unknown_buckets": 3},
}
FUNCTION = functools.partial(preprocessing_fn, custom_config=CONFIG)


def rows(start, stop):
    for number in range(start, stop):
        row = {"label": "abc"[number % 7 % 3], "text": f"word{number % 40} word{number % 7} line"}
        if number % 3:
            row |= {"channel": ["mail", "chat", "two\nlines", "", "a\tb"][number % 5], "zip": number % 11}
        if number % 4:
            row["price"] = float(np.sin(number) * 100)
        yield row


def span(folder, number):
    """The file of a span of 300 rows."""
    return raw_rows.write(rows(number * 300, (number + 1) * 300), folder / f"span-{number}.gz")


def made_of(files, folder, kept=None):
    """The graph that is made of files: what its files hold, and what it makes of some rows."""
    analysis.analyse(FUNCTION, SCHEMA, files, str(folder), kept)
    return content(folder)


def content(folder):
    held = {
        str(path.relative_to(folder)): path.read_bytes()
        for part in ("metadata", "transformed_metadata", "transform_fn/assets")
        for path in sorted((pathlib.Path(folder) / part).iterdir())
    }
    spec = schema_utils.schema_as_feature_spec(SCHEMA).feature_spec
    examples = tf.io.parse_example([raw_rows.serialized(row) for row in rows(100, 400)], spec)
    transformed = tft.TFTransformOutput(str(folder)).transform_features_layer()(examples)
    values = {name: tensor.to_list() if hasattr(tensor, "to_list") else tensor.numpy() for name, tensor in transformed.items()}
    return held, values


def assert_same(ours, other):
    assert ours[0] == other[0]
    assert ours[1].keys() == other[1].keys()
    for name, values in ours[1].items():
        np.testing.assert_array_equal(np.asarray(values, object), np.asarray(other[1][name], object), err_msg=name)


class TestAnalyse:
    @pytest.fixture(scope="class")
    def on_beam(self, tmp_path_factory):
        folder = tmp_path_factory.mktemp("beam")
        spec = schema_utils.schema_as_feature_spec(SCHEMA).feature_spec
        instances = [{name: [row[name]] if name in row else [] for name in spec} for row in rows(0, 900)]
        with tft_beam.Context(temp_dir=str(folder / "scratch")):
            function = (instances, dataset_metadata.DatasetMetadata(SCHEMA)) | tft_beam.AnalyzeDataset(FUNCTION)
            _ = function | tft_beam.WriteTransformFn(str(folder / "transform"))
        return folder / "transform"

    @pytest.mark.parametrize("files", [1, 3])
    def test_makes_the_graph_that_beam_makes(self, on_beam, tmp_path, files):
        parts = [
            raw_rows.write(rows(part * 900 // files, (part + 1) * 900 // files), tmp_path / f"{part}.gz") for part in range(files)
        ]
        ours = made_of(parts, tmp_path / "ours")
        # TFX writes it, Beam's part of TensorFlow Transform does not.
        assert ours[0].pop("metadata/schema.pbtxt")
        (on_beam / "metadata").mkdir(exist_ok=True)
        assert_same(ours, content(on_beam))

    def test_of_no_files_at_all_makes_the_graph_of_no_rows(self, tmp_path):
        _, values = made_of([], tmp_path)
        assert set(values["label"].tolist()) == {-1}
        assert np.isfinite(values["numbers"]).all()

    def test_refuses_analyzers_that_only_beam_can_run(self, tmp_path):
        with pytest.raises(ValueError, match="only Beam can run.*tft.vocabulary"):
            analysis.AnalysedGraph(
                lambda inputs: {"label": tft.scale_to_0_1(inputs["price"])},
                schema_file.parse('feature { name: "price" type: FLOAT presence { min_fraction: 1 } shape { dim { size: 1 } } }'),
                str(tmp_path),
            )

    def test_refuses_analyzers_of_analyzed_values(self, tmp_path):
        def twice(inputs):
            values = tf.reshape(tf.sparse.to_dense(inputs["price"]), [-1, 1])
            centred = values - analyzers.quantiles(values, 2, 0.01)
            return {"centred": centred - analyzers.quantiles(centred, 2, 0.01)}

        graph = analysis.AnalysedGraph(twice, SCHEMA, str(tmp_path))
        with pytest.raises(ValueError, match="reads the result of another one"):
            graph.partial(raw_rows.write(rows(0, 10), tmp_path / "rows.gz"))


class TestWindow:
    def test_that_moves_on_reads_the_new_span_only_and_makes_the_same_graph(self, tmp_path, monkeypatch):
        spans = [span(tmp_path, number) for number in range(4)]
        read = []
        partial = analysis.AnalysedGraph.partial

        def watched(graph, file):
            read.append(file)
            return partial(graph, file)

        monkeypatch.setattr(analysis.AnalysedGraph, "partial", watched)
        made_of(spans[:3], tmp_path / "first", partial_results.PartialResults(str(tmp_path / "cache" / "1"), "analysis"))
        assert sorted(read) == spans[:3]
        read.clear()
        kept = made_of(spans[1:], tmp_path / "second", partial_results.PartialResults(str(tmp_path / "cache" / "2"), "analysis"))
        assert read == spans[3:]
        assert_same(kept, made_of(spans[1:], tmp_path / "anew"))
