"""The data gate."""

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2

from components.errors import ParlanceError
from components.findings import Severity, has_errors
from components.ingestion.earlier_texts import NEAR_DUPLICATE
from components.validation import drift, gate, schema_file
from components.validation.options import ValidationOptions
from tests.components.validation.test_distances import categorical
from tests.components.validation.test_drift import MOVED, OLD, dataset

SCHEMA = schema_file.parse(
    """
    feature { name: "channel" type: BYTES presence { min_fraction: 1 min_count: 1 } string_domain { value: "web" value: "phone" } }
    feature { name: "age" type: INT int_domain { min: 0 max: 120 } }
    """
)
CLEAN = {"rows": {"train": 80, "eval": 10, "test": 10, "quarantined": 0}, "quarantine_reasons": {}}


def anomalies(tmp_path, split="train", text=""):
    folder = tmp_path / f"Split-{split}"
    folder.mkdir()
    proto = text_format.Parse(text, anomalies_pb2.Anomalies())
    (folder / "SchemaDiff.pb").write_bytes(proto.SerializeToString())
    return str(tmp_path)


UNEXPECTED_VALUE = """
anomaly_info { key: "channel" value {
  severity: ERROR
  reason { type: ENUM_TYPE_UNEXPECTED_STRING_VALUES description: "Examples contain values missing from the schema: fax (~3%)." }
} }
"""


class TestBrokenRules:
    def told(self, tmp_path, rows, aside, options=None, **broken):
        """What is said of 100 rows of which `rows` break a rule of the channel."""
        report = {"rows": rows, "least": None, "most": None, "values": {}, "unnamed": 0, "elsewhere": {}, **broken}
        ingestion = {
            "rows": {"train": 100 - aside, "eval": 0, "test": 0, "quarantined": aside},
            "quarantine_reasons": {"channel: not in its domain": aside},
            "broken_rules": {"channel": report},
        }
        return gate.check(anomalies(tmp_path), ingestion, SCHEMA, options or ValidationOptions())

    def test_a_new_value_is_said_before_how_many_rows_were_set_aside(self, tmp_path):
        [broken, quarantine] = self.told(tmp_path, {"domain": 30}, 30, values={"fax": 30})
        assert (broken.severity, quarantine.severity) == (Severity.ERROR, Severity.ERROR)
        assert "Column 'channel' has values missing from the schema: fax (30.0%)" in broken.message
        assert "`parlance schema diff`" in broken.message

    def test_a_new_value_in_few_rows_warns(self, tmp_path):
        [broken, quarantine] = self.told(tmp_path, {"domain": 5}, 5, values={"fax": 5})
        assert (broken.severity, quarantine.severity) == (Severity.WARNING, Severity.WARNING)

    def test_a_few_rows_without_a_new_value_are_the_quarantines(self, tmp_path):
        assert [finding.check for finding in self.told(tmp_path, {"missing": 5}, 5)] == ["quarantine"]

    def test_more_rows_without_a_value_than_are_tolerated_are_an_error_of_the_column(self, tmp_path):
        broken = self.told(tmp_path, {"missing": 6}, 6)[0]
        assert (broken.severity, broken.subject) == (Severity.ERROR, "channel")

    @pytest.mark.parametrize(("asked", "severity"), [("warning", Severity.WARNING), ("info", Severity.INFO)])
    def test_options_say_how_severe_it_is(self, tmp_path, asked, severity):
        options = ValidationOptions(max_quarantined=1, severity={"channel": {"domain": asked}})
        found = self.told(tmp_path, {"domain": 30}, 30, options, values={"fax": 30})
        assert {finding.check: finding.severity for finding in found}["broken rule"] is severity


def test_near_duplicates_that_are_set_aside_as_asked_do_not_count_for_what_is_tolerated(tmp_path):
    reasons = {NEAR_DUPLICATE: 30, "text: missing": 1}
    ingestion = {"rows": {"train": 60, "eval": 5, "test": 4, "quarantined": 31}, "quarantine_reasons": reasons}
    [finding] = gate.check(anomalies(tmp_path), ingestion, SCHEMA, ValidationOptions(max_quarantined=0.01))
    assert finding.severity is Severity.WARNING
    assert "31 of 100 rows (31.00%) were set aside" in finding.message
    assert "without near duplicates, as asked, 1.00%" in finding.message
    [finding] = gate.check(str(tmp_path), ingestion, SCHEMA, ValidationOptions(max_quarantined=0.005))
    assert finding.severity is Severity.ERROR


