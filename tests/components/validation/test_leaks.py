"""What counts as a leak."""

import pydantic
import pytest

from components.findings import Severity
from components.validation import leaks
from components.validation.options import LeakLimits, Limit


def _report(exact=0.0, near=0.0, conflicts=0.0, share_of_texts=1.0, **columns):
    return {
        "exact": {"eval": {"rows": 0, "share": 0.0}, "test": {"rows": round(exact * 1000), "share": exact}},
        "near": {"eval": {"rows": 0, "share": 0.0}, "test": {"rows": round(near * 1000), "share": near}},
        "label_conflicts": {"texts": 7, "rows": round(conflicts * 1000), "share": conflicts},
        "share_of_texts": share_of_texts,
        "columns": {name: {"information": value, "gain": 0.1} for name, value in columns.items()},
    }


def _found(report, limits=None):
    return {finding.check: finding for finding in leaks.check(report, limits or LeakLimits())}


def test_nothing_over_a_limit_is_information():
    found = _found(_report(exact=0.01, near=0.02, fare=0.1))
    assert {finding.severity for finding in found.values()} == {Severity.INFO}
    assert "10 test rows (1.00%) have the very text of a train or eval row" in found["exact duplicates"].message
    assert "column that tells the label" not in found


@pytest.mark.parametrize(
    ("report", "check", "words"),
    [
        (_report(exact=0.2), "exact duplicates", "200 test rows (20.00%)"),
        (_report(near=0.3), "near duplicates", "give or take case"),
        (_report(conflicts=0.05), "label conflicts", "7 texts have several labels; 50 rows (5.00%)"),
        (_report(payment_type=0.6), "column that tells the label", "'payment_type' alone explains 60% of the label"),
    ],
)
def test_a_leak_is_a_warning_that_names_its_limit(report, check, words):
    finding = _found(report)[check]
    assert finding.severity is Severity.WARNING
    assert words in finding.message
    assert "(validation.leaks." in finding.message
    assert sum(finding.severity is Severity.WARNING for finding in _found(report).values()) == 1


def test_an_error_where_a_limit_says_so():
    limits = LeakLimits(telling_column=Limit(warn=0.1, fail=0.5))
    found = list(leaks.check(_report(a=0.05, b=0.2, c=0.9), limits))
    told = {finding.subject: finding.severity for finding in found if finding.subject}
    assert told == {"c": Severity.ERROR, "b": Severity.WARNING}


def test_an_estimate_says_so():
    assert "(estimated from 25.00% of the texts)" in _found(_report(share_of_texts=0.25))["near duplicates"].message


def test_a_table_without_text_has_findings_about_columns_only():
    assert list(leaks.check({"columns": {"a": {"information": 0.1, "gain": 0.0}}}, LeakLimits())) == []


def test_a_warning_comes_before_an_error():
    with pytest.raises(pydantic.ValidationError, match="warn is at most fail"):
        Limit(warn=0.5, fail=0.1)
    assert LeakLimits.model_validate_json(LeakLimits().model_dump_json()) == LeakLimits()
