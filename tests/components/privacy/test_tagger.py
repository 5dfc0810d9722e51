"""The tagger is trained by the ordinary trainer, and finds the same when rows are read and when a model is asked."""

import pathlib
import types

import numpy as np
import pyarrow as pa
import pytest

from components.ingestion import tagged_text
from components.privacy import model_rules
from components.privacy.batch import BatchRedactor
from components.privacy.options import PrivacyOptions
from pipeline.config import CONFIGS, load
from serving.messages import DataType
from serving.redaction.tagger import AROUND
from serving.server import tagging
from serving.server.redacting import redacting
from serving.tensors import Tensor
from tests.components import raw_rows
from tests.serving.server.fakes import FakeModel, signature

pytestmark = pytest.mark.tensorflow

TEXTS = [
    "my name is John Smith",
    "hi, this is Petra Vogel. the order is late",
    "thank you",
    "",
    "please send it to 12 Oak Street, Leeds",
    "mail john.smith@example.org or ask Mary Brown",
    "turn on the light",
]


@pytest.fixture(scope="module")
def tagger(tmp_path_factory) -> pathlib.Path:
    """A tagger of few sentences, trained with the options of its pipeline file."""
    import tensorflow as tf

    from components.training import trainer

    folder = tmp_path_factory.mktemp("tagger")
    config = load(CONFIGS / "tagger.yaml")
    schema = (CONFIGS.parent.parent / config.schema_path).read_text(encoding="utf-8")
    rows = [row for batch in tagged_text.batches(["en"], 1500, 0) for row in batch.to_pylist()]
    for split, part in (("train", rows[:-600]), ("eval", rows[-600:])):
        with tf.io.TFRecordWriter(str(folder / f"{split}.gz"), "GZIP") as writer:
            for row in part:
                writer.write(raw_rows.serialized(row))
    (folder / "schema.pbtxt").write_text(schema)
    model = {**config.model.model_dump(mode="json"), "epochs": 6, "batch_size": 128, "members": 1}
    model["encoder"] |= {"buckets": 2**14, "dropout": 0.1}
    # The labels are all that the graph learns from rows.
    raw_rows.analyse(
        rows[:300], {"schema": schema, "text": config.data.text, "label": config.data.label, "encoder": model["encoder"]}, folder
    )
    trainer.run_fn(
        types.SimpleNamespace(
            custom_config={"model": model, "text": list(config.data.text), "label": config.data.label},
            train_files=[str(folder / "train.gz")],
            eval_files=[str(folder / "eval.gz")],
            schema_path=str(folder / "schema.pbtxt"),
            transform_graph_path=str(folder / "transform"),
            serving_model_dir=str(folder / "model"),
            model_run_dir=str(folder / "run"),
        )
    )
    return folder / "model"


@pytest.fixture(scope="module")
def options(tagger) -> PrivacyOptions:
    return PrivacyOptions(redact=["person", "email"], tagger=str(tagger))


@pytest.fixture(scope="module")
def redacted(options) -> list[str]:
    """The texts as ingestion stores them."""
    return redact(TEXTS, options)


def redact(texts: list[str], options: PrivacyOptions) -> list[str]:
    batch = pa.RecordBatch.from_pydict({"text": pa.array(texts)})
    return BatchRedactor(options).redact(batch, ["text"])["text"].to_pylist()


def test_the_model_reads_all_of_a_window():
    assert load(CONFIGS / "tagger.yaml").model.encoder.width == 2 * AROUND + 1


def test_finds_most_names_in_sentences_like_those_it_has_learnt(options):
    # Not one sentence or another: what so small a model makes of it differs between processors.
    made = tagged_text.sentences(["en"], 200, seed=1)
    after = redact([sentence.text for sentence in made], options)
    names = [
        (piece.text, text)
        for sentence, text in zip(made, after, strict=True)
        for piece in sentence.pieces
        if piece.label == "person"
    ]
    assert sum(name not in text for name, text in names) > 0.5 * len(names)
    assert sum("[person]" in text for text in after) < len(after)


def test_other_detectors_find_theirs_beside_it(redacted):
    assert redacted[2:4] == ["thank you", ""]
    assert "[email]" in redacted[5]


def test_what_is_stored_is_what_a_model_is_asked_with(options, redacted, tmp_path):
    assert model_rules.ship(options.rules(["text"]).to_json(), tmp_path)
    raw = signature({"text": "text:0"}, {"echo": "echo:0"})
    raw.inputs["text"].dtype = DataType.DT_STRING
    inner = FakeModel(lambda feeds: {"echo:0": feeds["text:0"]}, {"serving_default": raw})
    model = redacting(inner, tmp_path)
    sent = np.array([text.encode() for text in TEXTS], object)
    model.run({"text:0": Tensor.of(sent, DataType.DT_STRING)}, ["echo:0"])
    assert [value.decode() for value in inner.runs[0]["text:0"]] == redacted != TEXTS
    model.close()


def test_a_text_alone_is_judged_as_in_a_batch(tagger):
    found = tagging.load(tagger)
    together = found.find_all(TEXTS)
    assert [found.find(text) for text in TEXTS] == together
    assert any(together)
    found.close()
