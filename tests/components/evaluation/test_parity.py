"""The same predictions through TFMA's own evaluator and through ours.

Where TFMA offers a metric of the same meaning, the numbers are equal to 1e-6. These are not compared, because they mean another thing:

- Precision, recall and F1 of one of many classes: TFMA's are about rows whose score of the class is above 0.5, ours about rows for
  which the class has the highest score. Given ours as its predictions (1 for the answer, 0 for the rest), TFMA's are the same.
- `SparseTopKCategoricalAccuracy` where scores tie across place k: Keras counts all that tie, so a model that says the same to every
  class would always be right; ours takes the first, as argmax does. The rows below have no such ties there.
- `ExampleCount` under weights: TFMA's is weighted unless it is told not to be; our `example_count` is always rows.
- `Calibration` and `CalibrationPlot` are about one class's score, our calibration error about the top score.
- Rows without a value have no slice in TFMA's results, and the slice `(missing)` in ours.
- At a threshold of 1 TFMA counts scores of exactly 1 as above it; our curve ends in zero there.
"""

import dataclasses
import math

import numpy as np
import pytest

from components.evaluation.options import EvaluationOptions

pytestmark = pytest.mark.tensorflow

tf = pytest.importorskip("tensorflow")
tfma = pytest.importorskip("tensorflow_model_analysis")
analyse = pytest.importorskip("components.evaluation.analyse")

import apache_beam as beam  # noqa: E402
from apache_beam.options.pipeline_options import PipelineOptions  # noqa: E402
from google.protobuf import text_format  # noqa: E402
from tensorflow_model_analysis.proto import config_pb2  # noqa: E402
from tfx_bsl.tfxio import tf_example_record  # noqa: E402

from components.evaluation import segments  # noqa: E402
from tests.components.evaluation import small_models  # noqa: E402

TOLERANCE = 1e-6
TOP_K = 3


@dataclasses.dataclass(frozen=True)
class Case:
    """What is evaluated: `classes` many, by stored scores or by models of a table that TFMA runs itself."""

    classes: int
    weighted: bool = False
    baseline: bool = False
    tabular: bool = False
    rows: int = 300

    @property
    def names(self):
        return [f"class {number}" for number in range(self.classes)]

    @property
    def models(self):
        return ["candidate", "baseline"] if self.baseline else ["candidate"]


CASES = {
    "binary": Case(2),
    "six classes, baseline": Case(6, baseline=True),
    "six classes, weighted": Case(6, weighted=True),
    "table, weighted, baseline": Case(2, weighted=True, baseline=True, tabular=True),
}


def scores(generator, label, classes):
    """Scores as models give them; some exactly 0 or 1, some where the two best tie."""
    values = np.exp(generator.normal(size=classes) * 1.5 + 1.5 * np.eye(classes)[label])
    worst, second, best = np.argsort(values)[[0, -2, -1]]
    kind = generator.integers(5)
    if kind == 0:
        # Certain, or almost: where TFMA's thresholds are finest. The others differ, so that no two tie across place k.
        values *= generator.choice([1e-9, generator.uniform(0, 0.001)]) / values[best]
        values[best], values[worst] = 1.0, 0.0
    elif kind == 1:
        values[second] = values[best]
    return (values / values.sum()).astype(np.float32).tolist()


