import dataclasses
import math
import pickle
import time

import numpy as np
import pyarrow as pa
import pytest

from components.errors import UsageError
from components.evaluation import accumulate, metrics, resampling
from components.evaluation.accumulate import Accumulator
from components.evaluation.metrics import MetricId
from components.evaluation.plan import OVERALL, Plan, View
from components.evaluation.scored_rows import ScoredRows
from components.evaluation.segments import MOST_VALUES, Segment, SegmentColumn

LABELS = ("a", "b", "c", "d")
UNSEEN = len(LABELS)
LANGUAGE, CHANNEL = SegmentColumn("language", "language"), SegmentColumn("channel", "channel")
SEGMENTS = (Segment((LANGUAGE,)), Segment((CHANNEL,)), Segment((LANGUAGE, CHANNEL)))
COSTS = np.where(np.eye(UNSEEN + 1, dtype=bool), -0.5, 1.0) + np.arange(UNSEEN + 1)
OF_ALL = (
    "accuracy", "balanced_accuracy", "macro_f1", "micro_f1", "weighted_f1", "top_k_accuracy", "log_loss", "calibration_error",
    "coverage", "answered_accuracy", "cost_per_1000",
)  # fmt: skip
OF_ONE = ("precision", "recall", "f1", "false_positive_rate", "positive_rate")
METRICS = tuple(MetricId(name) for name in OF_ALL) + tuple(MetricId(name, "b") for name in OF_ONE)
AREAS = (MetricId("auc", "b"), MetricId("pr_auc", "b"))
PLAN = Plan(
    labels=LABELS,
    # The baseline has the same classes in another order.
    views=(View("candidate", LABELS), View("baseline", LABELS[::-1])),
    segments=SEGMENTS,
    top_k=2,
    curves=("b",),
    resampled=METRICS + AREAS,
    replicates=8,
    seed=3,
    costs=COSTS,
    abstained_cost=0.25,
)


def table(rows, weighted=False, seed=0, plan=PLAN):
    """Random rows with everything that may be odd about them."""
    random = np.random.default_rng(seed)
    actual = random.choice([*LABELS, "never seen"], rows, p=[0.4, 0.25, 0.2, 0.1, 0.05])
    scores = {}
    for view in plan.views:
        logits = random.normal(size=(rows, len(view.classes)))
        logits += 1.5 * (actual[:, np.newaxis] == np.array(view.classes))
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        # Ties, certainty, and scores that are not numbers.
        probabilities = np.where(random.random((rows, 1)) < 0.2, probabilities.round(1), probabilities)
        probabilities[random.random(rows) < 0.05] = np.eye(len(view.classes))[0]
        probabilities[random.random(rows) < 0.04, random.integers(len(view.classes))] = np.nan
        scores[view.model] = probabilities.astype(np.float32)
    return ScoredRows(
        unit=resampling.units(0, rows, salt=seed),
        actual=pa.array(actual),
        scores=scores,
        abstained={model: random.random(rows) < 0.3 for model in scores},
        slices={
            "language": pa.array(random.choice(["de", "en", "fr", "(missing)"], rows, p=[0.6, 0.3, 0.08, 0.02])),
            "channel": pa.array(random.choice(["app", "web"], rows)).dictionary_encode(),
        },
        weight=random.random(rows).round(2) * 3 if weighted else None,
    )


def take(rows, chosen):
    """Some of the rows, as a batch of their own."""
    return ScoredRows(
        rows.unit[chosen],
        rows.actual.take(pa.array(chosen)),
        {model: scores[chosen] for model, scores in rows.scores.items()},
        {model: abstained[chosen] for model, abstained in rows.abstained.items()},
        {name: values.take(pa.array(chosen)) for name, values in rows.slices.items()},
        None if rows.weight is None else rows.weight[chosen],
    )


def batches(rows, size, order=None):
    order = np.arange(len(rows)) if order is None else order
    return [take(rows, order[start : start + size]) for start in range(0, len(rows), size)]


