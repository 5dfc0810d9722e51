import time

import numpy as np
import pytest

from serving.messages import (
    ClassificationRequest,
    DataType,
    Example,
    ExampleListWithContext,
    Input,
    ModelSpec,
    MultiInferenceRequest,
    PredictRequest,
    RegressionRequest,
    TensorProto,
)
from serving.server.errors import MalformedTensorError, ServingError, StatusCode
from serving.server.servable import RunFailedError, Servable, ServableOptions, serialized_examples
from serving.tensors import Tensor, to_proto
from tests.serving.server.fakes import FakeModel, signature, x

CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"
EXAMPLES = Input(example_list={"examples": [Example(), Example()]})


def model():
    """Two inputs of which one has a default, and signatures on tf.Examples."""

    def compute(feeds):
        if "examples:0" in feeds:
            rows = len(feeds["examples:0"])
            return {
                "labels:0": np.array([[b"low", b"high"]] * rows, object),
                "scores:0": np.array([[0.25, 0.75]] * rows, "f4"),
                "value:0": np.full((rows, 1), 1.5, "f4"),
                "wide:0": np.zeros((rows, 2), "f4"),
                "one:0": np.zeros(1, "f4"),
                "double:0": np.zeros(rows, "f8"),
            }
        return {"sum:0": feeds["a:0"] + feeds["b:0"], "difference:0": feeds["a:0"] - feeds["b:0"]}

    both = signature({"b": "b:0", "a": "a:0"}, {"sum": "sum:0", "difference": "difference:0"})
    defaulted = signature({"b": "b:0", "a": "a:0"}, {"sum": "sum:0"})
    defaulted.defaults["b"].CopyFrom(x(10.0))
    on_examples = {"inputs": "examples:0"}
    return FakeModel(
        compute,
        {
            "serving_default": both,
            "defaulted": defaulted,
            "classify": signature(on_examples, {"classes": "labels:0", "scores": "scores:0"}, CLASSIFY),
            "uneven": signature(on_examples, {"classes": "labels:0", "scores": "value:0"}, CLASSIFY),
            "short": signature(on_examples, {"scores": "one:0"}, CLASSIFY),
            "regress": signature(on_examples, {"outputs": "value:0"}, REGRESS),
            "wide": signature(on_examples, {"outputs": "wide:0"}, REGRESS),
            "one": signature(on_examples, {"outputs": "one:0"}, REGRESS),
            "double": signature(on_examples, {"outputs": "double:0"}, REGRESS),
            "elsewhere": signature({"inputs": "others:0"}, {"outputs": "value:0"}, REGRESS),
        },
    )


@pytest.fixture
def servable():
    return Servable("model", 3, model())


def request(signature_name="", output_filter=(), **inputs):
    built = PredictRequest(model_spec=ModelSpec(name="model", signature_name=signature_name), output_filter=output_filter)
    for alias, value in inputs.items():
        built.inputs[alias].CopyFrom(value)
    return built


class TestPredict:
    def test_says_who_answered(self, servable):
        response = servable.predict(request(a=x(3.0), b=x(1.0)))
        assert {alias: list(value.float_val) for alias, value in response.outputs.items()} == {"sum": [4.0], "difference": [2.0]}
        assert (response.model_spec.name, response.model_spec.version.value) == ("model", 3)
        assert response.model_spec.signature_name == "serving_default"

    def test_missing_inputs_take_their_default(self, servable):
        assert list(servable.predict(request("defaulted", a=x(1.0))).outputs["sum"].float_val) == [11.0]

    def test_only_the_outputs_asked_for_are_computed(self, servable):
        assert set(servable.predict(request(output_filter=["sum"], a=x(3.0), b=x(1.0))).outputs) == {"sum"}

    def test_numbers_go_into_tensor_content_on_demand(self):
        response = Servable("model", 3, model(), ServableOptions(content=True)).predict(request(a=x(3.0), b=x(1.0)))
        assert response.outputs["sum"].tensor_content == np.float32(4.0).tobytes()

    def test_a_surplus_input_beside_a_default_is_refused(self, servable):
        with pytest.raises(ServingError, match="Inputs contains invalid name. Used request inputs: a, request input: a,z"):
            servable.predict(request("defaulted", a=x(1.0), z=x(1.0)))

    def test_a_tensor_that_cannot_be_decoded_is_named_by_its_alias(self, servable, monkeypatch):
        def run(*_):
            raise MalformedTensorError("a:0")

        monkeypatch.setattr(servable._model, "run", run)
        with pytest.raises(ServingError, match="^INVALID_ARGUMENT: tensor parsing error: a$"):
            servable.predict(request(a=TensorProto(), b=x(1.0)))

    def test_texts_of_the_runtime_are_marked_as_such(self, servable, monkeypatch):
        def run(*_):
            raise ServingError(StatusCode.INVALID_ARGUMENT, "Could not parse 'my name is ...'")

        monkeypatch.setattr(servable._model, "run", run)
        with pytest.raises(RunFailedError):
            servable.predict(request(a=x(1.0), b=x(1.0)))

    def test_method_names_are_checked_on_demand(self):
        odd = FakeModel(dict, {"serving_default": signature({"x": "x:0"}, {"y": "y:0"}, "something/else")})
        with pytest.raises(
            ServingError, match=r"INTERNAL: Expected prediction signature method_name to be one of .* Was: something/else"
        ):
            Servable("model", 3, odd, ServableOptions(check_method_names=True)).predict(request(x=x(1.0)))


