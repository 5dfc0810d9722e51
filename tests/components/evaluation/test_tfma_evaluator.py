import dataclasses
import json
import pickle

import pytest

pytestmark = pytest.mark.tensorflow

tfma = pytest.importorskip("tensorflow_model_analysis")
tfma_evaluator = pytest.importorskip("components.evaluation.tfma_evaluator")
analyse = pytest.importorskip("components.evaluation.analyse")

import apache_beam as beam  # noqa: E402
from apache_beam.options.pipeline_options import PipelineOptions  # noqa: E402
from tensorflow_model_analysis.proto import config_pb2  # noqa: E402
from tensorflow_model_analysis.view import view_types  # noqa: E402

from components.evaluation.accumulate import Accumulator  # noqa: E402
from tests.components.evaluation import scored  # noqa: E402

OPTIONS = {
    "gates": [
        {"metric": "accuracy", "min": 0.5},
        {"metric": "accuracy", "min": 0.99, "slices": {"language": "fr"}, "judge_by": "value"},
    ],
    "min_rows": 10,
    "bootstrap": {"replicates": 20},
}
TWO_MODELS = {"candidate": ["no", "yes"], "baseline": ["no", "yes"]}


def run(subject, folder, batches, beam_args=analyse.BEAM_ARGS):
    """Runs the evaluator between an extractor and TFMA's writers, as `analyse` does."""
    config = tfma_evaluator.eval_config(subject, "serving_examples", "label", subject.options.weight)
    with beam.Pipeline(options=PipelineOptions(list(beam_args))) as pipeline:
        evaluation = (
            pipeline
            | beam.Create(batches)
            | beam.Map(lambda batch, key: {key: batch}, key=tfma_evaluator.SCORED_ROWS)
            | tfma_evaluator.evaluator(subject).ptransform
        )
        _ = evaluation | tfma.WriteResults(
            writers=[*tfma.default_writers(str(folder), eval_config=config), tfma_evaluator.writer(str(folder))]
        )
    return tfma_evaluator.Results.read(str(folder))


@pytest.fixture(scope="module")
def subject():
    return scored.subject(OPTIONS, TWO_MODELS)


@pytest.fixture(scope="module")
def batches(subject):
    return [scored.rows(subject, n=80, seed=seed) for seed in range(3)]


