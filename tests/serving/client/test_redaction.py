"""Personal data that clients remove before they send anything."""

from serving.client import ExampleBuilder
from serving.redaction import RedactionRules
from serving.redaction.requests import RequestRedactor

# The model knows the label "stop" by the text, so its answer shows what it was given.
TEXT = "mail stop@example.org"
REDACTOR = RequestRedactor(RedactionRules.of(["email"], ["text"]))


def test_columns(connect, server):
    client = connect(timeout=10, redact=REDACTOR)
    prediction = client.predict("intents", {"text": [TEXT, "light"]})
    assert prediction.abstained.tolist() == [True, False]
    assert connect(timeout=10).predict("intents", {"text": [TEXT]}).labels == ["stop"]


def test_examples(connect, server):
    builder = ExampleBuilder({"text": str})
    sent = {"rows": [{"text": TEXT}], "builder": builder, "signature": "serving_examples"}
    assert connect(timeout=10).predict_examples("intents", **sent)["scores"][0].max() > 0.5
    before = len(server.seen)
    prediction = connect(timeout=10, redact=REDACTOR).predict_examples("intents", **sent)
    assert prediction["scores"][0].max() < 0.5
    assert not any(b"stop@example.org" in request.SerializeToString() for _, request in server.seen[before:])