def make_rows(case, seed=0):
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(case.rows):
        label = int(generator.integers(case.classes))
        row = {
            "label": case.names[label],
            "label_id": label,
            # Sums of eighths are exact also where TFMA adds them in single precision.
            "weight": float(generator.integers(0, 17) / 8),
            "language": None if number % 50 == 49 else ["de", "fr"][number % 3 // 2],
            "hour": int(generator.integers(2)),
        }
        if case.tabular:
            row |= {"age": float(np.float32(generator.normal() + label)), "hours": int(generator.integers(-20, 20))}
        else:
            for model in ("candidate", "baseline"):
                row[model] = scores(generator, label, case.classes)
            row["answer"] = np.eye(case.classes)[np.argmax(row["candidate"])].tolist()
        rows.append(row)
    return rows


SLICES = ("", 'feature_keys: "language"', 'feature_keys: ["language", "hour"]')


def stock_configs(case):
    """TFMA's metrics: those that it counts in all slices, and curves, whose slices cost it a second each, in those that ours has."""
    models = [
        f'name: "{model}" label_key: "label_id" prediction_key: "{"scores" if case.tabular else model}"'
        + (f' signature_name: "{small_models.SIGNATURE}" model_type: "tf_generic"' if case.tabular else "")
        + (" is_baseline: true" if model == "baseline" else "")
        for model in case.models
    ]
    many = case.classes > 2
    compared = "model_names: [" + ", ".join(f'"{model}"' for model in case.models) + "]"
    if many:
        # One more model, whose scores are the candidate's answers.
        models.append('name: "answer" label_key: "label_id" prediction_key: "answer"')
    elif not case.baseline:
        compared = ""  # a lone model has no name
    class_ids = " ".join(f"values: {number}" for number in (range(case.classes) if many else [1]))
    equal = " ".join(f"class_weights {{ key: {number} value: 1.0 }}" for number in range(case.classes))

    def metrics(*names):
        return " ".join(f'metrics {{ class_name: "{name}" }}' for name in names)

    rates = metrics("Precision", "Recall", "F1Score", "FPR", "PredictedPositiveRate")
    counted = [
        f"{compared} example_weights {{ unweighted: true }} {metrics('ExampleCount')}",
        f"""{compared} {metrics("WeightedExampleCount", "SparseCategoricalAccuracy", "SparseCategoricalCrossentropy")}
            metrics {{ class_name: "MultiClassConfusionMatrixAtThresholds" config: '"thresholds": [0.0]' }}""",
    ]
    curves = [f"{compared} binarize {{ class_ids {{ {class_ids} }} }} {metrics('AUC', 'AUCPrecisionRecall')}"]
    if many:
        counted += [
            f"""{compared} metrics {{ class_name: "SparseTopKCategoricalAccuracy" config: '"k": {TOP_K}, "name": "top_k"' }}""",
            f'model_names: ["answer"] binarize {{ class_ids {{ {class_ids} }} }} {rates}',
            f'model_names: ["answer"] aggregate {{ macro_average: true {equal} }} {metrics("F1Score", "Recall")}',
            # With a name, because TFMA stores both means under one key.
            f"""model_names: ["answer"] aggregate {{ weighted_macro_average: true {equal} }}
                metrics {{ class_name: "F1Score" config: '"name": "weighted_f1"' }}""",
        ]
        curves.append(f"{compared} aggregate {{ macro_average: true {equal} }} {metrics('AUC', 'AUCPrecisionRecall')}")
    else:
        both = metrics("BinaryAccuracy", "BalancedAccuracy", *(["BinaryCrossEntropy"] if case.tabular else []))
        counted.append(f"{compared} binarize {{ class_ids {{ {class_ids} }} }} {rates} {both}")
        plot = """metrics { class_name: "ConfusionMatrixPlot" config: '"num_thresholds": 100' }"""
        curves.append(f"{compared} binarize {{ class_ids {{ {class_ids} }} }} {plot}")
    weight = 'example_weight_key: "weight"' if case.weighted else ""
    for specs, slices in ((counted, SLICES), (curves, SLICES[: 1 if many else 2])):
        text = " ".join(
            [f"model_specs {{ {model} {weight} }}" for model in models]
            + [f"slicing_specs {{ {slice_} }}" for slice_ in slices]
            + [f"metrics_specs {{ {spec} }}" for spec in specs]
        )
        yield text_format.Parse(text, config_pb2.EvalConfig())


def run_stock(case, paths, pattern, folders):
    for config, folder in zip(stock_configs(case), folders, strict=True):
        shared = None
        if case.tabular:
            shared = [tfma.default_eval_shared_model(paths[name], model_name=name, eval_config=config) for name in case.models]
        source = tf_example_record.TFExampleRecord(pattern, raw_record_column_name=tfma.ARROW_INPUT_COLUMN)
        with beam.Pipeline(options=PipelineOptions(list(analyse.BEAM_ARGS))) as pipeline:
            _ = (
                pipeline
                | source.BeamSource()
                | tfma.ExtractEvaluateAndWriteResults(eval_config=config, eval_shared_model=shared, output_path=folder)
            )


def run_ours(case, paths, pattern, folder):
    return analyse.analyse(
        model_path=paths["candidate"],
        baseline_path=paths.get("baseline"),
        example_pattern=pattern,
        columns=analyse.Columns("label", weight="weight" if case.weighted else None),
        segments=segments.plan([["language"], ["language", "hour"]], [], {}, with_length=False),
        train_label_counts=dict.fromkeys(case.names, 1),
        options=EvaluationOptions.model_validate(
            {
                "gates": [{"metric": "accuracy", "min": 0.1}],
                "top_k": TOP_K,
                "min_rows": 10,
                "weight": "weight" if case.weighted else None,
                "bootstrap": {"replicates": 0},
                "fairness": {
                    "metrics": [
                        {"metric": metric, "class": "class 1"}
                        for metric in ("precision", "recall", "f1", "false_positive_rate", "positive_rate")
                    ]
                },
            }
        ),
        output_dir=folder,
    )


class Both:
    """What both evaluators stored of a case."""

    def __init__(self, case, folder):
        self.case = case
        pattern = small_models.write_split(folder / "test", make_rows(case), files=2)
        paths = {}
        for number, model in enumerate(case.models):
            if case.tabular:
                servable = small_models.Logistic(case.names, slope=1.0 - number / 2)
            else:
                servable = small_models.StoredScores(case.names, model)
            paths[model] = servable.save(folder / model)
        run_stock(case, paths, pattern, [str(folder / "counted"), str(folder / "curves")])
        self.results = run_ours(case, paths, pattern, str(folder / "ours"))
        # The model whose scores are the candidate's answers.
        self.answer = "answer" if case.classes > 2 else "candidate"
        stock_models = list(dict.fromkeys([*case.models, self.answer]))
        self.counted, self.curves = (loaded(folder / name, stock_models) for name in ("counted", "curves"))
        self.ours = loaded(folder / "ours", case.models)


def loaded(folder, models):
    """Returns TFMA's results by model; a lone model has no name."""
    return {model: tfma.load_eval_result(str(folder), model_name=model if len(models) > 1 else "") for model in models}


def _by_slice(result):
    return {tuple((column, str(value)) for column, value in key): metrics[""] for key, metrics in result.slicing_metrics}


def _number(value):
    [content] = value.values() if "value" not in value else [value["value"]]
    return math.nan if content == "NaN" else float(content)


@dataclasses.dataclass(frozen=True)
class Pair:
    """A metric of TFMA's and the one of ours that means the same. `stock_model` answers instead of the candidate."""

    stock: str
    ours: str
    stock_key: str = ""
    stock_model: str | None = None


RATES = {
    "precision": "precision",
    "recall": "recall",
    "f1_score": "f1",
    "fpr": "false_positive_rate",
    "predicted_positive_rate": "positive_rate",
}


def counted_pairs(case):
    """Metrics that are compared in all slices."""
    yield Pair("example_count", "example_count")
    if case.weighted:
        yield Pair("weighted_example_count", "weighted_example_count")
    yield Pair("sparse_categorical_accuracy", "accuracy")
    yield Pair("sparse_categorical_accuracy", "micro_f1")
    yield Pair("sparse_categorical_crossentropy", "log_loss")
    answer = "answer" if case.classes > 2 else None
    for stock, ours in RATES.items():
        yield Pair(stock, f"{ours}(class 1)", "classId:1", stock_model=answer)
    if case.classes == 2:
        yield Pair("binary_accuracy", "accuracy", "classId:1")
        yield Pair("balanced_accuracy", "balanced_accuracy", "classId:1")
    else:
        yield Pair("top_k", "top_k_accuracy")
        yield Pair("macro_average: true\n_f1_score", "macro_f1", stock_model=answer)
        yield Pair("macro_average: true\n_recall", "balanced_accuracy", stock_model=answer)
        yield Pair("macro_average: true\n_weighted_f1", "weighted_f1", stock_model=answer)
    if case.tabular:
        # TFMA does not clip probabilities here, so that scores of 0 and 1 have no cross-entropy.
        yield Pair("binary_crossentropy", "log_loss", "classId:1")


def curve_pairs(case):
    """Areas under curves, of the positive class or of all."""
    if case.classes > 2:
        yield Pair("macro_average: true\n_auc", "auc")
        yield Pair("macro_average: true\n_auc_precision_recall", "pr_auc")
    else:
        yield Pair("auc", "auc", "classId:1")
        yield Pair("auc_precision_recall", "pr_auc", "classId:1")


def compare(stock, both, pair, model="candidate", suffix=""):
    """Yields slice, TFMA's number and ours wherever TFMA and ours have the metric."""
    theirs, ours = _by_slice(stock[pair.stock_model or model]), _by_slice(both.ours[model])
    for slice_, values in theirs.items():
        name = pair.ours + suffix
        if name in ours[slice_][""]:
            # TFMA stores changes of means over classes without saying that they are means.
            stock_name = pair.stock + suffix if not suffix else pair.stock.rpartition("\n_")[2] + suffix
            yield slice_, _number(values[pair.stock_key][stock_name]), _number(ours[slice_][""][name])


def differences(stock, both, pairs, **more):
    """Returns, by metric, slices compared and the largest difference."""
    found = {}
    for pair in pairs:
        compared = list(compare(stock, both, pair, **more))
        apart = [abs(ours - theirs) / max(1.0, abs(theirs)) for _, theirs, ours in compared if not math.isnan(theirs + ours)]
        # Where one has no value, the other has none.
        assert all(math.isnan(theirs) == math.isnan(ours) for _, theirs, ours in compared), pair
        found[pair] = (len(compared), max(apart))
    return found


def assert_equal(found, slices):
    assert {pair: most for pair, (_, most) in found.items() if most > TOLERANCE} == {}
    assert {pair: count for pair, (count, _) in found.items() if count != slices} == {}


@pytest.fixture(scope="module", params=CASES)
def both(request, tmp_path_factory):
    return Both(CASES[request.param], tmp_path_factory.mktemp("parity"))


class TestParity:
    def test_of_what_is_counted_in_every_slice(self, both):
        assert_equal(differences(both.counted, both, counted_pairs(both.case)), slices=7)

    def test_of_areas_under_curves(self, both):
        slices = 1 if both.case.classes > 2 else 3
        assert_equal(differences(both.curves, both, curve_pairs(both.case)), slices)

    def test_of_every_class(self, both):
        rates = _by_slice(both.counted[both.answer])[()]
        curves = _by_slice(both.curves["candidate"])[()]
        names = {"precision": "precision", "recall": "recall", "f1_score": "f1", "auc": "auc", "auc_precision_recall": "pr_auc"}
        # TFMA was asked about the positive class only where there are two.
        for number in range(both.case.classes) if both.case.classes > 2 else [1]:
            theirs = {**rates[f"classId:{number}"], **curves[f"classId:{number}"]}
            ours = both.results.metrics["candidate"]["per_class"][number]
            expected = {names[name]: _number(value) for name, value in theirs.items() if name in names}
            assert {name: ours[name] for name in names.values()} == pytest.approx(expected, abs=TOLERANCE)

    def test_of_the_baseline_and_of_changes(self, both):
        if not both.case.baseline:
            assert list(both.ours) == ["candidate"]
            return
        pairs = [pair for pair in counted_pairs(both.case) if pair.stock_model is None]
        for more in ({"model": "baseline"}, {"suffix": "_diff"}):
            compared = [pair for pair in pairs if "suffix" not in more or "example_count" not in pair.ours]
            assert_equal(differences(both.counted, both, compared, **more), slices=7)
            assert_equal(differences(both.curves, both, curve_pairs(both.case), **more), slices=1 if both.case.classes > 2 else 3)

    def test_of_confusion_matrices(self, both):
        name = "multi_class_confusion_matrix_at_thresholds"
        plots = {tuple(key): plot[""][""] for key, plot in both.ours["candidate"].plots}
        for slice_, metrics in _by_slice(both.counted["candidate"]).items():
            [theirs] = metrics[""][name].values()
            [stock_matrix], [our_matrix] = theirs["matrices"], plots[slice_]["multiClassConfusionMatrixAtThresholds"]["matrices"]
            assert cells(our_matrix) == pytest.approx(cells(stock_matrix), abs=TOLERANCE)

    def test_of_counts_at_thresholds(self, both):
        if both.case.classes > 2:
            assert "classId:1" not in both.ours["candidate"].plots[0][1][""]
            return
        stock, ours = (
            {round(float(row.get("threshold", 0)), 6): row for row in plot["confusionMatrixAtThresholds"]["matrices"]}
            for plot in (plot_of(both.curves["candidate"]), plot_of(both.ours["candidate"]))
        )
        assert len(ours) == 101
        for threshold, row in ours.items():
            for name in ("truePositives", "falsePositives", "trueNegatives", "falseNegatives", "precision", "recall", "f1"):
                if threshold < 1:
                    assert row.get(name, 0) == pytest.approx(stock[threshold].get(name, 0), abs=TOLERANCE), (threshold, name)
        assert ours[1].get("truePositives", 0) == 0

    def test_of_the_gap_between_groups(self, both):
        """TFMA knows differences between two slices that it is told; the gap is that of the best and the worst."""
        entry = next(entry for entry in both.results.metrics["fairness"] if entry["metric"] == "recall(class 1)")
        stock = _by_slice(both.counted[both.answer])
        recall = {group: _number(stock[(("language", group),)]["classId:1"]["recall"]) for group in ("de", "fr")}
        assert entry["gap"] == pytest.approx(abs(recall["de"] - recall["fr"]), abs=TOLERANCE)


def cells(matrix):
    """Weight by actual and predicted class; class 0 is what TFMA's reader leaves out."""
    entries = matrix["entries"]
    found = {
        (row.get("actualClassId", 0), row.get("predictedClassId", 0)): row.get("numWeightedExamples", 0.0) for row in entries
    }
    return {place: weight for place, weight in found.items() if weight}


def plot_of(result):
    return next(plot for key, plot in result.plots if not key)[""]["classId:1"]
