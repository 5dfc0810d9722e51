import json

import pytest

from components.errors import EnvironmentFailure, UsageError
from components.evaluation.options import EvaluationOptions

pytestmark = pytest.mark.tensorflow

tf = pytest.importorskip("tensorflow")
tfma = pytest.importorskip("tensorflow_model_analysis")
module = pytest.importorskip("components.evaluation.analyse")

CLASSES = ["cancel", "order", "pay"]
# (text, label, language, hour): the models below predict the text's first word.
ROWS = [
    ("pay now", "pay", "de", 1),
    ("order this", "pay", "de", 2),
    ("order that", "order", "fr", 1),
    ("cancel it", "cancel", "fr", None),
    ("pay it back", "refund", None, 2),
] * 150


class FirstWordModel(tf.Module):
    """Gives 0.8 to the class that is the text's first word, and the same to all if it is none."""

    def __init__(self, classes, text_type=tf.string):
        super().__init__()
        keys = tf.lookup.KeyValueTensorInitializer(tf.constant(classes), tf.range(len(classes)))
        self.table = tf.lookup.StaticHashTable(keys, -1)
        self.classes = tf.constant(classes)
        self.text_type = text_type

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def serving_examples(self, inputs):
        spec = tf.io.FixedLenFeature([], self.text_type, default_value="" if self.text_type == tf.string else 0)
        text = tf.io.parse_example(inputs, {"text": spec})["text"]
        first = tf.strings.regex_replace(tf.strings.as_string(text) if text.dtype != tf.string else text, " .*", "")
        count = self.classes.shape[0]
        sure = tf.one_hot(self.table.lookup(first), count, on_value=0.8, off_value=0.2 / (count - 1))
        scores = sure / tf.reduce_sum(sure, axis=1, keepdims=True)
        return {"classes": tf.tile(self.classes[tf.newaxis], [tf.size(inputs), 1]), "scores": scores}


def save(folder, *args):
    model = FirstWordModel(*args)
    tf.saved_model.save(model, str(folder), signatures={"serving_examples": model.serving_examples})
    return str(folder)


def bytes_feature(value):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[] if value is None else [value.encode()]))


