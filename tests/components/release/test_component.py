"""The nodes of the stage, on a model that TensorFlow exported and the embedded server serves."""

import json
import pathlib

import pytest

from components.evaluation.scored_sample import ScoredSample
from components.release import infra_blessing
from components.release.options import ReleaseOptions, SmokeTestOptions

pytestmark = pytest.mark.tensorflow

tf = pytest.importorskip("tensorflow")
component = pytest.importorskip("components.release.component")
standard_artifacts = pytest.importorskip("tfx.types.standard_artifacts")

from tests.components.evaluation import small_models  # noqa: E402

CLASSES = ["cancel", "order", "pay"]
SCHEMA = 'feature { name: "text" type: BYTES } feature { name: "intent" type: BYTES not_in_environment: "SERVING" }'
TEXTS = ["pay now", "order ☀", "cancel my secret order", "何"]


class Released(small_models.FirstWord):
    """A model with both signatures of Parlance's."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def columns(self, text):
        words = tf.strings.regex_replace(text, " .*", "")
        count = self.classes.shape[0]
        sure = tf.one_hot(self.table.lookup(words), count, on_value=0.8, off_value=0.2 / (count - 1))
        scores, indices = tf.math.top_k(sure / tf.reduce_sum(sure, axis=1, keepdims=True), 2)
        labels = tf.gather(self.classes, indices)
        return {
            "label": labels[:, 0], "score": scores[:, 0], "top_labels": labels, "top_scores": scores,
            "abstained": tf.zeros_like(scores[:, 0], tf.bool),
        }  # fmt: skip

    def save(self, folder):
        tf.saved_model.save(self, str(folder), signatures={"serving_default": self.columns, "serving_examples": self.answer})


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A model, its schema, and an evaluation that left a sample of rows with the scores the model gives them."""
    folder = tmp_path_factory.mktemp("world")
    Released(CLASSES).save(folder / "model" / "Format-Serving")
    (folder / "schema").mkdir()
    (folder / "schema" / "schema.pbtxt").write_text(SCHEMA)
    examples = tuple(small_models.example({"text": text, "intent": "pay"}) for text in TEXTS)
    loaded = tf.saved_model.load(str(folder / "model" / "Format-Serving"))
    scores = loaded.signatures["serving_examples"](inputs=tf.constant(examples))["scores"].numpy()
    for name, seen in (("evaluation", scores), ("other_evaluation", scores[:, ::-1])):
        (folder / name).mkdir()
        ScoredSample(tuple(CLASSES), examples, seen).write(folder / name)
    return folder


def artifact(kind, uri, number=1, **properties):
    made = kind()
    made.uri, made.id = str(uri), number
    for key, value in properties.items():
        setter = made.set_int_custom_property if isinstance(value, int) else made.set_string_custom_property
        setter(key, value)
    return made


@pytest.fixture
def validate(world, tmp_path):
    """Runs the node; gives the blessing and the content of its file."""

    def validate(blessed=1, evaluation="evaluation", **options):
        blessing = artifact(standard_artifacts.InfraBlessing, tmp_path / "blessing", 9)
        component.InfraValidatorExecutor().Do(
            {
                "schema": [artifact(standard_artifacts.Schema, world / "schema")],
                "model": [artifact(standard_artifacts.Model, world / "model", 5)],
                "evaluation": [artifact(standard_artifacts.ModelEvaluation, world / evaluation)],
                "model_blessing": [artifact(standard_artifacts.ModelBlessing, tmp_path, blessed=blessed)],
            },
            {"blessing": [blessing]},
            {
                "model_name": "tickets",
                "warmup_requests": 3,
                "options": SmokeTestOptions.model_validate(options).model_dump_json(),
                "code": "",
            },
        )
        files = {path.name for path in pathlib.Path(blessing.uri).iterdir()}
        return blessing, files, json.loads((tmp_path / "blessing" / "smoke_test.json").read_text())

    return validate


class TestInfraValidator:
    def test_blesses_a_model_that_a_server_runs_as_it_was_evaluated(self, validate):
        blessing, files, result = validate()
        assert result["state"] == "passed", result
        assert result["rows"] == len(TEXTS)
        assert result["max_score_difference"] < 1e-6
        assert 100 < result["memory_mib"] < 4096
        assert files == {"INFRA_BLESSED", "smoke_test.json"}
        assert infra_blessing.is_blessed(blessing)
        assert blessing.get_int_custom_property("current_model_id") == 5

    def test_refuses_one_that_answers_otherwise_than_it_was_evaluated(self, validate):
        blessing, files, result = validate(evaluation="other_evaluation")
        assert result["state"] == "failed"
        [wrong] = [finding for finding in result["findings"] if finding["severity"] == "error"]
        assert "rows by gRPC Predict on serving_examples differ from what the evaluation saw" in wrong["message"]
        assert result["log"]
        assert "secret" not in json.dumps(result)
        assert files == {"INFRA_NOT_BLESSED", "smoke_test.json"}
        assert not infra_blessing.is_blessed(blessing)
        assert infra_blessing.never_passed([blessing]) == {5}

    def test_leaves_a_model_alone_that_the_gate_refused(self, validate):
        blessing, files, result = validate(blessed=0)
        assert (result["state"], result["summary"]) == ("skipped", "skipped: the evaluation's gate said no")
        assert files == {"INFRA_NOT_BLESSED", "smoke_test.json"}
        assert not infra_blessing.is_blessed(blessing)
        assert infra_blessing.never_passed([blessing]) == set()

    def test_speaks_as_tfx_does(self):
        executor = pytest.importorskip("tfx.components.infra_validator.executor")
        from tfx.components.util import model_utils

        assert infra_blessing.BLESSED_KEY == executor._BLESSED_KEY
        assert infra_blessing.BLESSED_FILE == executor._BLESSED_FILENAME
        assert infra_blessing.NOT_BLESSED_FILE == executor._NOT_BLESSED_FILENAME
        assert model_utils.is_infra_validated(artifact(standard_artifacts.InfraBlessing, "", blessed=1))

    def test_reads_none_of_what_only_the_push_needs(self):
        """So that another intended use on the model card, say, starts no server."""
        from tfx.types import channel

        def node(**options):
            channels = {
                name: channel.Channel(type=kind)
                for name, kind in (
                    ("schema", standard_artifacts.Schema),
                    ("model", standard_artifacts.Model),
                    ("evaluation", standard_artifacts.ModelEvaluation),
                    ("model_blessing", standard_artifacts.ModelBlessing),
                )
            }
            return component.InfraValidator(
                **channels, pipeline="tickets", options=ReleaseOptions.model_validate(options), code="c"
            ).exec_properties

        assert node() == node(card={"contact": "support"}, directory="elsewhere")
        assert node() != node(smoke_test={"rows": 5})


class TestPusher:
    @pytest.mark.parametrize(("blessed", "tried"), [(1, 0), (0, 1), (0, 0)])
    def test_pushes_nothing_unless_both_say_yes(self, tmp_path, blessed, tried):
        pushed = artifact(standard_artifacts.PushedModel, tmp_path / "pushed")
        component.PusherExecutor().Do(
            {
                "blessing": [artifact(standard_artifacts.ModelBlessing, tmp_path, blessed=blessed)],
                "infra_blessing": [artifact(standard_artifacts.InfraBlessing, tmp_path, blessed=tried)],
            },
            {"pushed_model": [pushed]},
            {},
        )
        assert (tmp_path / "pushed" / "pushed.json").read_text() == "null"
        assert pushed.get_int_custom_property("pushed") == 0
