import numpy as np
import pytest

from serving.messages import DataType
from serving.redaction import FILE, DetectorFile, EntityRule, RedactionRules, tagger
from serving.server import tagging
from serving.server.errors import ServingError, StatusCode
from serving.server.redacting import redacting
from serving.tensors import Tensor
from tests.serving.server.fakes import FakeModel, signature

LABELS = [b"none", b"person", b"address", b"organisation"]


def knows_ann(feeds):
    """The answers of a model that takes every Ann for a person."""
    words = [window.split(b" ")[tagger.AROUND] for window in feeds["words:0"]]
    best = [1 if word in (b"Ann", b"ann", b"Smith", b"smith") else 0 for word in words]
    order = [[label, *(set(range(4)) - {label})] for label in best]
    return {
        "labels:0": np.array([[LABELS[label] for label in row] for row in order], object),
        "scores:0": np.tile(np.array([0.97, 0.01, 0.01, 0.01], "f4"), (len(words), 1)),
    }


def tagger_signature(**inputs):
    return signature(
        inputs or {"window": "words:0", "casing": "casing:0"},
        {"top_labels": "labels:0", "top_scores": "scores:0", "label": "label:0"},
    )


class Runtime:
    version = "fake"

    def __init__(self, model):
        self.model = model
        self.loads = []

    def load(self, path, options):
        self.loads.append(path)
        if self.model is None:
            raise ServingError(StatusCode.NOT_FOUND, f"Could not find SavedModel at {path}")
        return self.model


@pytest.fixture
def runtime():
    return Runtime(FakeModel(knows_ann, {"serving_default": tagger_signature()}))


def test_a_tagger_runs_in_the_servers_runtime(runtime, tmp_path):
    found = tagging.load(tmp_path, runtime)
    [span] = found.find("this is Ann Smith speaking")
    assert (span.start, span.end, span.entity, span.detector) == (8, 17, "person", "tagger")
    assert runtime.loads == [tmp_path]
    [run] = runtime.model.runs
    assert run["words:0"].tolist() == [
        window.words.encode()
        for window in tagger.windows("this is Ann Smith speaking", tagger.tokens("this is Ann Smith speaking"))
    ]
    assert set(run["casing:0"].tolist()) == {b"mixed"}
    found.close()
    assert runtime.model.closed


def test_another_model_is_refused_and_closed(tmp_path):
    runtime = Runtime(FakeModel(knows_ann, {"serving_default": tagger_signature(text="words:0")}))
    with pytest.raises(
        ValueError, match="this is no tagger: .* takes window and casing and answers .*; this one takes text. Train a tagger"
    ):
        tagging.load(tmp_path, runtime)
    assert runtime.model.closed


def test_what_cannot_be_loaded_is_refused(tmp_path):
    with pytest.raises(ValueError, match="the tagger in .* cannot be loaded: .*Could not find SavedModel"):
        tagging.load(tmp_path, Runtime(None))


class TestCarried:
    @pytest.fixture
    def version(self, tmp_path):
        rules = RedactionRules(
            {"person": EntityRule(detectors=(tagger.NAME,))}, ("text",), files={tagger.NAME: DetectorFile(tagger.NAME, "5f")}
        )
        (tmp_path / FILE).parent.mkdir()
        (tmp_path / FILE).write_bytes(rules.dumps())
        return tmp_path

    def test_a_model_without_one(self, version, runtime):
        assert tagging.carried(version, runtime) == []

    def test_is_used_on_what_a_model_is_asked_and_closed_with_it(self, version, runtime):
        (version / FILE).with_name(tagger.NAME).mkdir()
        raw = signature({"text": "text:0"}, {"echo": "echo:0"})
        raw.inputs["text"].dtype = DataType.DT_STRING
        inner = FakeModel(lambda feeds: {"echo:0": feeds["text:0"]}, {"serving_default": raw})
        model = redacting(inner, version, lambda path: tagging.carried(path, runtime))
        model.run({"text:0": Tensor.of([b"i am ann smith", b"ok"], DataType.DT_STRING)}, ["echo:0"])
        assert inner.runs[0]["text:0"].tolist() == [b"i am [person]", b"ok"]
        model.close()
        assert runtime.model.closed
        assert inner.closed

    def test_a_model_whose_tagger_is_missing_is_not_served(self, version):
        with pytest.raises(ServingError, match="cannot be followed: person is found by a trained tagger, which TensorFlow runs"):
            redacting(FakeModel(None, {}), version)