def accumulated(parts, plan=PLAN):
    accumulator = Accumulator(plan)
    for part in parts:
        accumulator.add(part)
    accumulator.flush()
    return accumulator


def members(rows, accumulator):
    """Positions of the rows of each slice, by its number: found by comparing values row by row."""
    found = {OVERALL: np.arange(len(rows))}
    for (segment, values), number in accumulator.slices.items():
        columns = [rows.slices[name].to_pylist() for name in accumulator.plan.segments[segment].names]
        found[number] = np.array([i for i in range(len(rows)) if tuple(column[i] for column in columns) == values], int)
    return found


def everything(accumulator):
    """All sums of an accumulator by slice, whatever numbers slices have in it, as arrays."""
    numbers = {(): OVERALL} | accumulator.slices
    found = {}
    for view in accumulator.plan.views:
        sums = accumulator.view(view.model)
        found[view.model, "coverage"] = sums.coverage
        for key, number in numbers.items():
            found[view.model, key, "cells"] = np.array(sums.confusion(number))
            found[view.model, key, "counts"] = np.array([sums.row_count(number), sums.unusable(number), sums.unseen(number)])
            for kind, part in (("sample", sums.sums(number)), ("resampled", sums.resampled(number))):
                for name, values in [*part.rows.items(), *part.scores.items()]:
                    found[view.model, key, kind, name] = values
                for name in ("actual", "predicted", "hits", "calibration"):
                    found[view.model, key, kind, name] = getattr(part, name)
    return found


def assert_same(one, other, rtol=1e-5, atol=1e-4):
    mine, others = everything(one), everything(other)
    assert mine.keys() == others.keys()
    for key, values in mine.items():
        np.testing.assert_allclose(
            np.asarray(values, float), np.asarray(others[key], float), rtol=rtol, atol=atol, err_msg=str(key)
        )