class TestDeadlines:
    def test_the_runtime_is_told_what_is_left(self, servable):
        servable.predict(request(a=x(3.0), b=x(1.0)), time.monotonic() + 5.0)
        assert 4000 < servable._model.timeouts[-1] <= 5001

    def test_nothing_runs_after_it(self, servable):
        with pytest.raises(ServingError, match="DEADLINE_EXCEEDED"):
            servable.predict(request(a=x(3.0), b=x(1.0)), time.monotonic() - 0.001)
        assert not servable._model.runs

    def test_an_answer_that_comes_too_late_is_none(self):
        slow = FakeModel(
            lambda feeds: time.sleep(0.05) or {"y:0": feeds["x:0"]}, {"serving_default": signature({"x": "x:0"}, {"y": "y:0"})}
        )
        with pytest.raises(ServingError, match="DEADLINE_EXCEEDED"):
            Servable("model", 3, slow).predict(request(x=x(1.0)), time.monotonic() + 0.01)


class TestExamples:
    def test_classes_and_scores(self, servable):
        result = servable.classify(
            ClassificationRequest(model_spec=ModelSpec(name="model", signature_name="classify"), input=EXAMPLES)
        ).result
        assert [[(one.label, one.score) for one in row.classes] for row in result.classifications] == [
            [("low", 0.25), ("high", 0.75)]
        ] * 2

    def test_values(self, servable):
        response = servable.regress(
            RegressionRequest(model_spec=ModelSpec(name="model", signature_name="regress"), input=EXAMPLES)
        )
        assert [one.value for one in response.result.regressions] == [1.5, 1.5]
        assert response.model_spec.version.value == 3

    @pytest.mark.parametrize(
        ("method", "signature_name", "message"),
        [
            ("classify", "uneven", "Tensors class and score should match in dim_size(1). Got 2 vs. 1"),
            ("classify", "short", "Expected Tensor shape: [batch_size num_classes] but got [1]"),
            ("regress", "wide", "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [2,2]"),
            ("regress", "one", "Input batch size did not match output batch size: 2 vs. 1"),
            ("regress", "double", "Expected output Tensor of DT_FLOAT.  Got: DT_DOUBLE"),
        ],
    )
    def test_outputs_of_another_shape(self, servable, method, signature_name, message):
        kind = ClassificationRequest if method == "classify" else RegressionRequest
        with pytest.raises(ServingError) as raised:
            getattr(servable, method)(kind(model_spec=ModelSpec(name="model", signature_name=signature_name), input=EXAMPLES))
        assert raised.value.message == message

    def test_method_names_are_checked_on_demand(self):
        strict = Servable("model", 3, model(), ServableOptions(check_method_names=True))
        with pytest.raises(ServingError, match=f"Expected classification signature method_name to be {CLASSIFY}. Was: {REGRESS}"):
            strict.classify(ClassificationRequest(model_spec=ModelSpec(name="model", signature_name="regress"), input=EXAMPLES))

    def test_a_context_is_merged_into_each_example(self):
        def example(**floats):
            built = Example()
            for name, value in floats.items():
                built.features.feature[name].float_list.value.append(value)
            return built

        given = Input(
            example_list_with_context=ExampleListWithContext(examples=[example(a=1.0), example(a=2.0)], context=example(c=9.0))
        )
        merged = [Example.FromString(content).features.feature for content in serialized_examples(given)]
        assert [one["a"].float_list.value[0] for one in merged] == [1.0, 2.0]
        assert [one["c"].float_list.value[0] for one in merged] == [9.0, 9.0]


