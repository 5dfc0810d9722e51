"""PredictionService: every method and every refusal, with upstream's codes and texts."""

import threading
import time

import grpc
import numpy as np
import pytest

from serving.messages import DataType, Example, ExampleListWithContext, Input, PredictRequest, SignatureDefMap, TensorProto
from serving.tensors import from_proto
from tests.serving.conformance.servers import PREDICTION, example, examples, spec, tensor

X = tensor([2.0], DataType.DT_FLOAT)
INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND


def refused(call, *arguments, **named):
    """The code and text that a call is refused with."""
    with pytest.raises(grpc.RpcError) as raised:
        call(*arguments, **named)
    return raised.value.code(), raised.value.details()


class TestPredict:
    def test_answers_in_typed_fields_with_the_version_and_signature_that_answered(self, client):
        answer = client.predict(spec("half_plus_two"), x=tensor([1.0, 2.0], DataType.DT_FLOAT))
        assert list(answer.outputs["y"].float_val) == [2.5, 3.0]
        assert not answer.outputs["y"].tensor_content
        assert answer.model_spec.name == "half_plus_two"
        assert answer.model_spec.version.value == 1
        assert answer.model_spec.signature_name == "serving_default"

    def test_a_short_list_of_values_repeats_its_last_one(self, client):
        short = TensorProto(dtype=DataType.DT_FLOAT, float_val=[2.0, 4.0])
        short.tensor_shape.dim.add(size=4)
        answer = client.predict(spec("half_plus_two"), x=short)
        assert list(answer.outputs["y"].float_val) == [3.0, 4.0, 4.0, 4.0]

    def test_the_output_filter_chooses_outputs(self, client):
        answer = client.predict(spec("text"), outputs=["bytes"], text=tensor(["ab"]))
        assert set(answer.outputs) == {"bytes"}

    @pytest.mark.parametrize("type_name", ["float", "double", "int32", "int64", "uint8", "bool", "string", "half", "complex64"])
    def test_each_type_comes_back_as_it_was_sent(self, client, type_name):
        dtype = DataType.Value(f"DT_{type_name.upper()}")
        values = (
            ["a", "bc"]
            if type_name == "string"
            else np.array([[1, 0], [1, 1]], {"float": "f4", "half": "f2"}.get(type_name, type_name))
        )
        sent = tensor(values, dtype)
        answer = client.predict(spec("echo", signature=type_name), x=sent)
        assert answer.outputs["x"].dtype == dtype
        np.testing.assert_array_equal(from_proto(answer.outputs["x"]).array, from_proto(sent).array)

    def test_shapes_are_not_checked_against_the_signature(self, client):
        answer = client.predict(spec("half_plus_two"), x=tensor([[2.0]], DataType.DT_FLOAT))
        assert [dim.size for dim in answer.outputs["y"].tensor_shape.dim] == [1, 1]

    def test_a_large_request_is_answered(self, client):
        values = np.arange(3_000_000, dtype="f4")
        answer = client.predict(spec("half_plus_two"), x=tensor(values))
        np.testing.assert_allclose(from_proto(answer.outputs["y"]).array[:3], [2.0, 2.5, 3.0])

    def test_a_version_can_be_asked_for(self, client):
        assert client.y("half_plus_two", version=1) == 3.0


class TestRefusedModels:
    def test_without_a_model_spec(self, client):
        assert refused(client.call, PREDICTION + "Predict", PredictRequest(), None) == (INVALID, "Missing ModelSpec")

    @pytest.mark.parametrize(
        ("choice", "code", "text"),
        [
            (spec(""), INVALID, "ModelSpec has no name specified."),
            (spec("absent"), NOT_FOUND, "Servable not found for request: Latest(absent)"),
            (spec("half_plus_two", 7), NOT_FOUND, "Servable not found for request: Specific(half_plus_two, 7)"),
            (spec("half_plus_two", label="stable"), INVALID, "Unrecognized servable version label: stable"),
        ],
    )
    def test_models_that_there_are_not(self, client, choice, code, text):
        choice.signature_name = "classify_x_to_y"
        one = examples(1.0)
        assert refused(client.predict, choice, x=X) == (code, text)
        assert refused(client.classify, choice, one) == (code, text)
        assert refused(client.regress, choice, one) == (code, text)
        assert refused(client.multi_inference, one, (choice, "classify")) == (code, text)
        assert refused(client.metadata, choice, "signature_def") == (code, text)

    def test_unknown_methods_are_unimplemented(self, client):
        for method in ("tensorflow.serving.SessionService/SessionRun", "tensorflow.serving.PredictionService/PredictStreamed"):
            assert refused(client.call, f"/{method}", b"", None)[0] == grpc.StatusCode.UNIMPLEMENTED


