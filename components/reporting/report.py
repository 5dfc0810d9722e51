"""The report of a run: one HTML file that needs nothing else and holds aggregates only.

Everything can be read without its script, which only makes the confusion matrix interactive.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from components.ingestion.options import sample_name
from components.reporting import (
    confusion,
    curves,
    data_profile,
    drift,
    fairness,
    formats,
    page,
    quality,
    slice_pages,
    texts,
    timeline,
    verdict,
)

CONFIG_LENGTH = 60_000
LINEAGE_URIS = 20
NOTES, NOTE_LENGTH = 40, 400
WORST_GROUPS = 2
COMPARED_LABELS = 10
_RECORD_DEFAULTS = dict.fromkeys(("pipeline", "run_id", "seconds", "peak_mib", "pushed", "log", "config_sha256"))
# Pipeline files take secrets as env:NAME only. Should one hold an address with a password, a file people pass around hides it.
_PASSWORD_IN_URL = re.compile(r"(?<=://)([^\s/@:]*):[^\s/@]+(?=@)")


@dataclasses.dataclass(frozen=True)
class ReportData:
    """Everything a report shows, as plain values. A part the run did not get to is None.

    Attributes:
      record: The run record (`run.json`), with `error` and the nodes' `error` where something failed.
      metrics: The evaluator's metrics.json.
      confusion: The evaluator's confusion.json.
      verdict: The evaluator's verdict.json, with the findings of the smoke test.
      smoke_test: The smoke test's smoke_test.json.
      statistics: Statistics by split (see `statistics.summarize`).
      ingestion: Ingestion's summary.json.
      findings: The data gate's findings.
      comparisons: What the data gate compared the data with (drift.json).
      config: The effective pipeline file.
      versions: Package versions by name.
      lineage: One entry per node: node, inputs and outputs (URIs), execution_id, state.
      pages: Whether the pages of single segment values stand in the folder `slices` beside the report.
    """

    record: Mapping[str, Any] | None = None
    metrics: Mapping[str, Any] | None = None
    confusion: Mapping[str, Any] | None = None
    verdict: Mapping[str, Any] | None = None
    smoke_test: Mapping[str, Any] | None = None
    statistics: Mapping[str, Any] | None = None
    ingestion: Mapping[str, Any] | None = None
    findings: Sequence[Mapping[str, Any]] | None = None
    comparisons: Sequence[Mapping[str, Any]] | None = None
    config: Mapping[str, Any] | None = None
    versions: Mapping[str, str] | None = None
    lineage: Sequence[Mapping[str, Any]] | None = None
    pages: bool = True


def render(report: ReportData) -> str:
    """Returns the report as a self-contained HTML document of less than 2 MB.

    Long lists are cut after their worst or largest entries, and the page says what it leaves out. All values are escaped.
    """
    return page.render(
        "report.html.j2",
        record=_RECORD_DEFAULTS | dict(report.record or {}),
        sampled=sample_name((report.record or {}).get("sample") or 1.0),
        headline=verdict.headline(report.record, report.verdict, report.findings or (), _missing_parts(report)),
        bars=timeline.bars(list((report.record or {}).get("nodes", ()))),
        decisions=verdict.decisions((report.verdict or {}).get("findings", ())),
        data_findings=verdict.decisions(report.findings or ()),
        drift=drift.tables(report.comparisons or ()),
        data=_data(report),
        quality=_quality(report),
        smoke_test=_smoke_test(report.smoke_test),
        lineage=_lineage(report.lineage or ()),
        config=_config_text(report.config),
        versions=report.versions or {},
    )


def _missing_parts(report: ReportData) -> list[str]:
    parts = {"ingested data": report.ingestion, "column statistics": report.statistics, "metrics": report.metrics}
    return [name for name, part in parts.items() if not part]


def _data(report: ReportData) -> dict[str, Any]:
    ingestion = report.ingestion or {}
    columns, columns_left_out = data_profile.columns(report.statistics or {})
    removed_by_segment, removed_left_out = data_profile.removed_by_segment(ingestion.get("privacy", {}))
    return {
        "splits": data_profile.splits(ingestion["rows"]) if ingestion.get("rows") else [],
        "quarantine": data_profile.quarantine(ingestion.get("quarantine_reasons", {})),
        "quarantine_by_segment": data_profile.quarantine_by_segment(
            ingestion.get("quarantine_segments", {}), ingestion.get("segments", {})
        ),
        "privacy": ingestion.get("privacy", {}),
        "removed": data_profile.removed(ingestion.get("privacy", {})),
        "removed_by_segment": removed_by_segment,
        "removed_left_out": removed_left_out,
        "texts": texts.tables(ingestion.get("texts", {})),
        "languages": texts.languages(ingestion.get("languages", {})),
        "labels": data_profile.labels(ingestion.get("labels", {})),
        "segments": data_profile.segment_values(ingestion.get("segments", {})),
        "source": {name: ingestion.get(name) for name in ("bytes", "seconds", "fingerprint")},
        "columns": columns,
        "columns_left_out": columns_left_out,
    }


def _quality(report: ReportData) -> dict[str, Any] | None:
    metrics, cells = report.metrics, report.confusion
    if not metrics:
        return None
    planned = slice_pages.plan(metrics) if cells and report.pages else slice_pages.NO_PAGES
    segments, segments_left_out = quality.segments(metrics, planned.links())
    overall = quality.overall(metrics)
    compared, fairness_left_out = fairness.comparisons(metrics.get("fairness") or ())
    whole = cells["candidate"][0] if cells else []
    labels = metrics["labels"]
    return {
        "n": quality.overall_slice(metrics)["n"],
        "min_rows": metrics["min_rows"],
        "weight": metrics.get("weight"),
        "classes": len(metrics["classes"]),
        "majority_class": metrics.get("train_majority_class"),
        "accuracy": next((row for row in overall.rows if row.label == "Accuracy"), None),
        "rows": overall.rows,
        "axis": overall.axis,
        "has_baseline": bool(metrics.get("baseline")),
        "notes": _notes(metrics),
        "intervals": _about_intervals(metrics.get("bootstrap")),
        "compared": _about_comparison(metrics.get("comparison")),
        "segments": segments,
        "segments_left_out": segments_left_out,
        "worst": quality.worst_groups(segments)[:WORST_GROUPS],
        "pages": planned.note() if planned.pages else "",
        "fairness": compared,
        "fairness_left_out": fairness_left_out,
        "explorer": confusion.explorer(labels, confusion.slices(metrics, cells)) if cells else None,
        "matrix": confusion.matrix(labels, whole) if whole else None,
        "pairs": confusion.top_pairs(labels, whole),
        "per_class": quality.classes(metrics["candidate"]["per_class"], (metrics.get("baseline") or {}).get("per_class", ())),
        "plots": curves.plots(metrics),
    }


def _smoke_test(result: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What the smoke test measured, as names and texts; None if there was none."""
    if not result:
        return None
    facts = {"Test rows replayed": f"{result['rows']:,}"} if result.get("rows") else {}
    if (difference := result.get("max_score_difference")) is not None:
        facts["Largest difference of a score"] = f"{difference:.1e}"
    for name, protocol in (("gRPC", "grpc"), ("REST", "rest")):
        if times := (result.get("latency_ms") or {}).get(protocol):
            facts[f"A request by {name}"] = f"{times['p50']:.3g} ms, p99 {times['p99']:.3g} ms"
    if (seconds := result.get("load_seconds")) is not None:
        facts["Available after"] = f"{seconds:.1f} s"
    if (memory := result.get("memory_mib")) is not None:
        facts["Memory of the server"] = f"{memory:,} MiB"
    if version := result.get("tf_serving"):
        facts["Ops compared with"] = f"TensorFlow Serving {version}"
    summary = formats.shorten(str(result["summary"]), NOTE_LENGTH)
    return {
        "summary": f"{summary[:1].upper()}{summary[1:]}",
        "facts": facts,
        "request": [formats.shorten(str(line), NOTE_LENGTH) for line in result["request"][:NOTES]],
        "log": [formats.shorten(str(line), NOTE_LENGTH) for line in result["log"][:NOTES]],
    }


