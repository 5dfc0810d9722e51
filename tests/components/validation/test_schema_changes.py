"""What new data would change in a schema, and writing it into the file."""

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import statistics_pb2

from components.errors import ParlanceError
from components.validation import schema_changes, schema_file, schema_text

SCHEMA = """\
# Curated by hand.
feature {
  name: "channel"  # where it came from
  type: BYTES
  presence { min_fraction: 1 min_count: 1 }
  string_domain {
    value: "web"
    # Since May.
    value: "phone"
  }
}
feature { name: "age" type: INT int_domain { min: 0 max: 120 } }
feature { name: "fare" type: FLOAT float_domain { min: 0.5 max: 99.5 } presence { min_fraction: 0.9 } }
feature { name: "language" type: BYTES domain: "language" }
feature { name: "text" type: BYTES string_domain { value: "hello" } }
string_domain { name: "language" value: "de" value: "en" }
default_environment: "TRAINING"
"""


def strings(name, rows, present=None):
    buckets = "".join(f'buckets {{ label: "{value}" sample_count: {count} }}' for value, count in rows.items())
    return f"""features {{ path {{ step: "{name}" }} type: STRING string_stats {{
        common_stats {{ num_non_missing: {present or sum(rows.values())} }} rank_histogram {{ {buckets} }} }} }}"""


def numbers(name, low, high, present=100):
    return f"""features {{ path {{ step: "{name}" }} num_stats {{
        common_stats {{ num_non_missing: {present} }} min: {low} max: {high} }} }}"""


def dataset(*features):
    return text_format.Parse("num_examples: 100 " + " ".join(features), statistics_pb2.DatasetFeatureStatistics())


FITTING = {
    "channel": strings("channel", {"web": 100}),
    "age": numbers("age", 18, 80),
    "fare": numbers("fare", 1.5, 40),
    "language": strings("language", {"de": 100}),
    "text": strings("text", {"hello": 100}),
}


def find(**changed):
    return schema_changes.find({"train": dataset(*{**FITTING, **changed}.values())}, schema_file.parse(SCHEMA), ["text"])


class TestFind:
    def test_data_that_fits_changes_nothing(self):
        assert find() == schema_changes.Changes((), ())

    @pytest.mark.parametrize(
        ("changed", "line"),
        [
            ({"channel": strings("channel", {"web": 90, "fax": 10})}, "channel/value=fax  add the value 'fax'  (10 rows)"),
            ({"language": strings("language", {"fr": 100})}, "language/value=fr  add the value 'fr'  (100 rows)"),
            ({"age": numbers("age", 18, 130)}, "age/max  max 120 -> 130  (130 was seen)"),
            ({"fare": numbers("fare", 0.25, 40)}, "fare/min  min 0.5 -> 0.25  (0.25 was seen)"),
            (
                {"channel": strings("channel", {"web": 43}, 43)},
                "channel/presence  presence.min_fraction 1 -> 0.43  (43.00% of the rows of one split have it)",
            ),
        ],
    )
    def test_each_kind_of_change_is_a_line_with_an_id(self, changed, line):
        assert [change.line() for change in find(**changed).changes] == [line]

    def test_a_limit_must_hold_in_every_split(self):
        splits = {"train": dataset(*FITTING.values()), "eval": dataset(*{**FITTING, "age": numbers("age", 18, 130)}.values())}
        assert [change.id for change in schema_changes.find(splits, schema_file.parse(SCHEMA), ["text"]).changes] == ["age/max"]

    def test_values_of_few_rows_are_counted_and_not_named(self):
        found = find(channel=strings("channel", {"web": 97, "Ms Jones": 3}))
        assert found.changes == ()
        assert "1 new values" in found.notes[0]
        assert "Jones" not in found.notes[0]

    def test_values_of_text_columns_are_not_looked_at(self):
        assert find(text=strings("text", {"a secret": 100})) == find()

    def test_a_column_without_statistics_is_told(self):
        assert "'age' is in the schema and in no row" in find(age="").notes[0]


