"""The figures of bare numbers, on texts that are counted by hand."""

from benchmarks.found_spans import bare_numbers

ALSO = {"address", "person"}
ROWS = [
    ("ann 4417", [(0, 3, "person"), (4, 8, "us_ssn")]),
    ("7788 9900", [(0, 9, "card")]),
    ("pin 417", [(4, 7, "password")]),
    ("ab 4417", [(0, 7, "reference")]),
    ("12 elm st 10115", [(0, 15, "address")]),
    ("in 2218", []),
]
FOUND = [
    [(4, 8, "us_ssn")],
    [(0, 4, "number")],
    [],
    [(3, 7, "number")],
    [(10, 15, "number")],
    [(3, 7, "number")],
]


def test_spans_count_that_are_nothing_but_digits():
    scores = bare_numbers(ROWS, FOUND, ALSO)
    assert scores["us_ssn"] == {"spans": 1, "recall": 1.0, "named": 1.0, "short": 0, "short_recall": 0.0}
    # Half of it is not more than half.
    assert scores["card"] == {"spans": 1, "recall": 0.0, "named": 0.0, "short": 0, "short_recall": 0.0}
    assert scores["password"] == {"spans": 0, "recall": 0.0, "named": 0.0, "short": 1, "short_recall": 0.0}
    assert scores["all"] == {"spans": 2, "recall": 0.5, "named": 0.5, "short": 1, "short_recall": 0.0}
    assert not {"reference", "address", "person"} & scores.keys()


def test_addresses_are_somebodys_but_no_identifiers():
    scores = bare_numbers(ROWS, FOUND, ALSO)
    assert scores["number"] == {"found": 4, "precision": 0.5, "precision_also": 0.75}
    assert scores["everything"] == {"found": 5, "precision": 0.6, "precision_also": 0.8}
