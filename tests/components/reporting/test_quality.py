from __future__ import annotations

import pytest

from components.reporting import quality


def metrics(slices, baseline=None, majority=()):
    return {
        "classes": ["a", "b"],
        "top_k": 5,
        "candidate": {"slices": slices},
        "baseline": {"slices": baseline} if baseline else None,
        "majority": {"slices": list(majority)},
    }


def row(slice_, n, **values):
    return {"slice": slice_, "n": n, "metrics": values}


class TestOverall:
    def test_compares_with_baseline_and_majority(self):
        rows = quality.overall(
            metrics([row({}, 10, accuracy=0.8)], baseline=[row({}, 10, accuracy=0.7)], majority=[row({}, 10, accuracy=0.4)])
        )
        assert rows[0].change == pytest.approx(0.1)
        assert (rows[0].label, rows[0].majority) == ("Accuracy", 0.4)

    def test_a_smaller_loss_is_a_gain(self):
        rows = quality.overall(metrics([row({}, 10, log_loss=0.5)], baseline=[row({}, 10, log_loss=0.7)]))
        assert rows[0].change == pytest.approx(-0.2)
        assert rows[0].gain == pytest.approx(0.2)

    def test_names_the_k(self):
        assert quality.overall(metrics([row({}, 10, top_k_accuracy=0.9)]))[0].label == "Top-5 accuracy"


class TestSegments:
    def test_worst_first_and_small_ones_last(self):
        segments, left_out = quality.segments(
            metrics(
                [
                    row({}, 900, accuracy=0.8),
                    row({"language": "de"}, 300, accuracy=0.9),
                    row({"language": "en"}, 300, accuracy=0.7),
                    row({"language": "fr"}, quality.SMALL_SLICE - 1, accuracy=0.1),
                ]
            )
        )
        assert left_out == 0
        assert [(slice_.name, slice_.small) for slice_ in segments[0].rows] == [("en", False), ("de", False), ("fr", True)]

    def test_crosses_are_segments_of_their_own_whatever_the_order_of_keys(self):
        segments, _ = quality.segments(
            metrics(
                [row({"language": "de", "channel": "app"}, 300, accuracy=0.9)],
                baseline=[row({"channel": "app", "language": "de"}, 300, accuracy=0.8)],
            )
        )
        assert segments[0].name == "language × channel"
        assert segments[0].rows[0].name == "de × app"
        assert segments[0].rows[0].change == pytest.approx(0.1)

    def test_a_slice_without_accuracy_is_the_worst(self):
        segments, _ = quality.segments(metrics([row({"a": "1"}, 200, accuracy=0.1), row({"a": "2"}, 200, accuracy=float("nan"))]))
        assert [slice_.name for slice_ in segments[0].rows] == ["2", "1"]


class TestClasses:
    def test_worst_first_and_those_without_test_rows_last(self):
        names = quality.classes(
            [{"class": "a", "n": 0, "f1": 0.0}, {"class": "b", "n": 5, "f1": 0.9}, {"class": "c", "n": 5, "f1": 0.2}]
        )
        assert [entry["class"] for entry in names.rows] == ["c", "b", "a"]


class TestWilsonInterval:
    @pytest.mark.parametrize(
        ("share", "n", "low", "high"),
        # By hand: at a share of 1 the lower end is n / (n + 1.96²).
        [(0.5, 100, 0.4038, 0.5962), (1.0, 10, 0.7225, 1.0), (0.0, 10, 0.0, 0.2775)],
    )
    def test_known_values(self, share, n, low, high):
        assert quality.wilson_interval(share, n) == pytest.approx((low, high), abs=1e-4)

    def test_without_rows_everything_is_possible(self):
        assert quality.wilson_interval(float("nan"), 0) == (0.0, 1.0)