class TestSetAside:
    """Rows that were set aside are in no statistics."""

    def find(self, new_columns=(), **broken):
        nothing = {"rows": {}, "least": None, "most": None, "values": {}, "unnamed": 0, "elsewhere": {}}
        told = {name: nothing | report for name, report in broken.items()}
        ingestion = {"rows": {"train": 80, "quarantined": 20}, "broken_rules": told, "new_columns": list(new_columns)}
        return schema_changes.find({"train": dataset(*FITTING.values())}, schema_file.parse(SCHEMA), ["text"], ingestion)

    @pytest.mark.parametrize(
        ("broken", "line"),
        [
            (
                {"channel": {"rows": {"domain": 20}, "values": {"fax": 20}}},
                "channel/value=fax  add the value 'fax'  (20 rows, 20 of them set aside)",
            ),
            ({"age": {"rows": {"above": 1}, "most": 130.0}}, "age/max  max 120 -> 130  (130 was seen)"),
            ({"fare": {"rows": {"below": 1}, "least": 0.25}}, "fare/min  min 0.5 -> 0.25  (0.25 was seen)"),
            (
                {"channel": {"rows": {"missing": 20}}},
                "channel/presence  presence.min_fraction 1 -> 0.8  (20 rows without it were set aside)",
            ),
        ],
    )
    def test_what_they_need_is_proposed_all_the_same(self, broken, line):
        found = self.find(**broken).changes
        assert [change.line() for change in found] == [line]
        assert schema_file.parse(schema_text.edit(SCHEMA, found)) == schema_changes.apply(schema_file.parse(SCHEMA), found)

    def test_values_that_are_not_named_are_counted(self):
        found = self.find(channel={"rows": {"domain": 20}, "unnamed": 20})
        assert found.changes == ()
        assert "20 rows were set aside with values of column 'channel' that are not named" in found.notes[0]

    def test_columns_that_nobody_named_are_noted(self):
        assert "Column 'colour' of the table is not in the schema (new_column)" in self.find(["colour"]).notes[0]


class TestEdit:
    @pytest.mark.parametrize(
        ("changed", "old", "new"),
        [
            (
                {"channel": strings("channel", {"web": 90, "fax": 10})},
                '    value: "phone"\n',
                '    value: "phone"\n    value: "fax"\n',
            ),
            ({"language": strings("language", {"fr": 100})}, 'value: "en" }', 'value: "en" value: "fr" }'),
            ({"age": numbers("age", 18, 130)}, "max: 120", "max: 130"),
            ({"fare": numbers("fare", 0.25, 40)}, "min: 0.5", "min: 0.25"),
            ({"channel": strings("channel", {"web": 43}, 43)}, "min_fraction: 1 ", "min_fraction: 0.43 "),
        ],
    )
    def test_only_the_changed_place_changes(self, changed, old, new):
        assert schema_text.edit(SCHEMA, find(**changed).changes) == SCHEMA.replace(old, new)

    def test_several_changes(self):
        changes = find(age=numbers("age", -1, 130), channel=strings("channel", {"fax": 40, "tele x": 40}, 80)).changes
        edited = schema_text.edit(SCHEMA, changes)
        assert len(changes) == 5
        assert schema_file.parse(edited) == schema_changes.apply(schema_file.parse(SCHEMA), changes)
        assert "# Since May." in edited

    @pytest.mark.parametrize("value", ['say "hi"', "a\\b", "Zürich", "{", "# no comment"])
    def test_values_with_marks_of_the_format(self, value):
        change = schema_changes.Change("channel/value", "channel", schema_changes.VALUE, value, None, "")
        once = schema_text.edit(SCHEMA, [change])
        assert schema_file.parse(once).feature[0].string_domain.value[-1] == value
        again = schema_text.edit(once, [schema_changes.Change("", "channel", schema_changes.VALUE, "fax", None, "")])
        assert schema_file.parse(again).feature[0].string_domain.value[-1] == "fax"

    def test_a_layout_it_does_not_understand_is_refused_not_damaged(self):
        listed = 'feature { name: "channel" string_domain { value: ["web", "phone"] } }'
        change = schema_changes.Change("channel/value=fax", "channel", schema_changes.VALUE, "fax", None, "")
        with pytest.raises(ParlanceError, match="edit it by hand"):
            schema_text.edit(listed, [change])