class TestRefusedInputs:
    def test_an_unknown_signature_is_a_failed_precondition(self, client):
        expected = grpc.StatusCode.FAILED_PRECONDITION, 'Serving signature key "absent" not found.'
        assert refused(client.predict, spec("half_plus_two", signature="absent"), x=X) == expected

    @pytest.mark.parametrize(
        ("inputs", "text"),
        [
            ([], "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: {x}."),
            (
                ["b", "a"],
                "input size does not match signature: 2!=1 len({a,b}) != len({x}). Sent extra: {a,b}. Missing but required: {x}.",
            ),
            (
                ["z"],
                "Signature input alias: x(feed name: serving_default_x:0) not found in request and no default value provided. "
                "Inputs expected to be in the request {z}, or default input alias set: ",
            ),
        ],
    )
    def test_wrong_aliases(self, client, inputs, text):
        assert refused(client.predict, spec("half_plus_two"), **dict.fromkeys(inputs, X)) == (INVALID, text)

    @pytest.mark.parametrize(
        ("outputs", "text"),
        [
            (["z"], "output tensor alias not found in signature: z Outputs expected to be in the set {y}."),
            (["y", "y"], "duplicate output tensor alias: y"),
        ],
    )
    def test_wrong_output_filters(self, client, outputs, text):
        assert refused(client.predict, spec("half_plus_two"), outputs=outputs, x=X) == (INVALID, text)

    def test_a_tensor_that_cannot_be_decoded(self, client):
        broken = TensorProto(dtype=DataType.DT_FLOAT, tensor_content=b"abc")
        broken.tensor_shape.dim.add(size=2)
        assert refused(client.predict, spec("half_plus_two"), x=broken) == (INVALID, "tensor parsing error: x")

    def test_a_wrong_type(self, client):
        code, text = refused(client.predict, spec("half_plus_two"), x=tensor(["two"]))
        assert code == INVALID
        assert "to be float but string is provided" in text

    def test_a_wrong_shape_is_refused_by_the_op(self, client):
        a, b = tensor(np.ones((2, 4), "f4")), tensor(np.ones((3, 2), "f4"))
        code, text = refused(client.predict, spec("text", signature="product"), a=a, b=b)
        assert code == INVALID
        assert text.startswith("Matrix size-incompatible: In[0]: [2,4], In[1]: [3,2]")

    def test_a_string_that_is_no_example(self, client):
        code, text = refused(client.predict, spec("text", signature="parse"), examples=tensor(["garbage!!"]))
        assert code == INVALID
        assert text.startswith("Could not parse example input, value: 'garbage!!'")

    def test_an_example_of_the_wrong_type(self, client):
        whole = Example()
        whole.features.feature["x"].int64_list.value.append(1)
        code, text = refused(client.predict, spec("text", signature="parse"), examples=tensor([whole.SerializeToString()]))
        assert code == INVALID
        assert "Data types don't match. Data type: int64 but expected type: float" in text

    def test_long_texts_are_truncated(self, client):
        code, text = refused(client.predict, spec("text", signature="parse"), examples=tensor(["\xff" * 5000]))
        assert code == INVALID
        assert len(text) <= 1024 + len("...TRUNCATED")
        assert text.endswith("...TRUNCATED")

    def test_bytes_that_are_no_message_and_the_server_answers_on(self, client):
        for content in (
            b"\xff\xff\xff",
            PredictRequest(model_spec=spec("half_plus_two")).SerializeToString() + b"\x0a\x05ab",
            b"\x0a\x03\x0a\x01\xff",
        ):
            assert refused(client.call, PREDICTION + "Predict", content, None)[0] in (grpc.StatusCode.INTERNAL, INVALID)
        assert client.y("half_plus_two") == 3.0

    def test_a_shape_that_would_fill_the_memory(self, client):
        huge = TensorProto(dtype=DataType.DT_FLOAT, float_val=[1.0])
        for _ in range(3):
            huge.tensor_shape.dim.add(size=100_000)
        assert refused(client.predict, spec("half_plus_two"), x=huge)[0] == INVALID
        assert client.y("half_plus_two") == 3.0