class Plain:
    """Metrics as one would write them down, row by row; the reference all sums are held against."""

    def __init__(self, plan, view, rows, chosen, weight):
        self.plan, self.view = plan, view
        self.rows = []
        actual = rows.actual.to_pylist()
        for i in chosen:
            true = plan.labels.index(actual[i]) if actual[i] in plan.labels else len(plan.labels)
            score = {plan.labels.index(name): float(s) for name, s in zip(view.classes, rows.scores[view.model][i], strict=True)}
            usable = not any(math.isnan(value) for value in score.values())
            ranked = sorted(score, key=lambda label: (-score[label], view.classes.index(plan.labels[label]))) if usable else []
            said = ranked[0] if ranked else len(plan.labels)
            self.rows.append((true, said, score, ranked, bool(rows.abstained[view.model][i]), float(weight[i])))
        self.total = sum(row[-1] for row in self.rows)

    def weight(self, condition):
        return sum(row[-1] for row in self.rows if condition(row))

    def mean(self, quantity, over=lambda row: True):
        whole = self.weight(over)
        return sum(quantity(row) * row[-1] for row in self.rows if over(row)) / whole if whole else math.nan

    @staticmethod
    def right(row):
        return row[0] == row[1] and row[0] < UNSEEN

    def of_class(self, label):
        both = self.weight(lambda row: row[0] == label and self.right(row))
        true, said = self.weight(lambda row: row[0] == label), self.weight(lambda row: row[1] == label)
        others = self.weight(lambda row: row[0] != label)
        return {
            "precision": both / said if said else math.nan,
            "recall": both / true if true else math.nan,
            "f1": 2 * both / (true + said) if true + said else math.nan,
            "false_positive_rate": (said - both) / others if others else math.nan,
            "positive_rate": said / self.total if self.total else math.nan,
        } | {"true": true, "said": said}

    def neg_log(self, row):
        score = row[2].get(row[0], 0.0) if row[3] else 0.0
        return -math.log(min(max(score, 1e-7), 1.0))

    def cost(self, row):
        return self.plan.abstained_cost if row[4] else self.plan.costs[row[0], row[1]]

    def calibration_error(self):
        error = 0.0
        for position in range(20):
            part = [row for row in self.rows if min(int(self.top(row) * 20), 19) == position]
            error += abs(sum((self.right(row) - self.top(row)) * row[-1] for row in part))
        return error / self.total if self.total else math.nan

    @staticmethod
    def top(row):
        return row[2][row[1]] if row[3] else 0.0

    def scored(self, label):
        """Bucketed score, whether the row is of the class, and weight."""
        for true, _, score, _, _, weight in self.rows:
            value = 0.0 if math.isnan(score[label]) else score[label]
            yield min(max(int(value * 10_000 + 1), 2), 10_000), true == label, weight

    def auc(self, label):
        positive = [(score, weight) for score, own, weight in self.scored(label) if own]
        negative = [(score, weight) for score, own, weight in self.scored(label) if not own]
        pairs = sum(p * n for _, p in positive for _, n in negative)
        won = sum(p * n * ((mine > theirs) + 0.5 * (mine == theirs)) for mine, p in positive for theirs, n in negative)
        return won / pairs if pairs else math.nan

    def pr_auc(self, label):
        scored = sorted(self.scored(label), reverse=True)
        whole = sum(weight for _, own, weight in scored if own)
        if not whole:
            return math.nan
        area = found = taken = 0.0
        for score in dict.fromkeys(score for score, _, _ in scored):
            new = sum(weight for other, own, weight in scored if other == score and own)
            added = sum(weight for other, _, weight in scored if other == score)
            if not added:
                continue
            slope = new / added
            area += slope * (new + (found - slope * taken) * (math.log((taken + added) / taken) if taken else 0.0))
            found, taken = found + new, taken + added
        return area / whole

    def value(self, metric):
        each = [self.of_class(label) for label in range(UNSEEN + 1)]
        present = [entry for entry in each if entry["true"] or entry["said"]]
        if metric.class_ is not None and metric.name in ("auc", "pr_auc"):
            return getattr(self, metric.name)(self.plan.labels.index(metric.class_))
        if metric.class_ is not None:
            return each[self.plan.labels.index(metric.class_)][metric.name]
        recalls = [entry["recall"] for entry in each if entry["true"]]
        return {
            "accuracy": lambda: self.mean(self.right),
            "micro_f1": lambda: self.mean(self.right),
            "balanced_accuracy": lambda: sum(recalls) / len(recalls) if recalls else math.nan,
            "macro_f1": lambda: sum(entry["f1"] for entry in present) / len(present) if present else math.nan,
            "weighted_f1": lambda: sum(entry["f1"] * entry["true"] for entry in present) / self.total if self.total else math.nan,
            "top_k_accuracy": lambda: self.mean(lambda row: row[0] in row[3][: self.plan.top_k]),
            "log_loss": lambda: self.mean(self.neg_log),
            "cost_per_1000": lambda: 1000 * self.mean(self.cost),
            "coverage": lambda: self.mean(lambda row: not row[4]),
            "answered_accuracy": lambda: self.mean(self.right, over=lambda row: not row[4]),
            "calibration_error": self.calibration_error,
        }[metric.name]()


INDEX = {name: position for position, name in enumerate(LABELS)}


