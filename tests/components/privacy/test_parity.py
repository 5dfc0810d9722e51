"""Training and serving see the same text: what ingestion stores is what the model sees when it is asked."""

import numpy as np
import pyarrow as pa
import pytest

from components.privacy import model_rules, stored_columns
from components.privacy.batch import BatchRedactor
from components.privacy.options import PrivacyOptions
from components.validation import schema_file
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
    "ann ４417, in 2017, 4417 dollars",
    "441 e 15",
    "كلمة 今日は naïve",
    "",
]

DOMAINS = {"channel": 'string_domain { value: "asp.net" value: "web" }', "note": "", "chat": ""}


@pytest.mark.parametrize("mode", ["placeholder", "mask", "hash"])
def test_stored_and_served_text_are_equal(mode, tmp_path, monkeypatch):
    monkeypatch.setenv("REDACTION_KEY", KEY)
    options = PrivacyOptions(
        redact={entity: {"mode": mode} for entity in ("email", "phone", "card", "iban", "password", "number")},
        key="env:REDACTION_KEY",
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


@pytest.mark.parametrize("mode", ["placeholder", "hash"])
def test_stored_and_served_categories_are_equal(mode, tmp_path, monkeypatch):
    """Whatever stands in a column: the rules are those that the run writes into the model, made from the schema apart from ingestion."""
    monkeypatch.setenv("REDACTION_KEY", KEY)
    options = PrivacyOptions(
        redact={entity: {"mode": mode} for entity in ("email", "phone", "card", "iban", "password", "url")},
        key="env:REDACTION_KEY",
    )
    schema = schema_file.parse(
        "\n".join(f'feature {{ name: "{name}" type: BYTES {domain} }}' for name, domain in {**DOMAINS, "text": ""}.items())
    )
    columns = {name: [*TEXTS, "asp.net", "web", "4006381333931"] for name in (*DOMAINS, "text")}
    categories = stored_columns.categories(schema, ["text"], "chat")
    ingested = BatchRedactor(options, key=options.read_key(), categories=categories)
    rows = ingested.redact(pa.RecordBatch.from_pydict(columns), ["text"])
    stored = rows.to_pydict()
    assert stored["channel"][len(TEXTS) :] == ["asp.net", "web", "[phone]" if mode == "placeholder" else stored["text"][-1]]
    assert stored["chat"][0].startswith("[id:")
    assert stored["note"] == stored["text"] != TEXTS

    rules = options.rules(["text"], categories)
    assert ingested.rules == rules
    model_rules.ship(rules.to_json(), tmp_path)
    raw = signature({name: f"{name}:0" for name in columns}, {"echo": "echo:0"})
    for name in columns:
        raw.inputs[name].dtype = DataType.DT_STRING
    inner = FakeModel(lambda feeds: {"echo:0": feeds["text:0"]}, {"serving_default": raw})
    sent = {f"{name}:0": np.array([value.encode() for value in values], object) for name, values in columns.items()}
    redacting(inner, tmp_path).run({name: Tensor.of(values, DataType.DT_STRING) for name, values in sent.items()}, ["echo:0"])
    seen = {name: [value.decode() for value in inner.runs[0][f"{name}:0"]] for name in columns}
    assert seen == stored
    assert RequestRedactor.load(tmp_path).columns(columns) == stored
