import pathlib

import pytest

from components.errors import EnvironmentFailure, UsageError
from components.evaluation import scored_sample, segments
from components.evaluation.options import EvaluationOptions

pytestmark = pytest.mark.tensorflow

tf = pytest.importorskip("tensorflow")
tfma = pytest.importorskip("tensorflow_model_analysis")
module = pytest.importorskip("components.evaluation.analyse")

from tests.components.evaluation import small_models  # noqa: E402

CLASSES = ["cancel", "order", "pay"]
SECRET = "confidential"
# (text, label, language, hour); the models below predict the text's first word.
KINDS = [
    ("pay now", "pay", "de", 1),
    ("order this", "pay", "de", 2),
    ("order that", "order", "fr", 1),
    ("cancel it", "cancel", "fr", None),
    ("pay it back", "refund", None, 2),
]
ROWS = [
    {"text": text, "intent": label, "language": language, "hour": hour, "price": 1.0 + place, "thread": f"t{number // 3}"}
    for number in range(60)
    for place, (text, label, language, hour) in enumerate(KINDS)
]
GATES = [{"metric": "accuracy", "min": 0.5}]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A split, a candidate and baselines."""
    folder = tmp_path_factory.mktemp("world")
    return {
        "examples": small_models.write_split(folder / "test", ROWS, files=2),
        "candidate": small_models.FirstWord(CLASSES, threshold=0.5).save(folder / "candidate"),
        "baseline": small_models.FirstWord(["pay", "refund"]).save(folder / "baseline"),
        "reads_numbers": small_models.FirstWord(CLASSES, text_type=tf.int64).save(folder / "reads_numbers"),
    }


def analyse(world, output_dir, options=None, columns=None, by=(("language",), ("language", "hour")), **changes):
    arguments = {
        "model_path": world["candidate"],
        "baseline_path": None,
        "example_pattern": world["examples"],
        "columns": module.Columns("intent", **(columns or {})),
        "segments": segments.plan(by, [], {}, with_length=False),
        "train_label_counts": {"pay": 5, "order": 3, "cancel": 2},
        "options": EvaluationOptions.model_validate(
            {"gates": GATES, "top_k": 2, "bootstrap": {"replicates": 0}, **(options or {})}
        ),
        "output_dir": str(output_dir),
    }
    return module.analyse(**{**arguments, **changes})


@pytest.fixture(scope="module")
def with_baseline(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("with_baseline")
    return folder, analyse(world, folder, baseline_path=world["baseline"])


def accuracies(model):
    return {tuple(row["slice"].values()): (row["n"], pytest.approx(row["metrics"]["accuracy"])) for row in model["slices"]}


class TestResults:
    def test_measure_every_slice_of_every_segment(self, with_baseline):
        _, results = with_baseline
        assert results.metrics["classes"] == CLASSES
        assert accuracies(results.metrics["candidate"]) == {
            (): (300, 3 / 5),
            ("de",): (120, 1 / 2),
            ("fr",): (120, 1),
            ("(missing)",): (60, 0),
            ("de", "1"): (60, 1),
            ("de", "2"): (60, 0),
            ("fr", "1"): (60, 1),
            ("fr", "(missing)"): (60, 1),
            ("(missing)", "2"): (60, 0),
        }

    def test_map_the_baseline_by_name(self, with_baseline):
        _, results = with_baseline
        assert results.metrics["baseline_problem"] is None
        assert results.metrics["labels"] == [*CLASSES, "refund"]
        overall = results.metrics["baseline"]["slices"][0]["metrics"]
        # The baseline knows refund, but no text begins with it, and what it does not know it calls pay.
        assert overall["accuracy"] == pytest.approx(2 / 5)

    def test_hold_labels_training_has_not_seen_and_no_class_has(self, world, tmp_path):
        results = analyse(world, tmp_path)
        cells = {(actual, predicted): weight for actual, predicted, weight in results.confusion["candidate"][0]}
        assert cells[3, 2] == 60

    def test_hold_what_the_model_abstains_from(self, world, tmp_path):
        unsure = [row | {"text": "who knows"} for row in ROWS[:100]] + ROWS[100:]
        results = analyse(world, tmp_path / "out", example_pattern=small_models.write_split(tmp_path / "test", unsure))
        assert results.metrics["abstain_threshold"] == 0.5
        assert results.metrics["candidate"]["slices"][0]["metrics"]["coverage"] == pytest.approx(2 / 3)

    def test_are_weighted_by_a_column(self, world, tmp_path):
        results = analyse(world, tmp_path, options={"weight": "price"}, columns={"weight": "price"})
        overall = results.metrics["candidate"]["slices"][0]
        assert (overall["n"], overall["weight"]) == (300, 60 * 15)
        assert overall["metrics"]["accuracy"] == pytest.approx((1 + 3 + 4) / 15)

    def test_are_also_in_the_folder(self, with_baseline):
        folder, results = with_baseline
        assert module.tfma_evaluator.Results.read(str(folder)) == results

    def test_are_what_tfma_finds(self, with_baseline):
        folder, results = with_baseline
        validation = tfma.load_validation_result(str(folder))
        assert validation.validation_ok == results.verdict["blessed"] is True
        result = tfma.load_eval_result(str(folder), model_name="baseline")
        assert result.get_metrics_for_slice()["accuracy"]["doubleValue"] == pytest.approx(2 / 5)
        assert pathlib.Path(result.model_location).name == "baseline"
        assert pathlib.Path(result.data_location).name == "test"


class TestData:
    def test_a_segment_no_row_has(self, world, tmp_path):
        results = analyse(world, tmp_path, by=[("channel",)])
        assert accuracies(results.metrics["candidate"]) == {(): (300, 3 / 5), ("(missing)",): (300, 3 / 5)}

    def test_lengths_and_buckets(self, world, tmp_path):
        planned = segments.plan([("price",)], ["text"], {"price": [1, 2, 3, 4, 5]}, with_length=True)
        results = analyse(world, tmp_path, segments=planned)
        assert {tuple(row["slice"].items())[0] for row in results.metrics["candidate"]["slices"] if row["slice"]} == {
            ("price", "below 2"),
            ("price", "2 to 3"),
            ("price", "3 to 4"),
            ("price", "4 or more"),
            ("length(text)", "0 to 10"),
            ("length(text)", "11 to 20"),
        }

    def test_one_row(self, world, tmp_path):
        pattern = small_models.write_split(tmp_path / "test", ROWS[:1])
        results = analyse(world, tmp_path / "out", example_pattern=pattern, options={"bootstrap": {"replicates": 20}})
        overall = results.metrics["candidate"]["slices"][0]
        assert (overall["n"], overall["metrics"]["accuracy"]) == (1, 1.0)
        assert results.verdict["blessed"]

    def test_scores_that_are_not_numbers_are_wrong(self, tmp_path):
        rows = [{"intent": "pay", "scores": [0.1, 0.2, 0.7]}, {"intent": "pay", "scores": [0.1, float("nan"), 0.9]}]
        world = {
            "examples": small_models.write_split(tmp_path / "test", rows),
            "candidate": small_models.StoredScores(CLASSES, "scores").save(tmp_path / "model"),
        }
        results = analyse(world, tmp_path / "out", by=[])
        overall = results.metrics["candidate"]["slices"][0]
        assert (overall["unusable"], overall["metrics"]["accuracy"]) == (1, 0.5)
        assert any("not numbers" in note for note in results.metrics["notes"])

    def test_files_may_be_uncompressed_and_any_number(self, world, with_baseline, tmp_path):
        pattern = small_models.write_split(tmp_path / "test", ROWS, files=7, compressed=False)
        results = analyse(world, tmp_path / "out", example_pattern=pattern, baseline_path=world["baseline"])
        assert_same_numbers(results, with_baseline[1])

    def test_more_workers_change_nothing_and_nor_do_files_where_groups_are_drawn(self, world, tmp_path):
        options = {"bootstrap": {"replicates": 20}}
        pattern = small_models.write_split(tmp_path / "test", ROWS[::-1], files=3)
        threads = [module.BEAM_ARGS[0], "--direct_running_mode=multi_threading", "--direct_num_workers=2"]
        grouped = {"options": options, "columns": {"group": "thread"}}
        one = analyse(world, tmp_path / "one", **grouped)
        other = analyse(world, tmp_path / "other", example_pattern=pattern, beam_args=threads, **grouped)
        assert one.metrics["bootstrap"]["unit"] == "thread"
        assert_same_numbers(one, other)
        intervals = [[row["intervals"] for row in results.metrics["candidate"]["slices"]] for results in (one, other)]
        assert [found["accuracy"] for found in intervals[0]] == [pytest.approx(found["accuracy"]) for found in intervals[1]]
        low, high = intervals[0][0]["accuracy"]
        assert low < 0.6 < high or low == high


def assert_same_numbers(one, other):
    assert one.confusion == other.confusion
    assert one.metrics["segments"] == other.metrics["segments"]
    for row, same in zip(one.metrics["candidate"]["slices"], other.metrics["candidate"]["slices"], strict=True):
        assert (row["slice"], row["n"]) == (same["slice"], same["n"])
        assert row["metrics"] == pytest.approx(same["metrics"], nan_ok=True)
    assert one.verdict["findings"] == other.verdict["findings"]


class TestUnusableBaseline:
    @pytest.mark.parametrize(
        ("baseline", "problem"), [("gone", "must be a SavedModel"), ("reads_numbers", "cannot read the test examples")]
    )
    def test_is_left_out_with_the_reason(self, world, tmp_path, baseline, problem):
        results = analyse(world, tmp_path, baseline_path=world.get(baseline, str(tmp_path / baseline)))
        assert results.metrics["baseline"] is None
        assert problem in results.metrics["baseline_problem"]
        assert "pay now" not in results.metrics["baseline_problem"]
        assert "not compared with the last blessed model" in results.verdict["baseline"]["note"]

    def test_is_left_out_also_if_only_later_rows_show_it(self, world, tmp_path):
        baseline = TextAsNumber(CLASSES).save(tmp_path / "baseline")
        results = analyse(world, tmp_path / "out", baseline_path=baseline, example_pattern=turns_into_words(tmp_path), by=[])
        assert results.metrics["candidate"]["slices"][0]["n"] == 1026
        assert "cannot read the test examples" in results.metrics["baseline_problem"]
        assert SECRET not in results.metrics["baseline_problem"]
        # The first attempt leaves nothing behind.
        assert sorted(path.name.partition("-")[0] for path in (tmp_path / "out").iterdir()) == [
            "confusion.json",
            "eval_config.json",
            "metrics",
            "metrics.json",
            "plots",
            "scored_sample.tfrecord",
            "validations.tfrecord",
            "verdict.json",
        ]


class TextAsNumber(small_models.Servable):
    """Fails, and quotes the text, where it is not a number."""

    def score(self, serialized):
        text = tf.io.parse_example(serialized, {"text": tf.io.FixedLenFeature([], tf.string)})["text"]
        return tf.strings.to_number(text)[:, tf.newaxis] * tf.constant([[0.2, 0.3, 0.5]])


def turns_into_words(folder):
    """Writes a split whose first batch has numbers as text, and words come later."""
    rows = [{"intent": "pay", "text": "1"}] * 1024
    return small_models.write_split(folder / "test", rows + [{"intent": "pay", "text": SECRET}] * 2)


class TestErrors:
    def test_a_candidate_that_cannot_read_the_examples(self, world, tmp_path):
        with pytest.raises(EnvironmentFailure, match=r"candidate model .* cannot read the test examples .* trained with$"):
            analyse(world, tmp_path, model_path=world["reads_numbers"])

    def test_a_candidate_that_cannot_read_later_rows(self, world, tmp_path, caplog):
        candidate, pattern = TextAsNumber(CLASSES).save(tmp_path / "model"), turns_into_words(tmp_path)
        with pytest.raises(
            EnvironmentFailure, match=r"candidate model .* cannot read the test examples .* trained with$"
        ) as error:
            analyse(world, tmp_path / "out", model_path=candidate, example_pattern=pattern)
        assert SECRET not in str(error.value)
        assert SECRET not in caplog.text

    @pytest.mark.parametrize(
        ("row", "columns", "message"),
        [
            ({"intent": None}, {}, r"Every test row needs a label; 1 of 301 rows"),
            ({"price": None}, {"weight": "price"}, r"The weight of every test row \(evaluation.weight\) must be a number"),
            ({"price": -1.0}, {"weight": "price"}, r"must be a number from 0 .* received -1"),
        ],
    )
    def test_a_row_without_label_or_weight(self, world, tmp_path, row, columns, message):
        pattern = small_models.write_split(tmp_path / "test", [*ROWS, ROWS[0] | row])
        with pytest.raises(UsageError, match=message) as error:
            analyse(world, tmp_path / "out", example_pattern=pattern, columns=columns, options={"weight": columns.get("weight")})
        assert "while running" not in str(error.value)

    def test_a_weight_that_is_text(self, world, tmp_path):
        with pytest.raises(
            UsageError, match="evaluation.weight must be a column of numbers; received text, which is text"
        ) as error:
            analyse(world, tmp_path, columns={"weight": "text"}, options={"weight": "text"})
        assert "pay now" not in str(error.value)

    def test_text_that_is_not_unicode(self, world, tmp_path):
        pattern = small_models.write_split(tmp_path / "test", [ROWS[0] | {"language": b"\xff\xfe"}])
        with pytest.raises(UsageError, match="Column language must be text in UTF-8"):
            analyse(world, tmp_path / "out", example_pattern=pattern)

    def test_no_test_files(self, world, tmp_path):
        with pytest.raises(UsageError, match="test split has no files"):
            analyse(world, tmp_path, example_pattern=str(tmp_path / "*.gz"))

    def test_no_test_rows(self, world, tmp_path):
        with pytest.raises(UsageError, match=r"test split has no rows.*add data$"):
            analyse(world, tmp_path / "out", example_pattern=small_models.write_split(tmp_path / "empty", []))

    def test_a_damaged_file(self, world, tmp_path):
        pattern = small_models.write_split(tmp_path / "test", ROWS, compressed=False)
        [file] = (tmp_path / "test").iterdir()
        file.write_bytes(file.read_bytes()[:-10])
        with pytest.raises(
            EnvironmentFailure, match=r"must be TFRecord files .* reading .*data-0 ended in DataLossError after \d+ rows"
        ):
            analyse(world, tmp_path / "out", example_pattern=pattern)


class TestScoredSample:
    def test_holds_rows_of_the_split_with_the_scores_the_candidate_gives_them(self, world, with_baseline):
        folder, _ = with_baseline
        kept = scored_sample.ScoredSample.read(folder)
        assert (kept.classes, len(kept)) == (tuple(CLASSES), scored_sample.ROWS)
        answered = tf.saved_model.load(world["candidate"]).signatures["serving_examples"](inputs=tf.constant(kept.examples))
        assert kept.scores == pytest.approx(answered["scores"].numpy(), abs=1e-6)

    def test_begins_with_a_row_of_each_label(self, with_baseline):
        folder, _ = with_baseline
        first = scored_sample.ScoredSample.read(folder).head(len({label for _, label, *_ in KINDS}))
        labels = [tf.train.Example.FromString(row).features.feature["intent"].bytes_list.value[0] for row in first.examples]
        assert sorted(labels) == sorted({label.encode() for _, label, *_ in KINDS})

    def test_does_not_depend_on_the_baseline_or_on_groups(self, world, with_baseline, tmp_path):
        folder, _ = with_baseline
        analyse(world, tmp_path, columns={"group": "thread"})
        files = [pathlib.Path(where) / scored_sample.FILE for where in (folder, tmp_path)]
        assert files[0].read_bytes() == files[1].read_bytes()