class TestMultiInference:
    def infer(self, servable, *tasks):
        asked = MultiInferenceRequest(input=EXAMPLES)
        for signature_name, method in tasks:
            asked.tasks.add(model_spec=ModelSpec(name="model", signature_name=signature_name), method_name=method)
        return servable.multi_inference(asked)

    def test_all_signatures_share_one_run(self, servable):
        answer = self.infer(servable, ("regress", REGRESS), ("classify", CLASSIFY))
        assert answer.results[0].regression_result.regressions[1].value == 1.5
        assert answer.results[1].classification_result.classifications[0].classes[1].label == "high"
        assert len(servable._model.runs) == 1

    def test_examples_are_counted(self):
        counted = []
        servable = Servable("model", 3, model(), observe_examples=lambda *what: counted.append(what))
        self.infer(servable, ("regress", REGRESS))
        assert counted == [("model", 2)]

    def test_signatures_with_inputs_of_their_own_get_the_same_examples(self, servable):
        self.infer(servable, ("regress", REGRESS), ("elsewhere", REGRESS))
        (feeds,) = servable._model.runs
        assert sorted(feeds) == ["examples:0", "others:0"]
        assert feeds["examples:0"].tolist() == feeds["others:0"].tolist()


def test_runs_are_observed():
    seen = []
    servable = Servable("model", 3, model(), observe_run=lambda *what: seen.append(what[:2]))
    servable.run("", {"a": Tensor.of([1.0], DataType.DT_FLOAT), "b": to_proto(Tensor.of([1.0], DataType.DT_FLOAT))})
    assert seen == [("model", "Predict")]


class TestScores:
    """The score of the best class of each row is reported, by version."""

    @pytest.fixture
    def reported(self):
        return []

    def scoring(self, reported, outputs):
        compute = {f"{name}:0": value for name, value in outputs.items()}
        signatures = {
            "serving_default": signature({"a": "a:0"}, {name: f"{name}:0" for name in outputs}),
            "classify": signature({"inputs": "a:0"}, {"scores": "scores:0"}, CLASSIFY),
        }
        servable = Servable("model", 3, FakeModel(lambda feeds: compute, signatures))
        servable.report_scores(lambda *what: reported.append(what))
        return servable

    @pytest.mark.parametrize(
        ("outputs", "scores"),
        [
            ({"score": np.array([0.75, 0.5], "f4"), "label": np.array([b"a", b"b"], object)}, [0.75, 0.5]),
            ({"scores": np.array([[0.25, 0.75], [0.5, 0.25]], "f4")}, [0.75, 0.5]),
            ({"score": np.array([0.75], "f4"), "scores": np.array([[0.25, 0.5]], "f4")}, [0.75]),
        ],
    )
    def test_of_either_output(self, reported, outputs, scores):
        self.scoring(reported, outputs).run("", {"a": Tensor.of([1.0])})
        assert reported == [("model", 3, scores)]

    @pytest.mark.parametrize(
        "outputs",
        [
            {"y": np.array([1.0], "f4")},
            {"score": np.array([b"high"], object)},
            {"score": np.array(0.5, "f4")},
            {"scores": np.zeros((1, 0), "f4")},
        ],
    )
    def test_other_outputs_are_no_scores(self, reported, outputs):
        self.scoring(reported, outputs).run("", {"a": Tensor.of([1.0])})
        assert reported == []

    def test_of_classify(self, reported):
        servable = self.scoring(reported, {"scores": np.array([[0.25, 0.75]], "f4")})
        request = ClassificationRequest(model_spec=ModelSpec(name="model", signature_name="classify"))
        request.input.example_list.examples.append(Example())
        servable.classify(request)
        assert reported == [("model", 3, [0.75])]
