"""What is out of line with the series of earlier runs."""

import numpy as np
import pytest

from components.findings import Severity
from components.validation import span_monitoring
from components.validation.options import SpanMonitoring

RANDOM = np.random.default_rng(7)
OPTIONS = SpanMonitoring()


def summary(rows=1000, on=0.5, german=0.3, missing=0.01):
    """Ingestion's summary of one span, with the chance that real rows have."""
    rows = int(RANDOM.poisson(rows))
    labels, languages, empty = (int(RANDOM.binomial(rows, share)) for share in (on, german, missing))
    return {
        "rows": {"train": rows, "eval": 0, "test": 0, "quarantined": 0},
        "labels": {"train": {"on": labels, "off": rows - labels}},
        "segments": {"language": {"de": languages, "en": rows - languages}},
        "missing": {"channel": empty},
    }


def check(now, spans=8, options=OPTIONS):
    return span_monitoring.check(now, [summary() for _ in range(spans)], "intent", options)


def test_a_span_like_the_others_has_no_finding():
    assert check(summary()) == []


@pytest.mark.parametrize(
    ("odd", "subject", "said"),
    [
        ({"rows": 350}, "rows", "In this run, the number of rows was 3"),
        ({"on": 0.8}, "intent=on", "the share of intent=on was 8"),
        ({"german": 0.0}, "language=en", "the share of language=en was 100.0%"),
        ({"missing": 0.6}, "channel", "the share of rows without channel was "),
    ],
)
def test_what_is_out_of_line_is_named(odd, subject, said):
    [finding, *_] = check(summary(**odd))
    assert (finding.severity, finding.subject) == (Severity.WARNING, subject)
    assert said in finding.message


def test_it_stops_the_run_if_the_options_say_so():
    [finding] = check(summary(rows=300), options=SpanMonitoring(stop=True))
    assert finding.severity is Severity.ERROR


@pytest.mark.parametrize("spans", [0, 1, 4])
def test_it_is_silent_while_there_is_too_little_history(spans):
    assert check(summary(rows=10), spans=spans) == []


def test_the_options_say_how_much_is_enough():
    assert check(summary(rows=10), spans=9, options=SpanMonitoring(minimum_history=10)) == []
    assert check(summary(rows=10), spans=10, options=SpanMonitoring(minimum_history=10))


def test_nobody_looks_where_it_is_switched_off():
    assert check(summary(rows=10), options=None) == []


def test_an_odd_span_before_does_not_make_odd_ones_usual():
    earlier = [*(summary() for _ in range(8)), summary(rows=200), summary()]
    [finding] = span_monitoring.check(summary(rows=200), earlier, "intent", OPTIONS)
    assert finding.subject == "rows"


def test_a_sample_is_judged_by_samples_like_it():
    sampled = {**summary(rows=100), "sample": 0.1}
    whole = [summary() for _ in range(8)]
    assert span_monitoring.check(sampled, whole, "intent", OPTIONS) == []
    like_it = [{**summary(rows=300), "sample": 0.1} for _ in range(8)]
    assert span_monitoring.check(sampled, [*whole, *like_it], "intent", OPTIONS)[0].subject == "rows"