def write_examples(folder, rows):
    folder.mkdir()
    for shard in range(2):
        with tf.io.TFRecordWriter(str(folder / f"data-{shard}.gz"), tf.io.TFRecordOptions("GZIP")) as writer:
            for text, label, language, hour in rows[shard::2]:
                feature = {"text": bytes_feature(text), "intent": bytes_feature(label), "language": bytes_feature(language)}
                if hour is not None:
                    feature["hour"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[hour]))
                writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    return str(folder / "*")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Examples, a candidate and baselines."""
    folder = tmp_path_factory.mktemp("world")
    return {
        "examples": write_examples(folder / "test", ROWS),
        "candidate": save(folder / "candidate", CLASSES),
        "baseline": save(folder / "baseline", ["pay", "refund"]),
        "reads_numbers": save(folder / "reads_numbers", CLASSES, tf.int64),
    }


def analyse(world, output_dir, **changes):
    arguments = {
        "model_path": world["candidate"],
        "baseline_path": None,
        "example_pattern": world["examples"],
        "label": "intent",
        "segments": [("language",), ("language", "hour")],
        "train_label_counts": {"pay": 5, "order": 3, "cancel": 2},
        "options": EvaluationOptions(gates=[{"metric": "accuracy", "min": 0.5}], top_k=2),
        "output_dir": str(output_dir),
    }
    return module.analyse(**{**arguments, **changes})


@pytest.fixture(scope="module")
def with_baseline(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("with_baseline")
    return folder, analyse(world, folder, baseline_path=world["baseline"])


def accuracies(model):
    return {tuple(row["slice"].values()): (row["n"], pytest.approx(row["metrics"]["accuracy"])) for row in model["slices"]}


class TestReport:
    def test_measures_every_slice_of_every_segment(self, with_baseline):
        _, report = with_baseline
        assert report["classes"] == CLASSES
        assert accuracies(report["candidate"]) == {
            (): (750, 3 / 5),
            ("de",): (300, 1 / 2),
            ("fr",): (300, 1),
            ("de", "1"): (150, 1),
            ("de", "2"): (150, 0),
            ("fr", "1"): (150, 1),
        }

    def test_maps_the_baseline_by_name(self, with_baseline):
        _, report = with_baseline
        assert report["baseline_problem"] is None
        overall = report["baseline"]["slices"][0]["metrics"]
        # "pay now" only: the baseline knows refund, but no text begins with it, and what it does not know it calls pay.
        assert overall["accuracy"] == pytest.approx(2 / 5)

    def test_is_also_in_metrics_json(self, with_baseline):
        folder, report = with_baseline
        assert json.loads((folder / "metrics.json").read_text()) == report


class TestTfmaResults:
    @pytest.mark.parametrize("model", ["candidate", "baseline"])
    def test_hold_the_same_numbers_for_both_models(self, with_baseline, model):
        folder, report = with_baseline
        result = tfma.load_eval_result(str(folder), model_name=model)
        loaded = {
            tuple(value for _, value in key): {name: next(iter(value.values())) for name, value in metrics[""][""].items()}
            for key, metrics in result.slicing_metrics
        }
        assert len(loaded) == len(report[model]["slices"]) == 6
        for row in report[model]["slices"]:
            expected = {"example_count": row["n"], **row["metrics"]}
            assert loaded[tuple(row["slice"].values())] == pytest.approx(expected)

    def test_of_a_lone_model_need_no_name(self, world, tmp_path):
        report = analyse(world, tmp_path)
        assert report["baseline"] is None
        metrics = dict(tfma.load_eval_result(str(tmp_path)).slicing_metrics)[()][""][""]
        assert metrics["accuracy"]["doubleValue"] == pytest.approx(3 / 5)
        assert metrics["example_count"]["doubleValue"] == 750

    def test_config_names_the_slices_and_the_baseline(self, with_baseline):
        folder, _ = with_baseline
        config = tfma.load_eval_result(str(folder), model_name="candidate").config
        assert [(spec.name, spec.is_baseline) for spec in config.model_specs] == [("candidate", False), ("baseline", True)]
        assert [list(spec.feature_keys) for spec in config.slicing_specs] == [[], ["language"], ["language", "hour"]]


class TestUnusableBaseline:
    def test_is_left_out_with_the_reason_if_it_cannot_read_the_examples(self, world, tmp_path):
        report = analyse(world, tmp_path, baseline_path=world["reads_numbers"])
        assert report["baseline"] is None
        assert "cannot read the test examples" in report["baseline_problem"]
        assert "pay now" not in report["baseline_problem"]

    def test_is_left_out_with_the_reason_if_it_is_gone(self, world, tmp_path):
        report = analyse(world, tmp_path / "out", baseline_path=str(tmp_path / "gone"))
        assert "must be a SavedModel with the signature 'serving_examples'" in report["baseline_problem"]


class TestErrors:
    def test_a_candidate_that_cannot_read_the_examples(self, world, tmp_path):
        with pytest.raises(EnvironmentFailure, match="candidate model .* cannot read the test examples") as error:
            analyse(world, tmp_path, model_path=world["reads_numbers"])
        assert "while running" not in str(error.value)

    def test_no_test_files(self, world, tmp_path):
        with pytest.raises(UsageError, match="test split has no files"):
            analyse(world, tmp_path, example_pattern=str(tmp_path / "*.gz"))

    def test_no_test_rows(self, world, tmp_path):
        with pytest.raises(UsageError, match=r"test split has no rows.*add data$"):
            analyse(world, tmp_path, example_pattern=write_examples(tmp_path / "empty", []))