class TestDeadlines:
    def test_a_deadline_ends_the_call_and_the_server_answers_on(self, client):
        steps = tensor(3_000_000, DataType.DT_INT32)
        started = time.monotonic()
        code, _ = refused(client.predict, spec("text", signature="count"), timeout=0.001, steps=steps)
        assert code == grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - started < 1.0
        assert client.y("half_plus_two") == 3.0

    def test_many_callers_are_answered_rightly(self, client):
        wrong = []

        def caller(number):
            for step in range(50):
                x = float(number * 100 + step)
                if client.y("half_plus_two", x) != x / 2 + 2:
                    wrong.append(x)

        threads = [threading.Thread(target=caller, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


class TestClassifyAndRegress:
    def test_scores_without_classes(self, client):
        answer = client.classify(spec("examples", signature="classify_x_to_y"), examples(2.0, 4.0))
        found = [[(one.label, one.score) for one in row.classes] for row in answer.result.classifications]
        assert found == [[("", 3.0)], [("", 4.0)]]
        assert answer.model_spec.signature_name == "classify_x_to_y"
        assert answer.model_spec.version.value == 1

    def test_classes_with_scores(self, client):
        answer = client.classify(spec("examples", signature="classify_labels"), examples(0.25))
        assert [(one.label, one.score) for one in answer.result.classifications[0].classes] == [("low", 0.75), ("high", 0.25)]

    def test_regression(self, client):
        answer = client.regress(spec("examples", signature="regress_x_to_y"), examples(2.0, 4.0))
        assert [one.value for one in answer.result.regressions] == [3.0, 4.0]

    def test_a_context_belongs_to_every_example(self, client):
        given = Input(
            example_list_with_context=ExampleListWithContext(examples=[Example(), example(z=[1.0])], context=example(x=[2.0]))
        )
        answer = client.regress(spec("examples", signature="regress_x_to_y"), given)
        assert [one.value for one in answer.result.regressions] == [3.0, 3.0]

    def test_no_examples(self, client):
        assert refused(client.classify, spec("examples", signature="classify_x_to_y"), Input()) == (INVALID, "Input is empty.")
        empty = Input()
        empty.example_list.SetInParent()
        assert refused(client.regress, spec("examples", signature="regress_x_to_y"), empty) == (INVALID, "Input is empty.")

    def test_an_example_without_the_feature(self, client):
        code, text = refused(
            client.regress, spec("examples", signature="regress_x_to_y"), Input(example_list={"examples": [Example()]})
        )
        assert code == INVALID
        assert "Feature: x (data type: float) is required but could not be found." in text

    @pytest.mark.parametrize(
        ("method", "signature", "text"),
        [
            ("classify", "absent", "No signature was found with the name: absent"),
            ("regress", "absent", "No signature was found with the name: absent"),
            ("classify", "classify_named_otherwise", "Expected classification signature outputs to contain at least one of"),
            ("classify", "serving_default", "No classification inputs found in SignatureDef: "),
            ("regress", "regress_named_otherwise", "No regression inputs found in SignatureDef: "),
            ("regress", "classify_x_to_y", "No regression outputs found in SignatureDef: "),
            ("regress", "classify_labels", "Expected one output Tensor."),
            ("regress", "regress_two", "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [1,2]"),
            ("regress", "regress_text", "Expected output Tensor of DT_FLOAT.  Got: DT_STRING"),
        ],
    )
    def test_signatures_of_another_shape(self, client, method, signature, text):
        code, said = refused(getattr(client, method), spec("examples", signature=signature), examples(1.0))
        assert said.startswith(text)
        assert code == INVALID


class TestMultiInference:
    def test_one_run_answers_several_signatures(self, client):
        tasks = [
            (spec("examples", signature="regress_x_to_y"), "regress"),
            (spec("examples", signature="classify_labels"), "classify"),
        ]
        answer = client.multi_inference(examples(0.5), *tasks)
        assert answer.results[0].regression_result.regressions[0].value == 2.25
        assert [one.label for one in answer.results[1].classification_result.classifications[0].classes] == ["low", "high"]
        assert [result.model_spec.signature_name for result in answer.results] == ["regress_x_to_y", "classify_labels"]
        assert {result.model_spec.version.value for result in answer.results} == {1}

    def test_signatures_whose_inputs_differ_get_the_same_examples(self, client):
        tasks = [(spec("examples_of_two", signature=f"{method}_x_to_y"), method) for method in ("regress", "classify")]
        answer = client.multi_inference(examples(2.0), *tasks)
        assert answer.results[0].regression_result.regressions[0].value == 3.0
        assert answer.results[1].classification_result.classifications[0].classes[0].score == 3.0

    @pytest.mark.parametrize(
        ("tasks", "text"),
        [
            ([("examples", "absent", "classify")], "Requested signature not found in model graph: absent"),
            ([("examples", "regress_x_to_y", "regress")] * 2, "Duplicate evaluation of signature: regress_x_to_y"),
            (
                [("examples", "regress_x_to_y", "regress"), ("text", "classify_labels", "classify")],
                "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
            ),
            ([], "ModelSpec has no name specified."),
        ],
    )
    def test_refusals(self, client, tasks, text):
        tasks = [(spec(name, signature=signature), method) for name, signature, method in tasks]
        assert refused(client.multi_inference, examples(1.0), *tasks) == (INVALID, text)

    def test_a_method_that_is_neither(self, client):
        code, text = refused(client.multi_inference, examples(1.0), (spec("examples"), "predict"))
        assert (code, text) == (grpc.StatusCode.UNIMPLEMENTED, "Unsupported signature method_name: tensorflow/serving/predict")


class TestMetadata:
    def test_signatures_by_name(self, client):
        answer = client.metadata(spec("half_plus_two"), "signature_def")
        assert answer.model_spec.name == "half_plus_two"
        assert answer.model_spec.version.value == 1
        assert answer.model_spec.signature_name == ""
        packed = answer.metadata["signature_def"]
        assert packed.type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
        signatures = SignatureDefMap.FromString(packed.value).signature_def
        assert signatures["serving_default"].inputs["x"].name == "serving_default_x:0"

    @pytest.mark.parametrize(
        ("fields", "text"),
        [
            ([], "GetModelMetadataRequest must specify at least one metadata_field"),
            (["weights"], "Metadata field weights is not supported"),
        ],
    )
    def test_refusals(self, client, fields, text):
        assert refused(client.metadata, spec("half_plus_two"), *fields) == (INVALID, text)
