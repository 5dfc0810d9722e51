"""The curated schema of the default job."""

from pathlib import Path

import home_assistant_intents
import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

SCHEMA = Path(__file__).parents[2] / "schemas" / "intents" / "schema.pbtxt"


@pytest.fixture(scope="module")
def schema():
    return text_format.Parse(SCHEMA.read_text(encoding="utf-8"), schema_pb2.Schema())


def domain(schema, name):
    return next(list(entry.value) for entry in schema.string_domain if entry.name == name)


def test_the_text_is_the_only_input_of_the_served_model(schema):
    assert [feature.name for feature in schema.feature if "SERVING" not in feature.not_in_environment] == ["text"]
    assert list(schema.default_environment) == ["TRAINING", "SERVING"]


def test_the_label_domain_is_the_grammars_intents(schema):
    grammars = [home_assistant_intents.get_intents(language) for language in domain(schema, "language")]
    assert domain(schema, "intent") == sorted({intent for grammar in grammars for intent in grammar["intents"]})