class TestEveryMetricInEverySlice:
    @pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
    def test_equals_a_plain_implementation(self, weighted):
        rows = table(160, weighted)
        accumulator = accumulated(batches(rows, 64))
        found = members(rows, accumulator)
        # All rows, four languages, two channels, and the crosses that occur.
        assert len(found) >= 1 + 4 + 2 + 7
        weight = np.ones(len(rows)) if rows.weight is None else rows.weight
        for view in PLAN.views:
            for number, chosen in found.items():
                plain = Plain(PLAN, view, rows, chosen, weight)
                sums = accumulator.view(view.model).sums(number)
                for metric in METRICS + AREAS:
                    received = metrics.value(metric, sums, INDEX)[0]
                    assert received == pytest.approx(plain.value(metric), rel=1e-6, abs=1e-9, nan_ok=True), (
                        view.model,
                        number,
                        metric,
                    )
                assert accumulator.row_count(number) == len(chosen)
                assert accumulator.view(view.model).unusable(number) == sum(not row[3] for row in plain.rows)
                assert accumulator.view(view.model).unseen(number) == sum(row[0] == UNSEEN for row in plain.rows)

    @pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
    def test_of_a_replicate_equals_that_of_rows_repeated_as_often_as_drawn(self, weighted):
        rows = table(160, weighted, seed=1)
        accumulator = accumulated(batches(rows, 100))
        drawn = resampling.poisson_weights(rows.unit, PLAN.replicates, PLAN.seed).astype(float)
        if weighted:
            drawn *= rows.weight[:, np.newaxis]
        for number, chosen in members(rows, accumulator).items():
            sums = accumulator.view("candidate").resampled(number)
            received = {metric: metrics.value(metric, sums, INDEX) for metric in METRICS + AREAS}
            for replicate in (0, 1, 7, PLAN.replicates):
                plain = Plain(PLAN, PLAN.views[0], rows, chosen, drawn[:, replicate])
                for metric in METRICS:
                    expected = plain.value(metric)
                    # Sums of replicates are kept in single precision.
                    assert received[metric][replicate] == pytest.approx(expected, rel=2e-5, abs=1e-6, nan_ok=True), (
                        number,
                        metric,
                    )
                # Curves of replicates are kept in coarse buckets, which matters where there are few rows.
                for metric in AREAS if number == OVERALL else ():
                    assert received[metric][replicate] == pytest.approx(plain.value(metric), abs=0.025), metric

    def test_equals_scikit_learn_over_all_rows(self):
        sklearn = pytest.importorskip("sklearn.metrics")
        rows = table(400, weighted=True, seed=2)
        clean = np.flatnonzero(~np.isnan(rows.scores["candidate"]).any(axis=1) & np.isin(rows.actual.to_pylist(), LABELS))
        rows = take(rows, clean)
        sums = accumulated([rows]).view("candidate").sums(OVERALL)
        actual = np.array([INDEX[name] for name in rows.actual.to_pylist()])
        scores = rows.scores["candidate"].astype(float)
        scores /= scores.sum(axis=1, keepdims=True)
        received = {name: metrics.value(MetricId(name), sums, INDEX)[0] for name in (*OF_ALL, "auc")}
        clipped = np.clip(rows.scores["candidate"].astype(float), 1e-7, 1)[np.arange(len(actual)), actual]
        weight = {"sample_weight": rows.weight}
        assert received["log_loss"] == pytest.approx(np.average(-np.log(clipped), weights=rows.weight), rel=1e-9)
        assert received["accuracy"] == pytest.approx(sklearn.accuracy_score(actual, scores.argmax(axis=1), **weight))
        # Scikit-learn breaks ties the other way round, so it is asked about scores without any.
        untied = scores - np.arange(4) * 1e-9
        assert received["top_k_accuracy"] == pytest.approx(sklearn.top_k_accuracy_score(actual, untied, k=2, **weight))
        areas = [sklearn.roc_auc_score(actual == label, rows.scores["candidate"][:, label], **weight) for label in range(4)]
        assert received["auc"] == pytest.approx(np.mean(areas), abs=1e-4)


