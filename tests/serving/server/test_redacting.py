import dataclasses
import logging

import numpy as np
import pytest

from serving import tensors
from serving.messages import DataType, Example, TensorProto
from serving.redaction import FILE, RedactionRules
from serving.redaction.category_rule import CategoryRule
from serving.redaction.requests import RequestRedactor
from serving.server.errors import ServingError, StatusCode
from serving.server.redacting import RedactingModel, redacting
from serving.tensors import Tensor, to_proto
from tests.serving.server.fakes import FakeModel, signature

RULES = RedactionRules.of(["email"], ["text"])


def echo(feeds):
    return {name.replace("in", "out"): value for name, value in feeds.items()}


@pytest.fixture
def inner():
    raw = signature({"text": "in_text:0", "plan": "in_plan:0", "n": "in_n:0"}, {"text": "out_text:0"})
    for alias, kind in (("text", DataType.DT_STRING), ("plan", DataType.DT_STRING), ("n", DataType.DT_FLOAT)):
        raw.inputs[alias].dtype = kind
    on_examples = signature({"inputs": "in_examples:0"}, {"inputs": "out_examples:0"})
    on_examples.inputs["inputs"].dtype = DataType.DT_STRING
    return FakeModel(echo, {"serving_default": raw, "serving_examples": on_examples})


@pytest.fixture
def model(inner):
    return RedactingModel(inner, RequestRedactor(RULES))


def strings(*values):
    return Tensor.of(list(values), DataType.DT_STRING)


def content(*texts):
    """A TensorProto that carries its strings the other way."""
    return TensorProto(
        dtype=DataType.DT_STRING,
        tensor_shape={"dim": [{"size": len(texts)}]},
        tensor_content=b"".join(bytes([len(text)]) for text in texts) + b"".join(texts),
    )


@pytest.mark.parametrize("sent", [strings("a@b.org", "on"), to_proto(strings("a@b.org", "on")), content(b"a@b.org", b"on")])
def test_a_text_column_is_redacted_before_the_model_runs(model, inner, sent):
    [answered] = model.run({"in_text:0": sent}, ["out_text:0"])
    assert inner.runs[0]["in_text:0"].tolist() == [b"[email]", b"on"]
    assert answered.array.tolist() == [b"[email]", b"on"]


def test_shapes_stay(model, inner):
    model.run({"in_text:0": Tensor.of(np.array([["a@b.org"], ["on"]], object), DataType.DT_STRING)}, [])
    assert inner.runs[0]["in_text:0"].tolist() == [[b"[email]"], [b"on"]]


def test_each_input_is_redacted_by_the_rule_of_its_column(inner):
    rules = dataclasses.replace(RULES, categories={"plan": CategoryRule(("c@d.org",)), "n": CategoryRule()})
    model = RedactingModel(inner, RequestRedactor(rules))
    numbers = Tensor.of([1.5])
    model.run({"in_text:0": strings("c@d.org", "on"), "in_plan:0": strings("a@b.org", "c@d.org"), "in_n:0": numbers}, [])
    assert inner.runs[0]["in_text:0"].tolist() == [b"[email]", b"on"]
    assert inner.runs[0]["in_plan:0"].tolist() == [b"[email]", b"c@d.org"]
    assert inner.runs[0]["in_n:0"].tolist() == [1.5]


def test_columns_without_rules_and_numbers_are_left_alone(model, inner):
    model.run({"in_text:0": strings("x"), "in_plan:0": strings("a@b.org"), "in_n:0": Tensor.of([1.5])}, [])
    assert inner.runs[0]["in_plan:0"].tolist() == [b"a@b.org"]
    assert inner.runs[0]["in_n:0"].tolist() == [1.5]


def test_features_of_examples(model, inner):
    example = Example()
    example.features.feature["text"].bytes_list.value.append(b"mail a@b.org")
    example.features.feature["plan"].bytes_list.value.append(b"a@b.org")
    model.run({"in_examples:0": strings(example.SerializeToString())}, [])
    features = Example.FromString(inner.runs[0]["in_examples:0"][0]).features.feature
    assert features["text"].bytes_list.value == [b"mail [email]"]
    assert features["plan"].bytes_list.value == [b"a@b.org"]


def test_what_is_clean_is_passed_on_as_it_came(model):
    sent = to_proto(strings("turn on the light"))
    assert model._redacted("in_text:0", sent) is sent


def test_what_is_malformed_is_for_the_runtime_to_refuse(model):
    broken = TensorProto(dtype=DataType.DT_STRING, tensor_shape={"dim": [{"size": 3}]}, tensor_content=b"\xff")
    with pytest.raises(tensors.MalformedTensorProtoError):
        model.run({"in_text:0": broken}, [])


def test_is_the_model_otherwise(model, inner):
    assert (model.signatures, model.tags, model.tensorflow_version) == (inner.signatures, inner.tags, inner.tensorflow_version)
    model.close()
    assert inner.closed


class TestLoad:
    def write(self, folder, content):
        (folder / FILE).parent.mkdir()
        (folder / FILE).write_bytes(content)

    def test_a_model_without_rules_stays_as_it_is(self, inner, tmp_path):
        assert redacting(inner, tmp_path) is inner

    def test_a_model_with_rules_is_wrapped(self, inner, tmp_path, caplog):
        self.write(tmp_path, RULES.dumps())
        assert redacting(inner, tmp_path).redactor.rules == RULES
        assert not caplog.records

    def test_rules_that_cannot_be_followed_keep_a_model_from_serving(self, inner, tmp_path):
        self.write(tmp_path, b"{}")
        with pytest.raises(
            ServingError, match="rules against personal data cannot be followed: redaction rules are JSON"
        ) as error:
            redacting(inner, tmp_path)
        assert error.value.code is StatusCode.FAILED_PRECONDITION

    def test_other_detectors_than_in_training_are_told(self, inner, tmp_path, caplog):
        self.write(tmp_path, RULES.dumps().replace(b'"revision": 1', b'"revision": 999'))
        with caplog.at_level(logging.WARNING):
            redacting(inner, tmp_path)
        assert "revision 999 of the detectors" in caplog.text
