import pathlib
import pickle
import shutil

import numpy as np
import pytest

from components.errors import EnvironmentFailure

pytestmark = pytest.mark.tensorflow

tf = pytest.importorskip("tensorflow")
scoring = pytest.importorskip("components.evaluation.scoring")

from tests.components.evaluation import small_models  # noqa: E402

CLASSES = ["cancel", "order", "pay"]
SECRET = "confidential"
EXAMPLES = [small_models.example({"text": text}) for text in ("pay now", f"{SECRET} words", "order it")]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return small_models.FirstWord(CLASSES, threshold=0.5).save(tmp_path_factory.mktemp("sound") / "model")


class WithVariable(small_models.Servable):
    def __init__(self, classes):
        super().__init__(classes)
        self.bias = tf.Variable(tf.zeros([len(classes)]))

    def score(self, serialized):
        return tf.nn.softmax(tf.zeros([tf.size(serialized), 1]) + self.bias)


class Mute(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def answer(self, inputs):
        return {"label": inputs}


class Quoting(small_models.Servable):
    """Fails with the row in its message."""

    def score(self, serialized):
        text = tf.io.parse_example(serialized, {"text": tf.io.FixedLenFeature([], tf.string)})["text"]
        return tf.strings.to_number(text)[:, tf.newaxis] + tf.zeros([1, self.classes.shape[0]])


def without_variables(folder):
    path = pathlib.Path(WithVariable(CLASSES).save(folder))
    for file in (path / "variables").iterdir():
        file.unlink()


def truncated(folder):
    graph = pathlib.Path(small_models.FirstWord(CLASSES).save(folder)) / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:500])


def without_signature(folder):
    tf.saved_model.save(small_models.FirstWord(CLASSES), str(folder))


DAMAGE = {
    "gone": lambda folder: None,
    "without variables": without_variables,
    "truncated": truncated,
    "without the signature": without_signature,
}
# What cannot read the examples, though it loads.
MISFITS = {
    "text as a number": lambda folder: small_models.FirstWord(CLASSES, text_type=tf.int64).save(folder),
    "a column that is gone": lambda folder: small_models.StoredScores(CLASSES, "old_column").save(folder),
    "an error that quotes the row": lambda folder: Quoting(CLASSES).save(folder),
}


class TestScorer:
    def test_says_what_the_model_says(self, sound):
        answer = scoring.Scorer("candidate", sound).score(EXAMPLES)
        assert answer.classes == ("cancel", "order", "pay")
        np.testing.assert_allclose(answer.scores, [[0.1, 0.1, 0.8], [1 / 3] * 3, [0.1, 0.8, 0.1]], rtol=1e-6)
        assert answer.abstained.tolist() == [False, True, False]
        assert answer.abstain_threshold == 0.5

    def test_a_model_without_a_threshold_always_answers(self, tmp_path):
        answer = scoring.Scorer("candidate", small_models.FirstWord(CLASSES).save(tmp_path)).score(EXAMPLES)
        assert answer.abstained.tolist() == [False] * 3
        assert answer.abstain_threshold is None

    @pytest.mark.parametrize("damage", DAMAGE)
    def test_a_damaged_model_cannot_be_loaded(self, tmp_path, damage):
        DAMAGE[damage](tmp_path / "model")
        with pytest.raises(
            EnvironmentFailure, match="The candidate model .* must be a SavedModel with the signature 'serving_examples'"
        ):
            scoring.Scorer("candidate", str(tmp_path / "model"))

    @pytest.mark.parametrize("misfit", MISFITS)
    def test_a_model_of_other_columns_cannot_answer(self, tmp_path, misfit):
        scorer = scoring.Scorer("candidate", MISFITS[misfit](tmp_path))
        with pytest.raises(EnvironmentFailure, match="candidate model .* cannot read the test examples") as error:
            scorer.score(EXAMPLES)
        assert SECRET not in str(error.value)
        # The cause, which may quote rows, would be logged with it.
        assert error.value.__cause__ is None
        assert error.value.__suppress_context__

    def test_a_model_must_answer_classes_and_scores(self, tmp_path):
        tf.saved_model.save(mute := Mute(), str(tmp_path), signatures={scoring.SIGNATURE: mute.answer})
        with pytest.raises(EnvironmentFailure, match=r"with `classes` and `scores`, both \[rows, classes\]; received {'label'"):
            scoring.Scorer("candidate", str(tmp_path)).score(EXAMPLES)

    def test_says_that_it_is_the_baseline(self, tmp_path):
        with pytest.raises(scoring.UnusableBaseline, match="The baseline model"):
            scoring.Scorer("baseline", str(tmp_path))


class TestModel:
    def test_is_loaded_once_also_after_travelling(self, sound, tmp_path):
        copy = shutil.copytree(sound, tmp_path / "copy")
        model = scoring.Model("candidate", str(copy))
        scorer = model.load()
        shutil.rmtree(copy)
        assert pickle.loads(pickle.dumps(model)).load() is scorer
