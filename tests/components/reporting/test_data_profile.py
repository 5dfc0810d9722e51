from __future__ import annotations

import pytest

from components.reporting import data_profile


def numeric(histogram, missing=0.0):
    return {
        "name": "x",
        "type": "numeric",
        "missing": missing,
        "mean": 1.0,
        "std": 0.5,
        "min": 0.0,
        "median": 1.0,
        "max": 4.0,
        "histogram": histogram,
    }


def statistics(**features):
    return {split: {"rows": 10, "features": [feature]} for split, feature in features.items()}


def only_column(**features):
    return data_profile.columns(statistics(**features))[0][0]


class TestLabels:
    def test_ordered_by_train_rows_with_later_labels_marked(self):
        labels = data_profile.labels({"train": {"a": 2, "b": 8}, "eval": {"b": 1}, "test": {"new": 3}})
        assert [(row.name, row.counts) for row in labels.rows] == [("b", (8, 1, 0)), ("a", (2, 0, 0)), ("new", (0, 0, 3))]
        assert (labels.only_later, labels.smallest, labels.imbalance) == (1, 2, 4.0)

    def test_none_without_labels(self):
        assert data_profile.labels({}) is None

    def test_rare_labels_beyond_the_limit_are_counted(self):
        labels = data_profile.labels({"train": {str(n): n + 1 for n in range(data_profile.LABELS + 5)}})
        assert (len(labels.rows), labels.left_out) == (data_profile.LABELS, 5)


class TestColumns:
    def test_histograms_of_splits_share_an_axis(self):
        column = only_column(train=numeric([[0, 2, 10]]), test=numeric([[2, 4, 3]]))
        middle = data_profile.CHART_WIDTH / 2
        assert column.charts["train"] == (data_profile.Bar(0.0, 0.0, middle, data_profile.CHART_HEIGHT),)
        assert column.charts["test"] == (data_profile.Bar(middle, 0.0, middle, data_profile.CHART_HEIGHT),)

    def test_a_constant_is_one_bar(self):
        assert only_column(train=numeric([[3, 3, 10]])).charts["train"][0].width == data_profile.CHART_WIDTH

    def test_values_keep_the_order_of_train(self):
        train = {"name": "c", "type": "categorical", "missing": 0.0, "unique": 2, "top": [["a", 9], ["b", 5]]}
        column = only_column(train=train, test={**train, "top": [["b", 9]]})
        assert column.charts["test"][0].x == column.charts["train"][1].x
        assert column.description == "2 different: a (9), b (5)"

    @pytest.mark.parametrize(("test", "missing"), [(0.1, ("10.0%",)), (0.2, ("train 10.0%", "test 20.0%"))])
    def test_missing_is_told_by_split_where_splits_differ(self, test, missing):
        assert only_column(train=numeric([], missing=0.1), test=numeric([], missing=test)).missing == missing

    def test_a_column_without_values_has_no_range(self):
        assert only_column(train=numeric([], missing=1.0)).description == "no values"

    def test_a_column_that_only_a_later_split_has_is_told(self):
        assert only_column(train={**numeric([]), "name": "y"}, test=numeric([])).name == "y"
        assert len(data_profile.columns(statistics(train={**numeric([]), "name": "y"}, test=numeric([])))[0]) == 2


class TestShares:
    def test_rare_reasons_are_summed_up(self):
        reasons = {f"reason {n}": 10 for n in range(data_profile.QUARANTINE_REASONS + 3)}
        last = data_profile.quarantine(reasons)[-1]
        assert (last.name, last.n) == ("3 others", 30)

    def test_an_empty_run_has_no_shares(self):
        assert [share.share for share in data_profile.splits({"train": 0})] == [0.0] * 4


class TestQuarantineBySegment:
    def test_the_largest_share_first_with_its_reasons(self):
        aside = {"language": {"de": {"missing label": 3, "text too long": 1}, "fr": {"missing label": 5}}}
        french, german = data_profile.quarantine_by_segment(aside, {"language": {"de": 96, "fr": 5}})
        assert (french.value, french.n, french.share) == ("fr", 5, 0.5)
        assert (german.segment, german.share, german.reasons) == ("language", 0.04, ("missing label", "text too long"))

    def test_values_that_no_stored_row_has_lost_all_their_rows(self):
        [other] = data_profile.quarantine_by_segment({"language": {"(other)": {"missing label": 2}}}, {"language": {}})
        assert other.share == 1

    def test_nothing_where_nothing_was_set_aside(self):
        assert data_profile.quarantine_by_segment({}, {}) == data_profile.quarantine_by_segment({"language": {}}, {}) == []


class TestRemoved:
    def test_most_frequent_first(self):
        entities = {
            "email": {"mode": "placeholder", "found": 2, "rows": 2, "columns": {"body": 1, "subject": 1}, "segments": {}},
            "phone": {"mode": "hash", "found": 5, "rows": 4, "columns": {"body": 5}, "segments": {}},
        }
        phone, email = data_profile.removed({"entities": entities})
        assert (phone.entity, phone.found, phone.rows, phone.mode) == ("phone", 5, 4, "hash")
        assert [(column.name, column.n) for column in email.columns] == [("body", 1), ("subject", 1)]

    def test_nothing_where_nothing_was_looked_for(self):
        assert data_profile.removed({}) == []
        assert data_profile.removed_by_segment({}) == ([], 0)

    def test_by_segment_the_most_rows_first_and_bounded_for_each(self):
        many = {f"customer {number}": number + 1 for number in range(data_profile.SEGMENT_VALUES + 7)}
        audit = {
            "entities": {
                "email": {"segments": {"language": {"de": 3, "en": 4}, "customer": many}},
                "phone": {"segments": {"language": {"de": 9}}},
            }
        }
        entries, left_out = data_profile.removed_by_segment(audit)
        assert left_out == 7
        assert [(entry.entity, entry.value, entry.n) for entry in entries if entry.segment == "language"] == [
            ("phone", "de", 9),
            ("email", "en", 4),
            ("email", "de", 3),
        ]
        assert len(entries) == data_profile.SEGMENT_VALUES + 3

    def test_by_segment_no_message_is_named(self):
        message, other = "my name is Rosa Example, call me", "and my name is Rosa Example too"
        [entry], _ = data_profile.removed_by_segment({"entities": {"phone": {"segments": {"team": {message: 1, other: 2}}}}})
        assert (entry.value, entry.n) == ("(long and rare values)", 3)


def test_long_rare_values_of_a_segment_may_be_messages_and_are_summed_up():
    message = "my name is Rosa Example, call me"
    (shares,) = data_profile.segment_values(
        {"channel": {"chat": 90, message: 2, message + " back": 3, "a channel with a long name, in use": 5}}
    ).values()
    assert [(share.name, share.n) for share in shares] == [
        ("chat", 90),
        ("a channel with a long name, in use", 5),
        ("2 others", 5),
    ]