class TestNewColumns:
    NEW = CLEAN | {"new_columns": ["colour", "size"]}

    def test_are_a_warning(self, tmp_path):
        [new, _] = gate.check(anomalies(tmp_path), self.NEW, SCHEMA, ValidationOptions())
        assert new.severity is Severity.WARNING
        assert "columns that the schema does not list: 'colour', 'size'" in new.message
        assert "data.exclude" in new.message

    def test_unless_options_say_otherwise(self, tmp_path):
        severity = {"*": {"new_column": "ignore"}, "size": {"new_column": "error"}}
        [new, _] = gate.check(anomalies(tmp_path), self.NEW, SCHEMA, ValidationOptions(severity=severity))
        assert (new.severity, new.subject) == (Severity.ERROR, "size")
        assert "colour" not in new.message

    def test_what_stands_where_a_name_belongs_is_not_shown_if_it_may_be_a_message(self, tmp_path):
        ingestion = CLEAN | {"new_columns": ["write to jane@example.com", "my parcel has been on its way for three weeks now"]}
        [new, _] = gate.check(anomalies(tmp_path), ingestion, SCHEMA, ValidationOptions())
        assert "'write to [email]', (a long name)" in new.message


class TestAnomalies:
    def test_none_passes(self, tmp_path):
        findings = gate.check(anomalies(tmp_path), CLEAN, SCHEMA, ValidationOptions())
        assert not has_errors(findings)

    def test_an_error_names_column_split_expectation_and_what_was_seen(self, tmp_path):
        [finding, _] = gate.check(anomalies(tmp_path, "eval", UNEXPECTED_VALUE), CLEAN, SCHEMA, ValidationOptions())
        assert finding.severity is Severity.ERROR
        assert finding.subject == "channel"
        for part in ("'channel'", "eval split", "one of 2 known values", "present in at least 1", "fax (~3%)"):
            assert part in finding.message

    def test_of_several_splits_is_told_once(self, tmp_path):
        for split, share in (("eval", "~9%"), ("train", "~3%"), ("test", "~8%")):
            anomalies(tmp_path, split, UNEXPECTED_VALUE.replace("~3%", share))
        [finding, _] = gate.check(str(tmp_path), CLEAN, SCHEMA, ValidationOptions())
        assert "in the train split (and in eval and test)" in finding.message
        assert "fax (~3%)" in finding.message

    def test_values_that_few_rows_have_are_counted_not_shown(self, tmp_path):
        values = "my card is 4111 (<1%), call jane@example.com (~2%), fax (~3%), it broke, again (<1%)"
        findings = gate.check(
            anomalies(tmp_path, text=UNEXPECTED_VALUE.replace("fax (~3%)", values)), CLEAN, SCHEMA, ValidationOptions()
        )
        assert "call [email] (~2%), fax (~3%), 2 more values" in findings[0].message
        assert not [word for word in ("4111", "jane", "broke") if word in str(findings)]

    def test_no_value_of_a_column_that_holds_messages_now_is_shown(self, tmp_path):
        [web, mail] = (categorical({value: 1000}) for value in ("web", "fax"))
        web.string_stats.avg_length, mail.string_stats.avg_length = 3, 50
        columns = drift.Columns(text=["text"])
        moved = drift.compare(
            dataset(1000, channel=web, text=mail), dataset(1000, channel=mail, text=web), columns, ValidationOptions(), "before"
        )
        findings = gate.check(anomalies(tmp_path, text=UNEXPECTED_VALUE), CLEAN, SCHEMA, ValidationOptions(), [moved])
        [told] = [finding for finding in findings if finding.check.startswith("anomaly")]
        assert "1 different value" in told.message
        assert "fax" not in str(findings)

    def test_a_warn_only_column_warns(self, tmp_path):
        findings = gate.check(
            anomalies(tmp_path, text=UNEXPECTED_VALUE), CLEAN, SCHEMA, ValidationOptions(warn_only=("channel",))
        )
        assert findings[0].severity is Severity.WARNING
        assert not has_errors(findings)

    def test_a_new_column_warns(self, tmp_path):
        text = (
            'anomaly_info { key: "extra" value { severity: ERROR reason { type: SCHEMA_NEW_COLUMN description: "New column" } } }'
        )
        findings = gate.check(anomalies(tmp_path, text=text), CLEAN, SCHEMA, ValidationOptions())
        assert findings[0].severity is Severity.WARNING

    def test_an_empty_split_is_an_error(self, tmp_path):
        findings = gate.check(anomalies(tmp_path, "test", "data_missing: true"), CLEAN, SCHEMA, ValidationOptions())
        assert findings[0].message == "The split test has no rows"

    def test_no_anomalies_file_at_all_is_not_taken_for_clean_data(self, tmp_path):
        with pytest.raises(ParlanceError, match="SchemaDiff"):
            gate.check(str(tmp_path), CLEAN, SCHEMA, ValidationOptions())


