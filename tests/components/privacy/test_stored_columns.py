from components.privacy import stored_columns
from components.validation import schema_file
from serving.redaction.category_rule import CategoryRule

SCHEMA = schema_file.parse("""
feature { name: "text" type: BYTES }
feature { name: "intent" type: BYTES domain: "intents" }
feature { name: "channel" type: BYTES string_domain { value: "web" value: "mail" } }
feature { name: "note" type: BYTES }
feature { name: "conversation" type: BYTES }
feature { name: "amount" type: FLOAT }
string_domain { name: "intents" value: "refund" }
""")


def test_every_stored_column_of_bytes_but_the_texts():
    assert stored_columns.categories(SCHEMA, ["text"], "conversation") == {
        "intent": CategoryRule(("refund",)),
        "channel": CategoryRule(("web", "mail")),
        "note": CategoryRule(),
        "conversation": CategoryRule(pseudonym=True),
    }


def test_a_group_that_is_not_stored_needs_no_rule():
    assert stored_columns.categories(SCHEMA, ["text"], "elsewhere")["conversation"] == CategoryRule()
