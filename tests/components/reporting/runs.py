"""Made-up runs to render: shaped like real ones, with every number drawn from a fixed seed."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping, Sequence
from typing import Any

from components.reporting.report import ReportData
from tests.components.reporting import measured

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
# Names that are markup, script, template or layout if anything lets them be.
HOSTILE = (
    "</script><script>window.hacked = 1</script>",
    '"><img src=x onerror="window.hacked = 2">',
    "{{ 7 * 7 }}{% raw %}",
    "<!-- </style> ]]> -->",
    "a|b`c`\n# d\r\n* e",
    "javascript:window.hacked=3//'",
    "\u202ereversed\u2028line\u2029",
    "very " * 60 + "long",
    "",
    "(unseen in training)",
    "مرحبا 👋🏽 ไทย 中文",
)


def intents(n_classes: int = len(_INTENTS), slices: Sequence[str] = LANGUAGES, **changes: Any) -> ReportData:
    """A blessed run on text with a baseline."""
    names = _INTENTS if n_classes == len(_INTENTS) else [f"class {index}" for index in range(n_classes)]
    rng = random.Random(3)
    # The last language but one is worse than the others, the last is rare.
    skill = {value: rng.gauss(0.0, 0.02) for value in slices} | {slices[-2]: -0.11}
    channels = {"app": 0.01, "voice": -0.03}
    lengths = {"1-20": -0.04, "21-40": 0.01, "41-80": 0.02, "(missing)": 0.0}
    options = {
        "crosses": [("language", "channel")],
        "automatic": ["length(text)"],
        "abstain_threshold": 0.62,
        "costs": True,
        "shares": {slices[-1]: 0.08, "(missing)": 0.01},
    } | changes
    metrics, confusion = measured.measure(
        names, 6012, 0.91, {"language": skill, "channel": channels, "length(text)": lengths}, **options
    )
    return ReportData(
        record=_record(
            "intents", "succeeded", pushed={"model": "intents", "version": "1795000000", "path": "/srv/intents/1795000000"}
        ),
        metrics=metrics,
        confusion=confusion,
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
    metrics, confusion = measured.measure(
        ["false", "true"],
        3000,
        0.83,
        {"company": {"Flash Cab": 0.0, "Yellow Cab": -0.04, "Checker": 0.03}},
        baseline=False,
        fairness=("accuracy", "demographic_parity", "equal_opportunity"),
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
        confusion=confusion,
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


def other_labels() -> ReportData:
    """A run whose baseline knows two labels that the candidate does not."""
    return intents(baseline_only=["HassLegacyScene", "HassLegacyScript"])


def many_slices() -> ReportData:
    """150 classes and 40 slices."""
    names = [f"intent_{index // 10}.{index % 10}" for index in range(150)]
    rng = random.Random(7)
    values = {f"customer {index:02}": rng.gauss(0.0, 0.03) for index in range(40)}
    metrics, confusion = measured.measure(names, 12_000, 0.86, {"customer": values})
    return ReportData(record=_record("customers", "succeeded"), metrics=metrics, confusion=confusion, verdict=_verdict(metrics))


def hostile() -> ReportData:
    """A run whose classes, segments and values try to be something else."""
    names = [*HOSTILE, "plain"]
    metrics, confusion = measured.measure(names, 3000, 0.8, {HOSTILE[0]: dict.fromkeys(HOSTILE, 0.0)})
    metrics["notes"] = list(HOSTILE)
    return ReportData(
        record=_record(HOSTILE[1], "rejected"),
        metrics=metrics,
        confusion=confusion,
        verdict=_verdict(metrics),
        config={HOSTILE[0]: HOSTILE[1]},
    )


def without_values() -> ReportData:
    """A run in which nothing could be measured: no metric has a value, no bin a row."""
    whole = intents(replicates=0, baseline=False)
    for row in whole.metrics["candidate"]["slices"]:
        row["metrics"] = dict.fromkeys(row["metrics"])
    for entry in whole.metrics["fairness"]:
        entry |= dict.fromkeys(("best", "worst", "gap", "ratio")) | {"note": "accuracy has no value in any group"}
        for group in entry["groups"]:
            group["metric"] = None
    for row in whole.metrics["candidate"]["per_class"]:
        row |= dict.fromkeys(("auc", "pr_auc"))
    for row in whole.metrics["candidate"]["calibration"]:
        row |= {"n": 0.0, "correct": 0.0, "accuracy": None, "confidence": None}
    for row in whole.metrics["candidate"]["coverage"]:
        row["accuracy"] = None
    return dataclasses.replace(whole, verdict=_verdict(whole.metrics))


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
    """A run whose model is too bad for two languages."""
    whole = intents()
    metrics, confusion = measured.measure(
        _INTENTS,
        6012,
        0.76,
        {"language": dict.fromkeys(LANGUAGES, 0.02) | {"hu": -0.3, "it": -0.2}},
        seed=9,
    )
    return dataclasses.replace(
        whole, metrics=metrics, confusion=confusion, verdict=_verdict(metrics), record=_record("intents", "rejected")
    )


def huge(n_classes: int = 400) -> ReportData:
    """More of everything than a page can hold: classes that are all confused, 1,000 slices, 400 columns, long names."""
    rng = random.Random(1)
    names = [f"class {index} " + "with a long name " * 8 for index in range(n_classes)]
    slices = [f"tenant {index} " + "of a long name " * 8 for index in range(1000)]
    metrics, confusion = measured.measure(names, 4000, 0.5, {"tenant": dict.fromkeys(slices, 0.0)})
    metrics["min_rows"] = 2
    for cells in (confusion["candidate"], confusion["baseline"]):
        cells[0] = [[a, p, 3 + (a * p) % 17] for a in range(n_classes + 1) for p in range(n_classes)]
        cells[7] = cells[0][::3]
    statistics = _text_statistics(rng, slices)
    for split in statistics.values():
        split["features"] = [
            {**feature, "name": f"{feature['name']} {index}"} for index in range(100) for feature in split["features"]
        ]
    return ReportData(
        record=_record("huge", "succeeded"),
        metrics=metrics,
        confusion=confusion,
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


def _verdict(metrics: Mapping[str, Any]) -> dict[str, Any]:
    findings = [
        _judged(metric, limit, row, metrics["min_rows"]) for metric, limit in _RULES for row in metrics["candidate"]["slices"]
    ]
    findings += [_widest(entry) for entry in metrics["fairness"]]
    findings.append(_changed("accuracy", metrics))
    present = metrics["baseline"] is not None
    return {
        "blessed": all(finding["severity"] != "error" for finding in findings),
        "findings": findings,
        "baseline": {
            "present": present,
            "note": "compared with the last blessed model" if present else "first run: there is no baseline",
        },
    }


def _judged(metric: str, limit: float, row: Mapping[str, Any], min_rows: int) -> dict[str, Any]:
    """A value limit; slices fail only with their whole interval, and are warned about with their value alone."""
    value, n, interval = row["metrics"][metric], row["n"], row["intervals"].get(metric)
    subject = ", ".join(f"{column}={text}" for column, text in row["slice"].items())
    what, rule = f"{metric} on {subject or 'all test rows'}", f"{metric} >= {limit}"
    if subject and n < min_rows:
        message = f"{what} is not gated: fewer than {min_rows} rows ({n} rows)"
        return _ruling(rule, "too small", message, subject, row["slice"], n, None, None, "", f"fewer than {min_rows} rows")
    if value is None:
        outcome, message, reason = "fail", f"{what} has no value", "not a number: it has no value there"
        return _ruling(rule, outcome, message, subject, row["slice"], n, None, None, "", reason)
    bad, surely = value < limit, value < limit and (interval is None or interval[1] < limit or not subject)
    outcome = "fail" if surely else "warn" if bad else "pass"
    reason = {"fail": "below the limit", "warn": "below the limit, but part of the interval is not", "pass": ""}[outcome]
    message = f"{what} is {value:.4f}, must be at least {limit} ({n} rows)"
    return _ruling(rule, outcome, message, subject, row["slice"], n, value, interval, f">= {limit:.4f}", reason)


def _widest(entry: Mapping[str, Any]) -> dict[str, Any]:
    gap, segment = entry["gap"], entry["segment"]
    rule, slice_ = f"{entry['metric']} gap <= 0.25", {segment: "*"}
    what = f"the gap of {entry['metric']} between the groups of {segment}"
    if gap is None:
        return _ruling(rule, "too small", f"{what} is not gated", segment, slice_, None, None, None, "", entry["note"])
    outcome = "pass" if gap <= 0.25 else "fail"
    reason = f"worst {entry['worst']}, best {entry['best']}"
    message = f"{what} is {gap:.4f}, must be at most 0.2500; {reason}"
    return _ruling(rule, outcome, message, segment, slice_, 6000, gap, entry["gap_interval"], "<= 0.2500", reason)


def _changed(metric: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
    rule = f"{metric} >= baseline - 0.01"
    if not metrics["comparison"]:
        reason = "there is no baseline to compare with"
        return _ruling(rule, "not applied", f"{metric} passes, because {reason}", "", {}, 6000, None, None, "", reason)
    [row] = [row for row in metrics["comparison"]["slices"] if not row["slice"]]
    change, reference = row["metrics"][metric], f"{row['candidate'][metric]:.4f}, the baseline {row['baseline'][metric]:.4f}"
    return _ruling(
        rule,
        "pass",
        f"the change is {change:+.4f}",
        "",
        {},
        row["n"],
        change,
        row["intervals"].get(metric),
        ">= -0.0100",
        reference,
    )


def _ruling(
    rule: str,
    outcome: str,
    message: str,
    subject: str,
    slice_: Mapping[str, str],
    n: int | None,
    value: float | None,
    interval: Sequence[float] | None,
    limit: str,
    reason: str,
) -> dict[str, Any]:
    severity = {"fail": "error", "warn": "warning"}.get(outcome, "info")
    observed = "" if value is None else f"{value:.4f}"
    return {
        **_finding(rule, severity, message, subject, limit, observed),
        "rule": rule,
        "slice": dict(slice_),
        "n": n,
        "value": value,
        "interval": interval,
        "limit": limit,
        "outcome": outcome,
        "reason": reason,
    }


def _finding(
    check: str, severity: str, message: str, subject: str = "", expected: str = "", observed: str = ""
) -> dict[str, Any]:
    fields = {"subject": subject, "expected": expected, "observed": observed}
    return {"check": check, "severity": severity, "message": message, **fields}


def _ingestion(rng: random.Random, names: Sequence[str], segment_values: Sequence[str]) -> dict[str, Any]:
    train = {name: max(3, round(48_000 / (rank + 3) * rng.uniform(0.6, 1.2))) for rank, name in enumerate(names)}
    return {
        "rows": {"train": 48011, "eval": 5977, "test": 6012, "quarantined": 47},
        "quarantine_reasons": {"missing label": 31, "text too long": 12, "text: not UTF-8": 4},
        "quarantine_segments": {"language": {"de": {"missing label": 31, "text too long": 2}, "(other)": {"text too long": 10}}},
        "privacy": {
            "rows": 60000,
            "redacted_rows": 412,
            "entities": {
                "email": {"mode": "placeholder", "found": 30, "rows": 29, "columns": {"text": 30}, "segments": {}},
                "phone": {
                    "mode": "hash",
                    "found": 401,
                    "rows": 390,
                    "columns": {"text": 401},
                    "segments": {"language": {"de": 390}},
                },
            },
            "rules_sha256": "0" * 64,
        },
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
