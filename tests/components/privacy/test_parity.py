"""Training and serving see the same text: what ingestion stores is what the model sees when it is asked."""

import numpy as np
import pyarrow as pa
import pytest

from components.privacy import model_rules
from components.privacy.batch import BatchRedactor
from components.privacy.options import PrivacyOptions
from serving.messages import DataType
from serving.redaction.requests import RequestRedactor
from serving.server.redacting import redacting
from serving.tensors import Tensor
from tests.serving.server.fakes import FakeModel, signature

KEY = "0123456789abcdef"
TEXTS = [
    "mail ann@example.org, call +49 30 1234567",
    "turn on the light",
    "card ４１１１ 1111 1111 1111, iban DE89 3704 0044 0532 0130 00",
    "a\u200bnn@example.org",
    "my password is [email]secret1",
    "كلمة 今日は naïve",
    "",
]


@pytest.mark.parametrize("mode", ["placeholder", "mask", "hash"])
def test_stored_and_served_text_are_equal(mode, tmp_path, monkeypatch):
    monkeypatch.setenv("REDACTION_KEY", KEY)
    options = PrivacyOptions(
        redact={entity: {"mode": mode} for entity in ("email", "phone", "card", "iban", "password")}, key="env:REDACTION_KEY"
    )
    rules = options.rules(["text"])
    ingested = BatchRedactor(options, key=rules.read_key())
    stored = ingested.redact(pa.RecordBatch.from_pydict({"text": pa.array(TEXTS)}), ["text"])["text"].to_pylist()
    assert stored != TEXTS

    model_rules.ship(ingested.rules.to_json(), tmp_path)
    raw = signature({"text": "text:0"}, {"echo": "echo:0"})
    raw.inputs["text"].dtype = DataType.DT_STRING
    inner = FakeModel(lambda feeds: {"echo:0": feeds["text:0"]}, {"serving_default": raw})
    sent = np.array([text.encode() for text in TEXTS], object)
    redacting(inner, tmp_path).run({"text:0": Tensor.of(sent, DataType.DT_STRING)}, ["echo:0"])
    assert [value.decode() for value in inner.runs[0]["text:0"]] == stored

    assert RequestRedactor.load(tmp_path).columns({"text": TEXTS})["text"] == stored