class TestBatches:
    @pytest.mark.parametrize("size", [1, 7, 100, 1000])
    def test_their_size_and_order_do_not_matter(self, size):
        rows = table(200, weighted=True, seed=4)
        order = np.random.default_rng(size).permutation(len(rows))
        assert_same(accumulated(batches(rows, size, order)), accumulated([rows]))

    def test_many_flushes_equal_one(self, monkeypatch):
        rows = table(200, seed=5)
        whole = accumulated([rows])
        monkeypatch.setattr(accumulate, "_FLUSH_ROWS", 50)
        assert_same(accumulated(batches(rows, 30)), whole)
        assert_same(accumulated([rows]), whole)

    def test_a_large_batch_is_worked_off_in_parts(self):
        rows = table(100)
        parts = list(rows.parts(30))
        assert [len(part) for part in parts] == [34, 34, 32]
        assert pa.concat_arrays([part.actual for part in parts]) == rows.actual
        assert np.array_equal(np.concatenate([part.unit for part in parts]), rows.unit)
        assert [len(part) for part in rows.parts(1000)] == [100]

    def test_an_empty_batch_changes_nothing(self):
        rows = table(50)
        assert_same(accumulated([take(rows, np.arange(0)), rows, take(rows, np.arange(0))]), accumulated([rows]))

    def test_some_may_never_abstain(self):
        rows = table(60)
        first, second = batches(rows, 30)
        mixed = accumulated([dataclasses.replace(first, abstained={}), second])
        never = np.zeros(30, bool)
        assert_same(mixed, accumulated([dataclasses.replace(first, abstained=dict.fromkeys(first.abstained, never)), second]))

    def test_slices_may_come_as_text_or_as_dictionaries_with_unused_and_repeated_entries(self):
        rows = table(40)
        codes = pa.array([0, 1, 2, 3] * 10, pa.int32())
        encoded = pa.DictionaryArray.from_arrays(codes, pa.array(["x", "y", "x", "z", "never"]))
        accumulator = accumulated([dataclasses.replace(rows, slices={**rows.slices, "language": encoded})])
        counts = {
            values: accumulator.row_count(number) for (segment, values), number in accumulator.slices.items() if segment == 0
        }
        assert counts == {("x",): 20, ("y",): 10, ("z",): 10}