def _notes(metrics: Mapping[str, Any]) -> list[str]:
    problem = metrics.get("baseline_problem")
    notes = [f"Not compared with the last blessed model: {problem}", *metrics["notes"]] if problem else list(metrics["notes"])
    return [formats.shorten(f"{note[:1].upper()}{note[1:]}", NOTE_LENGTH) for note in notes[:NOTES]]


def _about_intervals(bootstrap: Mapping[str, Any] | None) -> str:
    if not bootstrap:
        return "No intervals were computed (evaluation.bootstrap.replicates is 0)."
    unit = bootstrap["unit"]
    drawn = "rows" if unit == "row" else f"groups of rows with the same {unit}"
    return (
        f"Ranges are {bootstrap['confidence']:.0%} intervals from {formats.plural(bootstrap['replicates'], 'bootstrap replicate')} "
        f"of the {drawn}; a change has its own, on the same {drawn}."
    )


def _about_comparison(comparison: Mapping[str, Any] | None) -> str:
    if not comparison or comparison["labels"] != "common":
        return ""
    n = next((row["n"] for row in comparison["slices"] if not row["slice"]), 0)
    names = [formats.shorten(str(name), 40) for name in comparison["left_out_labels"]]
    listed = ", ".join(f"“{name}”" for name in names[:COMPARED_LABELS])
    more = f" and {len(names) - COMPARED_LABELS} more" if len(names) > COMPARED_LABELS else ""
    return (
        f"The two models know different labels: the baseline and the change are of the {formats.plural(n, 'row')} whose label both "
        f"know, without {listed}{more}."
    )


def _lineage(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Lineage with the folder all artifacts share taken out of their addresses."""
    uris = [uri for entry in entries for side in ("inputs", "outputs") for uri in entry.get(side, ())]
    prefix = _common_folder(uris)
    rows = [
        entry | {side: [uri.removeprefix(prefix) for uri in entry.get(side, ())[:LINEAGE_URIS]] for side in ("inputs", "outputs")}
        for entry in map(dict, entries)
    ]
    return {"prefix": prefix, "rows": rows}


def _common_folder(uris: Sequence[str]) -> str:
    if len(uris) < 2:
        return ""
    first, last = min(uris), max(uris)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[: first.rfind("/", 0, same) + 1]


def _config_text(config: Mapping[str, Any] | None) -> str:
    if not config:
        return ""
    text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True, width=100)
    return formats.shorten(_PASSWORD_IN_URL.sub(r"\1:***", text), CONFIG_LENGTH)
