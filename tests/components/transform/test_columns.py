import pytest

from components.errors import UsageError
from components.transform.columns import Columns
from components.validation import schema_file

SCHEMA = """
feature { name: "body" type: BYTES }
feature { name: "title" type: BYTES }
feature { name: "channel" type: BYTES }
feature { name: "age" type: INT }
feature { name: "zip" type: INT int_domain { is_categorical: true } }
feature { name: "price" type: FLOAT }
feature { name: "intent" type: BYTES not_in_environment: "SERVING" }
feature { name: "group" type: BYTES not_in_environment: "SERVING" }
default_environment: "TRAINING"
default_environment: "SERVING"
"""


@pytest.fixture
def schema():
    return schema_file.parse(SCHEMA)


class TestRoles:
    def test_follow_type_and_environment(self, schema):
        columns = Columns.of(schema, ["title", "body"], "intent")
        assert columns.text == ("title", "body")
        assert columns.categorical == ("channel", "zip")
        assert columns.numeric == ("age", "price")
        assert columns.integers == {"age", "zip"}
        assert columns.inputs == ("title", "body", "channel", "zip", "age", "price")

    def test_strings_that_are_not_text_are_categories(self, schema):
        assert Columns.of(schema, [], "intent").categorical == ("body", "title", "channel", "zip")

    @pytest.mark.parametrize("name", ["price", "group", "nowhere"])
    def test_text_must_be_an_input_of_bytes(self, schema, name):
        with pytest.raises(UsageError, match=f"'{name}' is not. The schema has: body, channel, title"):
            Columns.of(schema, ["body", name], "intent")

    def test_there_must_be_an_input(self):
        schema = schema_file.parse('feature { name: "intent" type: BYTES not_in_environment: "SERVING" }')
        with pytest.raises(UsageError, match="no input"):
            Columns.of(schema, [], "intent")