class TestMerge:
    @pytest.mark.parametrize("parts", [2, 5])
    def test_equals_one_pass(self, parts):
        rows = table(240, weighted=True, seed=6)
        merged, *others = [accumulated([part]) for part in batches(rows, 240 // parts, np.random.default_rng(0).permutation(240))]
        for other in others:
            merged.merge(other)
        assert_same(merged, accumulated([rows]))

    def test_counts_are_equal_to_the_bit(self):
        rows = table(240, seed=7)
        first, second = (accumulated([part]) for part in batches(rows, 120, np.random.default_rng(1).permutation(240)))
        first.merge(second)
        counted = {"cells", "counts", "actual", "predicted", "hits", "b", "weight", "answered"}
        expected = everything(accumulated([rows]))
        for key, values in everything(first).items():
            if key[-1] in counted:
                np.testing.assert_array_equal(values, expected[key])

    def test_includes_rows_that_wait_in_either(self):
        rows = table(100, seed=8)
        first, second = Accumulator(PLAN), Accumulator(PLAN)
        for accumulator, part in zip((first, second), batches(rows, 50), strict=True):
            accumulator.add(part)
        first.merge(second)
        assert_same(first, accumulated([rows]))

    def test_with_an_empty_one_changes_nothing(self):
        rows = table(50)
        empty = Accumulator(PLAN)
        empty.merge(accumulated([rows]))
        assert_same(empty, accumulated([rows]))
        full = accumulated([rows])
        full.merge(Accumulator(PLAN))
        assert_same(full, accumulated([rows]))

    def test_survives_pickling(self):
        rows = table(100, seed=9)
        first, second = Accumulator(PLAN), Accumulator(PLAN)
        first.add(take(rows, np.arange(60)))
        second.add(take(rows, np.arange(60, 100)))
        first, second = pickle.loads(pickle.dumps(first)), pickle.loads(pickle.dumps(second))
        first.merge(second)
        assert_same(first, accumulated([rows]))


def constant(rows, language, plan=PLAN, **changes):
    """Rows that are all alike, except for their units and languages."""
    scores = np.tile(np.array([[0.7, 0.2, 0.1, 0.0]], np.float32), (rows, 1))
    content = ScoredRows(
        unit=resampling.units(0, rows, salt=0),
        actual=pa.array(["a"] * rows),
        scores={view.model: scores[:, : len(view.classes)] for view in plan.views},
        abstained={},
        slices={"language": pa.array(language), "channel": pa.array(["app"] * rows)},
    )
    return dataclasses.replace(content, **changes)


class TestSize:
    def test_does_not_grow_with_rows(self):
        few, many = accumulated([table(400)]), Accumulator(PLAN)
        for repetition in range(10):
            again = table(400)
            many.add(dataclasses.replace(again, unit=resampling.units(0, 400, salt=repetition)))
        many.flush()
        few_arrays, many_arrays = everything(few), everything(many)
        assert {key: np.shape(values) for key, values in few_arrays.items()} == {
            key: np.shape(values) for key, values in many_arrays.items()
        }
        assert len(pickle.dumps(many)) == len(pickle.dumps(few))

    def test_replicates_keep_only_labels_that_a_metric_asks_for(self):
        rows = table(100)
        plan = dataclasses.replace(PLAN, resampled=(MetricId("accuracy"), MetricId("recall", "b")))
        some, all_ = (accumulated([rows], plan_).view("candidate").resampled(OVERALL) for plan_ in (plan, PLAN))
        assert some.actual[[0, 2, 3, 4]].sum() == some.predicted[[0, 2, 3, 4]].sum() == 0
        for metric in plan.resampled:
            np.testing.assert_allclose(metrics.value(metric, some, INDEX), metrics.value(metric, all_, INDEX), rtol=1e-6)

    def test_a_thousand_slices_take_seconds(self):
        started = time.process_time()
        rows = 20_000
        names = [f"v{position % 1000:03}" for position in range(rows)]
        plan = dataclasses.replace(
            PLAN, segments=SEGMENTS[:1], replicates=100, resampled=(MetricId("accuracy"), MetricId("macro_f1"))
        )
        accumulator = accumulated(batches(constant(rows, names), 1024), plan)
        assert len(accumulator.slices) == 1000
        assert {accumulator.row_count(number) for number in accumulator.slices.values()} == {20}
        assert time.process_time() - started < 5


class TestOverflow:
    """A segment with too many values is given up."""

    PLAN = dataclasses.replace(PLAN, replicates=0)

    def test_gives_up_the_segment_and_its_cross_and_keeps_the_others(self):
        names = [f"v{position}" for position in range(MOST_VALUES + 1)]
        accumulator = accumulated(batches(constant(len(names), names), 1024), self.PLAN)
        assert accumulator.overflowed == {0, 2}
        assert set(accumulator.slices) == {(1, ("app",))}
        assert accumulator.row_count(accumulator.slices[1, ("app",)]) == accumulator.row_count(OVERALL) == len(names)

    def test_as_many_as_allowed_are_all_there(self):
        names = [f"v{position}" for position in range(MOST_VALUES)]
        accumulator = accumulated([constant(len(names), names)], self.PLAN)
        assert accumulator.overflowed == set()
        assert len(accumulator.slices) == 2 * MOST_VALUES + 1

    @pytest.fixture
    def few_allowed(self, monkeypatch):
        monkeypatch.setattr(accumulate, "MOST_VALUES", 3)
        monkeypatch.setattr(accumulate, "_FLUSH_ROWS", 10)

    @pytest.mark.parametrize("seed", range(3))
    def test_the_order_of_rows_does_not_matter(self, few_allowed, seed):
        rows = table(120, seed=10)
        expected = accumulated([rows])
        assert expected.overflowed == {0, 2}
        assert_same(accumulated(batches(rows, 9, np.random.default_rng(seed).permutation(120))), expected)

    def test_is_found_when_parts_with_few_values_are_merged(self, few_allowed):
        parts = [accumulated([constant(20, ["v1", "v2"] * 10)]), accumulated([constant(20, ["v3", "v4"] * 10)])]
        assert [part.overflowed for part in parts] == [set(), set()]
        parts[0].merge(parts[1])
        assert parts[0].overflowed == {0, 2}
        assert {values: parts[0].row_count(number) for values, number in parts[0].slices.items()} == {(1, ("app",)): 40}

    @pytest.mark.parametrize("first", [0, 1])
    def test_of_one_part_is_one_of_the_whole(self, few_allowed, first):
        parts = [accumulated([constant(20, ["v1"] * 20)]), accumulated([constant(20, ["v1", "v2", "v3", "v4"] * 5)])]
        parts[first].merge(parts[1 - first])
        assert parts[first].overflowed == {0, 2}
        assert {values: parts[first].row_count(number) for values, number in parts[first].slices.items()} == {(1, ("app",)): 40}

    def test_frees_what_the_segment_took(self, few_allowed):
        before = accumulated([constant(20, ["v1"] * 20)])
        after = accumulated(batches(constant(400, [f"v{position // 20}" for position in range(400)]), 10))
        assert len(pickle.dumps(after)) < len(pickle.dumps(before))


class TestOddSlices:
    def test_a_cross_of_many_columns_with_many_values_each(self):
        # Codes of five columns of 9,000 values each would not fit in 64 bits.
        columns = tuple(SegmentColumn(f"c{number}", f"c{number}") for number in range(5))
        plan = dataclasses.replace(PLAN, segments=(Segment(columns),), replicates=0)
        values = pa.array([f"v{position}" for position in range(9000)])
        codes = [0, 8999, 8999, 0]
        slices = {column.name: pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), values) for column in columns}
        accumulator = accumulated([constant(4, ["x"] * 4, slices=slices)], plan)
        counts = {values: accumulator.row_count(number) for (_, values), number in accumulator.slices.items()}
        assert counts == {("v0",) * 5: 2, ("v8999",) * 5: 2}

    def test_all_rows_in_one_slice(self):
        accumulator = accumulated([constant(30, ["de"] * 30)])
        number = accumulator.slices[0, ("de",)]
        for view in PLAN.views:
            overall, sliced = (accumulator.view(view.model).resampled(slice_number) for slice_number in (OVERALL, number))
            for metric in METRICS:
                np.testing.assert_array_equal(metrics.value(metric, overall, INDEX), metrics.value(metric, sliced, INDEX))

    def test_slices_of_one_row(self):
        accumulator = accumulated([constant(3, ["x", "y", "z"])])
        for (segment, _), number in accumulator.slices.items():
            if segment == 0:
                assert metrics.value(MetricId("accuracy"), accumulator.view("candidate").sums(number), INDEX).tolist() == [1]
                # A replicate that draws the row has it right, one that does not has no value.
                values = metrics.value(MetricId("accuracy"), accumulator.view("candidate").resampled(number), INDEX)
                assert set(values[~np.isnan(values)]) == {1.0}
                assert np.isnan(values).any()

    def test_a_class_absent_from_a_slice(self):
        rows = dataclasses.replace(constant(4, ["de", "de", "en", "en"]), actual=pa.array(["a", "a", "a", "b"]))
        accumulator = accumulated([rows])
        sums = accumulator.view("candidate").sums(accumulator.slices[0, ("de",)])
        assert np.isnan(metrics.value(MetricId("recall", "b"), sums, INDEX))
        assert np.isnan(metrics.value(MetricId("auc", "b"), sums, INDEX))
        assert metrics.value(MetricId("balanced_accuracy"), sums, INDEX) == 1
        assert metrics.value(MetricId("recall", "b"), accumulator.view("candidate").sums(OVERALL), INDEX) == 0

    def test_weight_zero_everywhere_in_a_slice(self):
        rows = constant(4, ["de", "de", "en", "en"], weight=np.array([0.0, 0.0, 1.0, 1.0]))
        accumulator = accumulated([rows])
        number = accumulator.slices[0, ("de",)]
        assert accumulator.row_count(number) == 2
        for sums in (accumulator.view("candidate").sums(number), accumulator.view("candidate").resampled(number)):
            for metric in METRICS + AREAS:
                assert np.isnan(metrics.value(metric, sums, INDEX)).all(), metric


