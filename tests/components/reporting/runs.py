"""Made-up runs to render: shaped like real ones, with every number drawn from a fixed seed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from components.reporting.report import ReportData

LANGUAGES = ("bg", "cs", "de", "de-CH", "en", "es", "fr", "hu", "it", "nl", "pl", "pt-BR", "ru", "zh-CN")
_INTENTS = [
    "HassTurnOn", "HassTurnOff", "HassToggle", "HassGetState", "HassNevermind", "HassSetPosition", "HassGetCurrentDate",
    "HassGetCurrentTime", "HassClimateGetTemperature", "HassClimateSetTemperature", "HassLightSet", "HassGetWeather",
    "HassShoppingListAddItem", "HassShoppingListCompleteItem", "HassListAddItem", "HassListCompleteItem", "HassFanSetSpeed",
    "HassVacuumStart", "HassVacuumReturnToBase", "HassMediaPause", "HassMediaUnpause", "HassMediaNext", "HassMediaPrevious",
    "HassSetVolume", "HassSetVolumeRelative", "HassMediaPlayerMute", "HassMediaPlayerUnmute", "HassMediaSearchAndPlay",
    "HassStartTimer", "HassCancelTimer", "HassCancelAllTimers", "HassIncreaseTimer", "HassDecreaseTimer", "HassPauseTimer",
    "HassUnpauseTimer", "HassTimerStatus", "HassBroadcast", "HassRespond", "HassLawnMowerStartMowing", "HassLawnMowerDock",
    "HassStopMoving",
]  # fmt: skip
_NODES = {
    "SchemaImport": 0.3, "ExampleGen": 9.8, "StatisticsGen": 4.4, "ExampleValidator": 0.6, "DataGate": 0.2, "Transform": 11.2,
    "LatestBlessedModel": 0.1, "Trainer": 64.7, "Evaluator": 13.9, "Pusher": 0.7,
}  # fmt: skip
_RULES = (("accuracy", 0.76), ("macro_f1", 0.6))


def intents(n_classes: int = len(_INTENTS), slices: Sequence[str] = LANGUAGES) -> ReportData:
    """A blessed run on text with a baseline."""
    names = _INTENTS if n_classes == len(_INTENTS) else [f"class {index}" for index in range(n_classes)]
    rng = random.Random(3)
    metrics = _metrics(rng, names, 6012, 0.91, "language", slices, baseline=True)
    return ReportData(
        record=_record(
            "intents", "succeeded", pushed={"model": "intents", "version": "1795000000", "path": "/srv/intents/1795000000"}
        ),
        metrics=metrics,
        verdict=_verdict(metrics),
        statistics=_text_statistics(rng, slices),
        ingestion=_ingestion(rng, names, slices),
        findings=[
            _finding(
                "anomaly: enum unexpected string values",
                "warning",
                "Column 'channel' in the test split: 3 values are new",
                "channel",
            ),
            _finding("quarantine", "info", "47 of 60047 rows (0.08%) were set aside", "", "<= 5.00%", "0.08%"),
        ],
        config={
            "name": "intents",
            "data": {"text": ["text"], "label": "intent", "segments": [["language"]]},
            "model": {"encoder": "ngrams"},
        },
        versions={"parlance-tfx": "0.1.0", "tfx": "1.21.0", "tensorflow": "2.21.0", "keras": "3.15.0"},
        lineage=_lineage(),
    )


def taxi() -> ReportData:
    """A blessed first run on two classes without text."""
    rng = random.Random(5)
    metrics = _metrics(
        rng, ["false", "true"], 3000, 0.78, "company", ("Flash Cab", "Yellow Cab", "Checker"), baseline=False, auc=0.646
    )
    numeric = {
        name: {"mean": mean, "std": mean / 2, "min": 0.0, "median": mean * 0.9, "max": mean * 9}
        for name, mean in (("fare", 11.7), ("trip_miles", 2.87), ("trip_seconds", 777.0))
    }
    statistics = {
        split: {
            "rows": rows,
            "features": [
                {"name": name, "type": "numeric", "missing": 0.02, **values,
                 "histogram": _decay(rng, values["max"], shift)}
                for name, values in numeric.items()
            ]
            + [{"name": "company", "type": "categorical", "missing": 0.34, "unique": 82, "avg_length": 11.2,
                "top": [["Taxi Affiliation Services", 3100], ["Dispatch Taxi Affiliation", 1200], ["Blue Ribbon Taxi", 760]]}],
        }
        for split, rows, shift in (("train", 10502, 0.0), ("eval", 1500, 0.0), ("test", 3000, 0.1))
    }  # fmt: skip
    return ReportData(
        record=_record("taxi", "succeeded", pushed={"model": "taxi", "version": "1795000001", "path": "/srv/taxi/1795000001"}),
        metrics=metrics,
        verdict=_verdict(metrics),
        statistics=statistics,
        ingestion={
            "rows": {"train": 10502, "eval": 1500, "test": 3000, "quarantined": 0},
            "quarantine_reasons": {},
            "fingerprint": "sha256:9c1f",
            "labels": {
                "train": {"false": 8700, "true": 1802},
                "eval": {"false": 1180, "true": 320},
                "test": {"false": 2190, "true": 810},
            },
            "segments": {},
            "seconds": 1.2,
            "bytes": 410_000,
        },
        findings=[_finding("quarantine", "info", "0 of 15002 rows (0.00%) were set aside", "", "<= 5.00%", "0.00%")],
        config={"name": "taxi"},
        versions={"tfx": "1.21.0"},
        lineage=_lineage(),
    )


def failed() -> ReportData:
    """A run whose first node failed."""
    error = "data.source.path: no file matches messages.csv. Files there: message.csv.\nGive a file, a folder or a glob"
    return ReportData(
        record=_record("intents", "failed", stop="ExampleGen", error=error, executed="failed"),
        config={"name": "intents"},
        versions={"tfx": "1.21.0"},
        lineage=_lineage()[:2],
    )


def rejected_data() -> ReportData:
    """A run that the data gate stopped."""
    whole = intents()
    findings = [
        _finding("anomaly: feature type low fraction present", "error",
                 "Column 'language' in the train split, expected text in every row; it is missing in 12.4%", "language"),
        _finding("quarantine", "error", "4100 of 60000 rows (6.83%) were set aside: missing label", "", "<= 5.00%", "6.83%"),
    ]  # fmt: skip
    return ReportData(
        record=_record("intents", "rejected", stop="DataGate", error="Column 'language' ...", executed="failed"),
        statistics=whole.statistics,
        ingestion=whole.ingestion,
        findings=findings,
        config=whole.config,
    )


def rejected_model() -> ReportData:
    """A run whose model did not meet two of its rules."""
    rng = random.Random(9)
    whole = intents()
    metrics = _metrics(rng, list(_INTENTS), 6012, 0.74, "language", LANGUAGES, baseline=True)
    return ReportData(
        **{**vars(whole), "metrics": metrics, "verdict": _verdict(metrics), "record": _record("intents", "rejected")}
    )


def huge(n_classes: int = 200) -> ReportData:
    """More of everything than a page can hold: classes that are all confused, 1,000 slices, 400 columns, long names."""
    rng = random.Random(1)
    names = [f"class {index} " + "with a long name " * 8 for index in range(n_classes)]
    slices = [f"tenant {index} " + "of a long name " * 8 for index in range(1000)]
    metrics = _metrics(rng, names, 200_000, 0.5, "tenant", slices, baseline=True)
    metrics["candidate"]["confusion"] = [[a, p, 3 + (a * p) % 17] for a in range(n_classes + 1) for p in range(n_classes)]
    statistics = _text_statistics(rng, slices)
    for split in statistics.values():
        split["features"] = [
            {**feature, "name": f"{feature['name']} {index}"} for index in range(100) for feature in split["features"]
        ]
    return ReportData(
        record=_record("huge", "succeeded"),
        metrics=metrics,
        verdict=_verdict(metrics),
        statistics=statistics,
        ingestion=_ingestion(rng, names, slices),
        config={"name": "huge", "data": {"exclude": names}},
        lineage=_lineage(),
    )


def _record(
    pipeline: str,
    state: str,
    stop: str = "Pusher",
    error: str | None = None,
    executed: str = "complete",
    pushed: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    nodes, stopped = [], False
    for node, seconds in _NODES.items():
        own_state = "skipped" if stopped else "cached" if node in ("ExampleGen", "StatisticsGen") and not error else "complete"
        stopped = stopped or node == stop
        own_state = executed if node == stop else own_state
        spent = {"skipped": 0.0, "cached": 0.08}.get(own_state, seconds)
        summary = {"train": 48011, "eval": 5977, "test": 6012} if node == "ExampleGen" and not error else {}
        nodes.append({"id": node, "state": own_state, "seconds": spent, "summary": summary, "execution_id": len(nodes) + 1})
    return {
        "run_id": f"{pipeline}-20261121-101500-3fa2",
        "pipeline": pipeline,
        "state": state,
        "seconds": sum(node["seconds"] for node in nodes) + 0.4,
        "peak_mib": 2311,
        "nodes": nodes,
        "pushed": pushed,
        "log": f"/home/someone/project/.parlance/runs/{pipeline}-20261121-101500-3fa2/run.log",
        "config_sha256": "4be1" * 16,
        **({"error": error} if error else {}),
    }


def _metrics(
    rng: random.Random,
    names: Sequence[str],
    n: int,
    accuracy: float,
    segment: str,
    values: Sequence[str],
    baseline: bool,
    auc: float | None = None,
) -> dict[str, Any]:
    confusion, per_class = _confusion(rng, len(names), n, accuracy), []
    for index, name in enumerate(names):
        support = sum(count for actual, _, count in confusion if actual == index)
        said = sum(count for _, predicted, count in confusion if predicted == index)
        hits = sum(count for actual, predicted, count in confusion if actual == predicted == index)
        f1 = 2 * hits / (support + said) if support + said else 0.0
        per_class.append(
            {"class": name, "n": support, "precision": hits / (said or 1), "recall": hits / (support or 1), "f1": f1}
        )
    sizes = [max(7, round(n / len(values) * rng.uniform(0.1, 1.9))) for _ in values]
    slices = [({}, n, accuracy)]
    slices += [({segment: value}, size, min(0.999, rng.gauss(accuracy, 0.05))) for value, size in zip(values, sizes, strict=True)]

    def measured(value: float) -> dict[str, float]:
        common = {"accuracy": value, "balanced_accuracy": value - 0.04, "macro_f1": value - 0.06, "weighted_f1": value - 0.01}
        more = {"auc": auc} if auc else {"top_k_accuracy": min(1.0, value + 0.06)}
        return {**common, "log_loss": 2.1 - 2 * value, **more}

    top = 0.73 if len(names) == 2 else 0.08
    return {
        "classes": list(names),
        "train_majority_class": names[0],
        "top_k": 3,
        "candidate": {
            "slices": [{"slice": key, "n": size, "metrics": measured(value)} for key, size, value in slices],
            "confusion": confusion,
        },
        "baseline": {
            "slices": [
                {"slice": key, "n": size, "metrics": measured(value - rng.uniform(-0.01, 0.03))} for key, size, value in slices
            ],
            "confusion": confusion,
        }
        if baseline
        else None,
        "majority": {
            "slices": [{"slice": key, "n": size, "metrics": {"accuracy": top, "macro_f1": top / 2}} for key, size, _ in slices]
        },
        "per_class": per_class,
    }


def _confusion(rng: random.Random, n_classes: int, n: int, accuracy: float) -> list[list[int]]:
    cells: dict[tuple[int, int], int] = {}
    weights = [1 / (rank + 4) for rank in range(n_classes)]
    for _ in range(min(n, 20_000)):
        actual = rng.choices(range(n_classes), weights)[0]
        near = (actual + rng.choice((1, 1, 1, 2, -1, 7))) % n_classes
        predicted = actual if rng.random() < accuracy + (0.05 if actual % 5 else -0.2) else near
        cells[actual, predicted] = cells.get((actual, predicted), 0) + 1
    return [[actual, predicted, count] for (actual, predicted), count in sorted(cells.items())]


def _verdict(metrics: Mapping[str, Any]) -> dict[str, Any]:
    findings = []
    for metric, limit in _RULES:
        for row in metrics["candidate"]["slices"]:
            value, n = row["metrics"][metric], row["n"]
            subject = ", ".join(f"{column}={text}" for column, text in row["slice"].items())
            what = f"{metric} on {subject or 'all test rows'}"
            rule = f"{metric} >= {limit}"
            if subject and n < 100:
                message = f"{what} is not gated, the slice is too small: min_rows is 100 ({n} rows)"
                findings.append(_finding(rule, "info", message, subject, "", f"{value:.4f}"))
                continue
            severity = "info" if value >= limit else "warning" if subject else "error"
            message = f"{what} is {value:.4f}, must be at least {limit} ({n} rows)"
            findings.append(_finding(rule, severity, message, subject, f">= {limit}", f"{value:.4f}"))
    present = metrics["baseline"] is not None
    return {
        "blessed": all(finding["severity"] != "error" for finding in findings),
        "findings": findings,
        "baseline": {
            "present": present,
            "note": "compared with the last blessed model" if present else "first run: there is no baseline",
        },
    }


def _finding(
    check: str, severity: str, message: str, subject: str = "", expected: str = "", observed: str = ""
) -> dict[str, str]:
    fields = {"subject": subject, "expected": expected, "observed": observed}
    return {"check": check, "severity": severity, "message": message, **fields}


def _ingestion(rng: random.Random, names: Sequence[str], segment_values: Sequence[str]) -> dict[str, Any]:
    train = {name: max(3, round(48_000 / (rank + 3) * rng.uniform(0.6, 1.2))) for rank, name in enumerate(names)}
    return {
        "rows": {"train": 48011, "eval": 5977, "test": 6012, "quarantined": 47},
        "quarantine_reasons": {"missing label": 31, "text too long": 12, "text: not UTF-8": 4},
        "fingerprint": "sha256:" + "7d40" * 16,
        "labels": {
            "train": train,
            "eval": {name: n // 8 for name, n in train.items()},
            "test": {name: n // 8 for name, n in train.items()} | {"HassBrandNew": 2},
        },
        "segments": {"language": {value: rng.randrange(900, 6000) for value in segment_values}},
        "seconds": 9.1,
        "bytes": 4_200_000,
    }


def _text_statistics(rng: random.Random, values: Sequence[str]) -> dict[str, Any]:
    def features(shift: float) -> list[dict[str, Any]]:
        top = [[value[:40], round(5000 / (rank + 2) * rng.uniform(0.7, 1.3))] for rank, value in enumerate(values[:10])]
        return [
            {"name": "text", "type": "text", "missing": 0.0, "unique": 41233, "avg_length": 33.4},
            {"name": "intent", "type": "categorical", "missing": 0.0, "unique": 41, "avg_length": 13.3,
             "top": [["HassTurnOn", 4100], ["HassTurnOff", 3300]]},
            {"name": "language", "type": "categorical", "missing": 0.0, "unique": len(values), "avg_length": 2.2, "top": top},
            {"name": "age", "type": "numeric", "missing": 0.031 + shift, "mean": 41.2, "std": 12.3, "min": 0.0,
             "median": 39.0, "max": 97.0,
             "histogram": _decay(rng, 97.0, shift)},
        ]  # fmt: skip

    return {
        split: {"rows": rows, "features": features(shift)}
        for split, rows, shift in (("train", 48011, 0.0), ("eval", 5977, 0.0), ("test", 6012, 0.2))
    }


def _decay(rng: random.Random, high: float, shift: float) -> list[list[float]]:
    width = high / 10
    counts = [round(9000 * rng.uniform(0.7, 1) / (1 + abs(step - 2 - 10 * shift) ** 2)) for step in range(10)]
    return [[step * width, (step + 1) * width, count] for step, count in enumerate(counts)]


def _lineage() -> list[dict[str, Any]]:
    base = "/home/someone/project/.parlance/pipelines/intents"
    flow = {
        "SchemaImport": ((), ("schema",)),
        "ExampleGen": ((), ("examples", "quarantine")),
        "StatisticsGen": (("ExampleGen/examples/2", "SchemaImport/schema/1"), ("statistics",)),
        "Trainer": (("ExampleGen/examples/2", "Transform/transform_graph/6", "SchemaImport/schema/1"), ("model", "model_run")),
    }
    return [
        {
            "node": node,
            "inputs": [f"{base}/{uri}" for uri in inputs],
            "outputs": [f"{base}/{node}/{name}/{number}" for name in outputs],
            "execution_id": number,
            "state": "complete",
        }
        for number, (node, (inputs, outputs)) in enumerate(flow.items(), start=1)
    ]
