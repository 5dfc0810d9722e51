"""The data gate."""

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2

from components.errors import ParlanceError
from components.findings import Severity, has_errors
from components.validation import gate, schema_file
from components.validation.options import ValidationOptions

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