class TestQuarantine:
    @pytest.mark.parametrize(("quarantined", "severity"), [(0, "info"), (3, "warning"), (20, "error")])
    def test_its_share_decides(self, tmp_path, quarantined, severity):
        summary = {"rows": {**CLEAN["rows"], "quarantined": quarantined}, "quarantine_reasons": {"missing label": quarantined}}
        [finding] = gate.check(anomalies(tmp_path), summary, SCHEMA, ValidationOptions(max_quarantined=0.05))
        assert finding.severity == severity


class TestSeverities:
    @pytest.mark.parametrize(
        ("severity", "expected"),
        [
            ({"channel": {"domain": "warning"}}, Severity.WARNING),
            ({"channel": {"domain": "info"}}, Severity.INFO),
            ({"*": {"domain": "warning"}}, Severity.WARNING),
            ({"*": {"domain": "warning"}, "channel": {"domain": "error"}}, Severity.ERROR),
            ({"channel": {"missing": "warning"}}, Severity.ERROR),
        ],
    )
    def test_the_pipeline_file_says_how_severe_an_anomaly_is(self, tmp_path, severity, expected):
        options = ValidationOptions(severity=severity)
        findings = gate.check(anomalies(tmp_path, text=UNEXPECTED_VALUE), CLEAN, SCHEMA, options)
        assert [finding.severity for finding in findings if finding.subject == "channel"] == [expected]

    def test_an_ignored_anomaly_has_no_finding(self, tmp_path):
        options = ValidationOptions(severity={"channel": {"domain": "ignore"}})
        findings = gate.check(anomalies(tmp_path, text=UNEXPECTED_VALUE), CLEAN, SCHEMA, options)
        assert [finding.subject for finding in findings] == [""]

    def test_of_several_reasons_the_worst_counts(self, tmp_path):
        text = UNEXPECTED_VALUE.replace(
            "reason {", 'reason { type: FEATURE_TYPE_LOW_FRACTION_PRESENT description: "rare" } reason {'
        )
        options = ValidationOptions(severity={"channel": {"domain": "info"}})
        findings = gate.check(anomalies(tmp_path, text=text), CLEAN, SCHEMA, options)
        assert findings[0].severity is Severity.ERROR

    @pytest.mark.parametrize("severity", [{"channel": {"colour": "error"}}, {"channel": {"drift": "fatal"}}])
    def test_only_known_kinds_and_severities(self, severity):
        with pytest.raises(ValueError, match="severity"):
            ValidationOptions(severity=severity)

    @pytest.mark.parametrize(
        ("reason", "kind"),
        [
            ("FEATURE_TYPE_NOT_PRESENT", "missing"),
            ("SCHEMA_NEW_COLUMN", "new_column"),
            ("ENUM_TYPE_UNEXPECTED_STRING_VALUES", "domain"),
            ("INT_TYPE_BIG_INT", "range"),
            ("FLOAT_TYPE_HAS_NAN", "range"),
            ("ENUM_TYPE_INT_NOT_STRING", "type"),
            ("FEATURE_TYPE_UNEXPECTED_REPEATED", "shape"),
            ("NO_DATA_IN_SPAN", "other"),
        ],
    )
    def test_reasons_are_of_a_kind(self, reason, kind):
        assert gate.kind_of(anomalies_pb2.AnomalyInfo.Type.Value(reason)) == kind


def test_what_drifted_joins_the_findings(tmp_path):
    options = ValidationOptions(severity={"channel": {"drift": "error"}})
    moved = drift.compare(OLD, MOVED, drift.Columns(), options, drift.PREVIOUS)
    first, *_ = gate.check(anomalies(tmp_path), CLEAN, SCHEMA, options, [moved])
    assert (first.check, first.severity) == ("drift", Severity.ERROR)