@pytest.fixture(scope="module")
def written(subject, batches, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    return str(folder), run(subject, folder, batches)


class TestEvaluator:
    def test_stores_what_one_accumulator_measures(self, subject, batches, written):
        metrics, confusion, verdict = scored.results(subject, *batches)
        assert written[1].confusion == confusion
        assert_close(written[1].metrics, metrics)
        assert_close(written[1].verdict, verdict)

    def test_the_number_of_workers_and_the_order_of_batches_change_nothing(self, subject, batches, written, tmp_path):
        threads = ["--direct_running_mode=multi_threading", "--direct_num_workers=2"]
        again = run(subject, tmp_path, batches[::-1], [analyse.BEAM_ARGS[0], *threads])
        assert_close(dataclasses.asdict(again), dataclasses.asdict(written[1]))

    def test_an_accumulator_travels(self, subject, batches):
        """Workers exchange them pickled, also half full ones."""
        plan = tfma_evaluator.report.plan(subject)
        parts = []
        for batch in batches:
            accumulator = Accumulator(plan)
            accumulator.add(batch)
            parts.append(pickle.loads(pickle.dumps(accumulator)))
        combine = tfma_evaluator._Accumulate(plan)
        merged = combine.extract_output(combine.merge_accumulators(parts))
        metrics, _ = tfma_evaluator.report.report(merged, subject)
        assert_close(metrics, scored.results(subject, *batches)[0])


def assert_close(found, expected):
    """Compares JSON values; sums of another order differ in their last digits."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            assert_close(found[key], expected[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_close(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)
    else:
        assert found == expected


class TestTfmaReader:
    def test_finds_metrics_of_both_models_and_slices(self, written):
        folder, results = written
        for model in TWO_MODELS:
            result = tfma.load_eval_result(folder, model_name=model)
            assert len(result.slicing_metrics) == len(results.metrics[model]["slices"]) == 7
            for row in results.metrics[model]["slices"]:
                found = result.get_metrics_for_slice(tuple(sorted(row["slice"].items())))
                assert found["accuracy"]["boundedValue"]["value"] == row["metrics"]["accuracy"]

    def test_finds_the_candidate_where_no_model_is_named(self, written):
        folder, results = written
        overall = tfma.load_eval_result(folder).get_metrics_for_slice()
        assert overall["macro_f1"]["doubleValue"] == results.metrics["candidate"]["slices"][0]["metrics"]["macro_f1"]
        assert "macro_f1_diff" in overall

    def test_finds_the_verdict(self, written):
        folder, results = written
        assert not results.verdict["blessed"]
        validation = tfma.load_validation_result(folder)
        assert not validation.validation_ok
        [of_slice] = validation.metric_validations_per_slice
        assert of_slice.slice_key.single_slice_keys[0].bytes_value == b"fr"
        assert "must be at least 0.9900" in of_slice.failures[0].message

    def test_finds_the_configuration(self, written):
        config = tfma.load_eval_result(written[0]).config
        assert [(spec.name, spec.is_baseline, spec.label_key) for spec in config.model_specs] == [
            ("candidate", False, "label"),
            ("baseline", True, "label"),
        ]
        assert [list(spec.feature_keys) for spec in config.slicing_specs] == [[], ["language"], ["language", "app"]]

    def test_a_lone_blessed_model_needs_no_name(self, tmp_path):
        subject = scored.subject({"gates": [{"metric": "accuracy", "min": 0.1}], "weight": "price"}, {"candidate": ["no", "yes"]})
        run(subject, tmp_path, [scored.rows(subject)])
        result = tfma.load_eval_result(str(tmp_path))
        assert "accuracy" in result.get_metrics_for_slice()
        assert result.config.model_specs[0].example_weight_key == "price"
        assert len(result.plots) == 7
        assert tfma.load_validation_result(str(tmp_path)).validation_ok


class TestTfmaViews:
    """They hand widgets what the notebook's JavaScript draws."""

    @pytest.fixture
    def result(self, written):
        return tfma.load_eval_result(written[0], model_name="candidate")

    def test_slicing_metrics(self, result):
        assert len(tfma.view.render_slicing_metrics(result).data) == 1
        widget = tfma.view.render_slicing_metrics(result, slicing_column="language")
        assert {row["slice"] for row in widget.data} == {"language:de", "language:fr"}
        # The bar chart is over this column.
        assert widget.config == {"weightedExamplesColumn": "example_count"}
        assert all("example_count" in row["metrics"][""][""] for row in widget.data)
        json.dumps(widget.data)

    def test_slices_of_a_specification(self, result):
        spec = config_pb2.SlicingSpec(feature_keys=["app"], feature_values={"language": "de"})
        widget = tfma.view.render_slicing_metrics(result, slicing_spec=spec)
        assert {row["slice"] for row in widget.data} == {"app_X_language:app_X_de", "app_X_language:web_X_de"}

    def test_plots(self, result):
        overall = tfma.view.render_plot(result)
        assert {"calibrationHistogramBuckets", "multiClassConfusionMatrixAtThresholds"} == overall.data.keys()
        of_slice = tfma.view.render_plot(result, slicing_spec=config_pb2.SlicingSpec(feature_values={"language": "fr"}))
        assert of_slice.data["multiClassConfusionMatrixAtThresholds"]["matrices"][0]["entries"]
        positive = tfma.view.render_plot(result, class_id=1)
        assert len(positive.data["confusionMatrixAtThresholds"]["matrices"]) == 101

    def test_time_series(self, result):
        results = view_types.EvalResults([result, result], tfma.constants.MODEL_CENTRIC_MODE)
        assert len(tfma.view.render_time_series(results).data) == 2

    def test_time_series_of_folders(self, written):
        results = tfma.load_eval_results([written[0]] * 2, mode=tfma.constants.DATA_CENTRIC_MODE, model_name="candidate")
        german = config_pb2.SlicingSpec(feature_values={"language": "de"})
        assert len(tfma.view.render_time_series(results, slicing_spec=german).data) == 2


class TestResults:
    def test_are_read_as_written(self, tmp_path):
        results = tfma_evaluator.Results({"a": 1}, {"labels": ["ü"]}, {"blessed": True})
        results.write(str(tmp_path))
        assert tfma_evaluator.Results.read(str(tmp_path)) == results

    def test_refuse_numbers_that_json_does_not_have(self, tmp_path):
        with pytest.raises(ValueError, match="not JSON compliant"):
            tfma_evaluator.Results({"a": float("nan")}, {}, {}).write(str(tmp_path))
