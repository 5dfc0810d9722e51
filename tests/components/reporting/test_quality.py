from __future__ import annotations

import pytest

from components.reporting import quality

MIN_ROWS = 100


def metrics(slices, majority=(), comparison=None, segments=()):
    return {
        "top_k": 5,
        "min_rows": MIN_ROWS,
        "segments": list(segments),
        "candidate": {"slices": slices},
        "majority": {"slices": list(majority)},
        "comparison": comparison and {"slices": comparison},
    }


def row(slice_, n, intervals=None, **values):
    return {"slice": slice_, "n": n, "metrics": values, "intervals": intervals or {}}


def compared(slice_, n, name, candidate, baseline, interval=None):
    return {
        "slice": slice_,
        "n": n,
        "candidate": {name: candidate},
        "baseline": {name: baseline},
        "metrics": {name: candidate - baseline},
        "intervals": {name: interval} if interval else {},
    }


class TestOverall:
    def test_stands_beside_baseline_and_majority(self):
        found = quality.overall(
            metrics(
                [row({}, 10, {"accuracy": [0.7, 0.9]}, accuracy=0.8)],
                majority=[row({}, 10, accuracy=0.4)],
                comparison=[compared({}, 10, "accuracy", 0.8, 0.7, [0.02, 0.18])],
            )
        ).rows[0]
        assert (found.label, found.candidate, found.interval, found.majority) == ("Accuracy", 0.8, [0.7, 0.9], 0.4)
        assert found.baseline == 0.7
        assert found.change == pytest.approx(0.1)
        assert found.change_interval == [0.02, 0.18]

    @pytest.mark.parametrize(
        ("name", "interval", "tone"),
        [
            ("accuracy", [0.01, 0.02], "better"),
            ("accuracy", [-0.02, -0.01], "worse"),
            ("accuracy", [-0.01, 0.02], "unclear"),
            ("accuracy", [0.0, 0.02], "unclear"),
            ("log_loss", [0.01, 0.02], "worse"),
            ("log_loss", [-0.02, -0.01], "better"),
            ("recall(refund)", [0.01, 0.02], "better"),
            ("false_positive_rate(refund)", [0.01, 0.02], "worse"),
            ("positive_rate(refund)", [0.01, 0.02], ""),
            ("accuracy", None, ""),
        ],
    )
    def test_a_change_is_better_or_worse_only_with_its_whole_interval(self, name, interval, tone):
        entry = metrics([row({}, 10, **{name: 0.5})], comparison=[compared({}, 10, name, 0.5, 0.4, interval)])
        assert quality.overall(entry).rows[0].tone == tone

    def test_errors_and_costs_have_no_place_on_the_axis_of_shares(self):
        found = quality.overall(metrics([row({}, 10, accuracy=0.91, log_loss=3.0, calibration_error=0.01, cost_per_1000=90.0)]))
        assert [entry.label for entry in found.rows if entry.on_axis] == ["Accuracy"]
        assert found.axis.low >= 0.9

    def test_names_the_k(self):
        assert quality.overall(metrics([row({}, 10, top_k_accuracy=0.9)])).rows[0].label == "Top-5 accuracy"

    def test_a_metric_without_a_value_stays_in_the_table(self):
        found = quality.overall(metrics([row({}, 10, accuracy=None)])).rows[0]
        assert (found.candidate, found.on_axis) == (None, False)


class TestSegments:
    def test_worst_first_and_small_ones_apart(self):
        segments, left_out = quality.segments(
            metrics(
                [
                    row({}, 900, accuracy=0.8),
                    row({"language": "de"}, 300, accuracy=0.9),
                    row({"language": "en"}, 300, accuracy=0.7),
                    row({"language": "fr"}, MIN_ROWS - 1, accuracy=0.1),
                ]
            )
        )
        assert left_out == 0
        assert [slice_.name for slice_ in segments[0].rows] == ["en", "de"]
        assert [slice_.name for slice_ in segments[0].small] == ["fr"]

    def test_crosses_are_segments_of_their_own_whatever_the_order_of_keys(self):
        segments, _ = quality.segments(
            metrics(
                [row({"language": "de", "channel": "app"}, 300, accuracy=0.9)],
                comparison=[compared({"channel": "app", "language": "de"}, 300, "accuracy", 0.9, 0.8)],
            )
        )
        assert segments[0].name == "language × channel"
        assert segments[0].rows[0].name == "de × app"
        assert segments[0].rows[0].change == pytest.approx(0.1)

    def test_a_slice_without_accuracy_is_the_worst(self):
        segments, _ = quality.segments(metrics([row({"a": "1"}, 200, accuracy=0.1), row({"a": "2"}, 200, accuracy=None)]))
        assert [slice_.name for slice_ in segments[0].rows] == ["2", "1"]

    def test_the_axis_holds_dots_and_whiskers(self):
        slices = [row({"a": "1"}, 200, {"accuracy": [0.61, 0.83]}, accuracy=0.7), row({"a": "2"}, 200, accuracy=0.9)]
        axis = quality.segments(metrics(slices))[0][0].axis
        assert axis.low <= 0.61
        assert axis.high >= 0.9

    def test_automatic_segments_are_marked_and_never_name_a_worst_group(self):
        slices = [row({name: value}, 200, accuracy=0.5) for name in ("language", "length(text)") for value in "ab"]
        declared = [{"columns": ["language"], "declared": True}, {"columns": ["length(text)"], "declared": False}]
        segments, _ = quality.segments(metrics(slices, segments=declared))
        assert [segment.declared for segment in segments] == [True, False]
        assert [name for name, _ in quality.worst_groups(segments)] == ["language"]

    def test_a_value_without_characters_has_a_name(self):
        assert quality.segments(metrics([row({"a": ""}, 200, accuracy=0.5)]))[0][0].rows[0].name == "(empty)"


class TestClasses:
    def test_worst_first_and_those_without_test_rows_last(self):
        names = quality.classes(
            [{"class": "a", "n": 0, "f1": 0.0}, {"class": "b", "n": 5, "f1": 0.9}, {"class": "c", "n": 5, "f1": 0.2}]
        )
        assert [entry["class"] for entry in names.rows] == ["c", "b", "a"]

    def test_change_is_against_the_same_class_and_none_where_the_baseline_does_not_know_it(self):
        candidate = [{"class": "a", "n": 5, "f1": 0.5}, {"class": "new", "n": 5, "f1": 0.7}]
        rows = quality.classes(candidate, [{"class": "old", "f1": 0.1}, {"class": "a", "f1": 0.4}]).rows
        assert rows[0]["change"] == pytest.approx(0.1)
        assert rows[1]["change"] is None
