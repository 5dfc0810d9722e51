"""What is said of rows that break the schema's rules."""

import pyarrow as pa
import pytest

from components.ingestion import broken_rules
from components.ingestion.broken_rules import BrokenRules


def outside(values, domain=("web", "phone"), **others):
    """What is counted of a column `channel`."""
    broken, column = BrokenRules(), pa.array(values)
    rows = pa.array([value not in domain for value in values])
    places = {name: pa.array(cells) for name, cells in others.items()}
    broken.outside("channel", column, rows, pa.array(domain), places)
    return broken


def told(broken, total, redact=str):
    return [(one.rule, one.rows, one.message) for one in broken_rules.breaks(broken.report(redact), total)]


class TestDomain:
    def test_names_values_of_five_rows_and_counts_the_others(self):
        broken = outside(["web"] * 80 + ["fax"] * 12 + ["Ms Jones"] * 4 + ["Mr Smith"] * 4)
        [(rule, rows, message)] = told(broken, 100)
        assert (rule, rows) == (broken_rules.DOMAIN, 20)
        assert "missing from the schema: fax (12.0%), others in 8 rows; in 20 of 100 rows (20.0%)" in message
        assert broken.report(str)["channel"]["values"] == {"fax": 12}
        assert "Jones" not in str(broken.report(str))

    @pytest.mark.parametrize("value", ["jane@example.org", "x" * 101, "secret"])
    def test_names_no_personal_data_nothing_long_and_nothing_that_the_pipeline_removes(self, value):
        report = outside(["web"] * 50 + [value] * 50).report(lambda text: text.replace("secret", "[customer]"))
        assert report["channel"]["values"] == {}
        assert report["channel"]["unnamed"] == 50
        assert value not in str(report)

    def test_parts_add_up_to_the_whole(self):
        parts = [outside(["fax"] * 3 + ["web"]), outside(["fax"] * 4 + ["tv"] * 2)]
        parts[0].merge(parts[1])
        assert parts[0].report(str) == outside(["fax"] * 7 + ["tv"] * 2 + ["web"]).report(str)

    def test_a_frequent_value_is_not_lost_among_very_many(self, monkeypatch):
        monkeypatch.setattr(broken_rules, "_MOST_HELD", 20)
        broken = BrokenRules()
        for part in range(10):
            broken.merge(outside([*(f"message {part} {number}" for number in range(18)), "fax", "fax"]))
        assert broken.report(str)["channel"] | {"elsewhere": {}} == {
            "rows": {"domain": 200},
            "least": None,
            "most": None,
            "values": {"fax": 20},
            "unnamed": 180,
            "elsewhere": {},
        }
        assert len(broken._columns["channel"].values) <= 20

    def test_a_column_whose_values_are_in_another_one_changed_places_with_it(self):
        [(_, _, message)] = told(outside(["a message"] * 10, text=["web"] * 9 + ["phone"], note=["x"] * 10), 10)
        assert message.startswith("Column 'channel' seems to have changed places with column 'text'")
        assert "a message" not in message

    def test_few_rows_with_other_values_have_not_changed_places(self):
        [(_, _, message)] = told(outside(["fax"] * 10, text=["web"] * 10), 100)
        assert "missing from the schema: fax (10.0%)" in message


class TestOtherRules:
    def test_missing_values(self):
        broken = BrokenRules()
        broken.missing("fare", pa.array([True, False, True]))
        broken.missing("age", pa.array([False, False, False]))
        assert told(broken, 3)[0][2].startswith("Column 'fare' has no value in 2 of 3 rows (66.7%)")
        assert list(broken.report(str)) == ["fare"]

    def test_numbers_beyond_their_limits(self):
        broken = BrokenRules()
        for rule, rows in ((broken_rules.BELOW, [True, False, None]), (broken_rules.ABOVE, [False, True, None])):
            broken.beyond("age", rule, pa.array([-3, 130, None]), pa.array(rows))
        assert [(rule, message.rpartition("; ")[2]) for rule, _, message in told(broken, 3)] == [
            ("below", "the smallest is -3"),
            ("above", "the largest is 130"),
        ]
