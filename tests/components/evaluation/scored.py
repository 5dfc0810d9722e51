"""A small evaluation, made of scored rows without any model, for tests of what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from components.evaluation import gate, report, resampling, segments
from components.evaluation.accumulate import Accumulator
from components.evaluation.options import EvaluationOptions
from components.evaluation.scored_rows import ScoredRows

LANGUAGE = segments.Segment((segments.SegmentColumn("language", "language"),))
CROSS = segments.Segment((segments.SegmentColumn("language", "language"), segments.SegmentColumn("app", "app")))


def subject(options: Mapping[str, Any], classes: Mapping[str, Sequence[str]], **more: Any) -> report.Subject:
    """Returns what is measured: `classes` by model, sliced by language, and by language and app."""
    return report.Subject(
        classes=classes,
        segments=(LANGUAGE, CROSS),
        train_label_counts={name: 10 - place for place, name in enumerate(classes["candidate"])},
        options=EvaluationOptions.model_validate(options),
        **more,
    )


def rows(
    of: report.Subject, n: int = 240, seed: int = 0, right: float = 2.0, languages: Sequence[str] = ("de", "fr")
) -> ScoredRows:
    """Returns rows of all of the candidate's classes; its scores are better the larger `right`, the baseline's are random."""
    generator = np.random.default_rng(seed)
    names = of.classes["candidate"]
    label = generator.integers(len(names), size=n)
    scores = {}
    for model, classes in of.classes.items():
        logits = generator.normal(size=(n, len(classes)))
        if model == "candidate":
            logits[np.arange(n), label] += right
        exponential = np.exp(logits)
        scores[model] = (exponential / exponential.sum(axis=1, keepdims=True)).astype(np.float32)
    return ScoredRows(
        unit=resampling.units(0, n, seed),
        actual=pa.array([names[place] for place in label]),
        scores=scores,
        abstained={},
        slices={
            "language": pa.array([languages[place % len(languages)] for place in range(n)]),
            "app": pa.array([("app", "web")[place // 2 % 2] for place in range(n)]),
        },
        weight=generator.integers(1, 5, n) / 2 if of.options.weight else None,
    )


def results(of: report.Subject, *batches: ScoredRows) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Returns the content of metrics.json, confusion.json and verdict.json."""
    accumulator = Accumulator(report.plan(of))
    for batch in batches:
        accumulator.add(batch)
    metrics, confusion = report.report(accumulator, of)
    return metrics, confusion, gate.decide(of.options, metrics)