class TestPairs:
    def test_identical_models_do_not_differ_in_any_replicate(self):
        plan = dataclasses.replace(PLAN, views=(View("candidate", LABELS), View("baseline", LABELS)))
        rows = table(200, weighted=True, plan=plan, seed=11)
        rows = dataclasses.replace(
            rows,
            scores=dict.fromkeys(rows.scores, rows.scores["candidate"]),
            abstained=dict.fromkeys(rows.abstained, rows.abstained["candidate"]),
        )
        accumulator = accumulated(batches(rows, 70), plan)
        for number in (OVERALL, *accumulator.slices.values()):
            candidate, baseline = (accumulator.view(view.model).resampled(number) for view in plan.views)
            for metric in METRICS + AREAS:
                np.testing.assert_array_equal(metrics.value(metric, candidate, INDEX), metrics.value(metric, baseline, INDEX))

    def test_rows_of_one_unit_are_drawn_together(self):
        accumulator = accumulated([constant(50, ["de"] * 50, unit=np.full(50, 7, np.uint64))])
        weight = accumulator.view("candidate").resampled(OVERALL).rows["weight"]
        assert (weight % 50 == 0).all()
        assert len(set(weight.tolist())) > 1


class TestCommonLabels:
    """Where models know different labels, rows with a label all know can be measured apart, in the same pass."""

    PLAN = dataclasses.replace(PLAN, common=frozenset({"a", "c"}))

    @pytest.fixture
    def rows(self):
        return table(200, weighted=True, seed=12)

    def test_all_rows_are_measured_as_ever(self, rows):
        assert_same(accumulated(batches(rows, 30), self.PLAN), accumulated([rows]))

    def test_rows_with_one_are_measured_as_if_there_were_no_others(self, rows):
        only = accumulated([take(rows, np.flatnonzero(np.isin(rows.actual.to_pylist(), ["a", "c"])))])
        received = accumulated(batches(rows, 30), self.PLAN)
        for key, number in {(): OVERALL, **only.slices}.items():
            for view in PLAN.views:
                common, expected = received.view(view.model, on_common=True), only.view(view.model)
                mine = received.slices[key] if key else OVERALL
                assert common.row_count(mine) == expected.row_count(number)
                np.testing.assert_allclose(common.confusion(mine), expected.confusion(number), rtol=1e-9)
                for metric in METRICS + AREAS:
                    for values in ("sums", "resampled"):
                        one, other = (
                            metrics.value(metric, getattr(v, values)(n), INDEX) for v, n in ((common, mine), (expected, number))
                        )
                        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)

    def test_survive_merging(self, rows):
        merged, other = (accumulated([part], self.PLAN) for part in batches(rows, 100, np.random.default_rng(0).permutation(200)))
        merged.merge(other)
        whole = accumulated([rows], self.PLAN)
        assert_same(merged, whole)
        for key, number in whole.slices.items():
            one = merged.view("baseline", on_common=True).sums(merged.slices[key])
            other = whole.view("baseline", on_common=True).sums(number)
            np.testing.assert_allclose(one.actual, other.actual, rtol=1e-9)
            np.testing.assert_allclose(one.scores["b"], other.scores["b"], rtol=1e-9)

    def test_may_be_none(self):
        view = accumulated([constant(10, ["de"] * 10)], dataclasses.replace(PLAN, common=frozenset())).view(
            "candidate", on_common=True
        )
        assert view.row_count(OVERALL) == 0
        assert np.isnan(metrics.value(MetricId("accuracy"), view.resampled(OVERALL), INDEX)).all()


class TestRefused:
    def test_a_row_without_label(self):
        with pytest.raises(UsageError, match="needs a label; 1 of 3 rows"):
            Accumulator(PLAN).add(dataclasses.replace(constant(3, ["de"] * 3), actual=pa.array(["a", None, "b"])))

    @pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf, -math.inf, 1e300])
    def test_a_weight_that_is_none(self, weight):
        with pytest.raises(UsageError, match=f"number from 0 to 1e.30; received {weight:g}".replace("+", ".")):
            Accumulator(PLAN).add(constant(2, ["de"] * 2, weight=np.array([1.0, weight])))
