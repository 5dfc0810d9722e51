"""The curated schema file."""

import pytest

from components.errors import UsageError
from components.validation import schema_file


def test_model_inputs_are_what_serving_sees():
    schema = schema_file.parse('feature { name: "text" } feature { name: "label" not_in_environment: "SERVING" }')
    assert [feature.name for feature in schema_file.model_inputs(schema)] == ["text"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("feature {", "not a TFDV schema"),
        ("colour: red", "not a TFDV schema"),
        ("", "lists no feature"),
        ('feature { name: "a" } feature { name: "a" }', "more than once: a"),
    ],
)
def test_what_is_no_schema_is_refused(text, message):
    with pytest.raises(UsageError, match=message):
        schema_file.parse(text)


def test_a_missing_file_says_how_to_get_one(tmp_path):
    with pytest.raises(UsageError, match="parlance init"):
        schema_file.read(tmp_path / "schema.pbtxt")
