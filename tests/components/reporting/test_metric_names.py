from __future__ import annotations

import pytest

from components.reporting import metric_names


@pytest.mark.parametrize(
    ("metric", "title"),
    [
        ("accuracy", "Accuracy"),
        ("top_k_accuracy", "Top-3 accuracy"),
        ("recall(refund)", "Recall of refund"),
        ("recall(a (b)\nc)", "Recall of a (b)\nc"),
        ("something_new", "something_new"),
    ],
)
def test_titles(metric, title):
    assert metric_names.title(metric, 3) == title


def test_direction_and_scale_are_those_of_the_metric_whatever_the_class():
    assert metric_names.lower_is_better("false_positive_rate(accuracy)")
    assert not metric_names.lower_is_better("recall(log_loss)")
    assert not metric_names.is_share("cost_per_1000")
    assert metric_names.is_neutral("positive_rate(True)")
    assert metric_names.digits("cost_per_1000") < metric_names.digits("accuracy")
