import numpy as np
import pytest

from serving.client import MissingOutputError, Prediction


def prediction(**outputs):
    return Prediction("intents", 3, "serving_default", {name: np.array(value) for name, value in outputs.items()})


def strings(values):
    array = np.empty(np.shape(values), object)
    array[...] = values
    return array


COLUMNS = {
    "label": strings([b"on", "größer".encode()]),
    "score": np.float32([0.9, 0.4]),
    "top_labels": strings([[b"on", b"off"], ["größer".encode(), b"on"]]),
    "top_scores": np.float32([[0.9, 0.1], [0.4, 0.3]]),
    "abstained": np.array([False, True]),
}
CLASSES = {"classes": strings([[b"a", b"b", b"c"]] * 2), "scores": np.float32([[0.1, 0.7, 0.2], [0.4, 0.2, 0.4]])}


class TestOfParlancesModels:
    def test_raw_columns(self):
        answer = prediction(**COLUMNS)
        assert answer.labels == ["on", "größer"]
        assert answer.scores.tolist() == np.float32([0.9, 0.4]).tolist()
        assert answer.abstained.tolist() == [False, True]
        assert [label for label, _ in answer.top(5)[1]] == ["größer", "on"]
        assert answer.rows == 2

    def test_examples_are_ranked_here(self):
        answer = prediction(**CLASSES)
        assert answer.labels == ["b", "a"]
        assert answer.scores.tolist() == np.float32([0.7, 0.4]).tolist()
        # Equal scores keep the model's order.
        assert [label for label, _ in answer.top(3)[1]] == ["a", "c", "b"]
        assert answer.abstained.tolist() == [False, False]

    def test_top_of_one_row(self):
        assert prediction(**CLASSES).top(1)[0] == [("b", pytest.approx(0.7))]


class TestOfOtherModels:
    def test_outputs_by_name(self):
        answer = prediction(y=[2.5])
        assert answer["y"].tolist() == [2.5]
        with pytest.raises(MissingOutputError, match="no output 'z'; it has: y"):
            answer["z"]

    @pytest.mark.parametrize("asked", ["labels", "scores", "values"])
    def test_without_labels_say_what_there_is(self, asked):
        with pytest.raises(LookupError, match="y"):
            getattr(prediction(y=[2.5]), asked)

    def test_text_is_decoded_on_request(self):
        answer = prediction(said=strings([[b"\xff", "né".encode()]]), y=[1.0])
        assert answer["said"].tolist() == [[b"\xff", "né".encode()]]
        assert answer.text("said").tolist() == [["\ufffd", "né"]]
        with pytest.raises(MissingOutputError, match="holds float64, not strings"):
            answer.text("y")

    def test_a_scalar_output_is_one_row(self):
        assert prediction(y=2.5).rows == 1


def test_repr_shows_no_output():
    shown = repr(prediction(said=strings([b"secret"])))
    assert "secret" not in shown
    assert "said [1]" in shown
