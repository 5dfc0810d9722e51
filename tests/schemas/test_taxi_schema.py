"""The curated schema of the taxi trips, held against the trips that ship with the tfx package."""

from pathlib import Path

import pytest

from components.findings import Severity
from components.ingestion import ingest, source_path
from components.validation import leaks, schema_file
from components.validation.options import LeakLimits
from pipeline import config

PROJECT = Path(__file__).parents[2]
PAYMENT = 'feature { name: "payment_type" type: BYTES }'
TELLS = "column that tells the label"


@pytest.fixture
def ingested(tmp_path):
    """Ingests the trips as pipeline/configs/taxi.yaml says, with more in the schema or other settings; returns the summary."""

    def run(more="", **settings):
        taxi = config.load(PROJECT / "pipeline" / "configs" / "taxi.yaml")
        data = taxi.data.model_copy(update=settings)
        schema = schema_file.parse((PROJECT / taxi.schema_path).read_text(encoding="utf-8") + more)
        paths = [source_path.resolve(data.source.path)]
        return ingest.ingest(data, schema, paths, str(tmp_path / "out"), str(tmp_path / "quarantine"))

    return run


def test_every_trip_keeps_the_rules_and_no_input_gives_the_label_away(ingested):
    summary = ingested()
    assert (sum(summary["rows"].values()), summary["rows"]["quarantined"]) == (15_002, 0)
    assert (summary["broken_rules"], summary["new_columns"]) == ({}, [])
    assert TELLS not in {finding.check for finding in leaks.check(summary["leaks"], LeakLimits())}


def test_the_way_of_paying_is_reported_as_giving_the_label_away(ingested):
    summary = ingested(PAYMENT, exclude=("tips",))
    [told] = [finding for finding in leaks.check(summary["leaks"], LeakLimits()) if finding.check == TELLS]
    assert (told.subject, told.severity) == ("payment_type", Severity.WARNING)
    assert "exclude it, unless a request carries it before the label is known" in told.message
