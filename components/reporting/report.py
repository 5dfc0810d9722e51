"""The report of a run: one HTML file that needs nothing else, not even a script, and holds aggregates only."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import yaml

from components.reporting import confusion, data_profile, formats, quality, timeline, verdict

CONFIG_LENGTH = 60_000
LINEAGE_URIS = 20
_RECORD_DEFAULTS = dict.fromkeys(("pipeline", "run_id", "seconds", "peak_mib", "pushed", "log", "config_sha256"))
# Pipeline files take secrets as env:NAME only. Should one hold an address with a password, a file people pass around hides it.
_PASSWORD_IN_URL = re.compile(r"(?<=://)([^\s/@:]*):[^\s/@]+(?=@)")


@dataclasses.dataclass(frozen=True)
class ReportData:
    """Everything a report shows, as plain values. A part the run did not get to is None.

    Attributes:
      record: The run record (`run.json`), with `error` and the nodes' `error` where something failed.
      metrics: The evaluator's metrics.json.
      verdict: The evaluator's verdict.json.
      statistics: Statistics by split (see `statistics.summarize`).
      ingestion: Ingestion's summary.json.
      findings: The data gate's findings.
      config: The effective pipeline file.
      versions: Package versions by name.
      lineage: One entry per node: node, inputs and outputs (URIs), execution_id, state.
    """

    record: Mapping[str, Any] | None = None
    metrics: Mapping[str, Any] | None = None
    verdict: Mapping[str, Any] | None = None
    statistics: Mapping[str, Any] | None = None
    ingestion: Mapping[str, Any] | None = None
    findings: Sequence[Mapping[str, Any]] | None = None
    config: Mapping[str, Any] | None = None
    versions: Mapping[str, str] | None = None
    lineage: Sequence[Mapping[str, Any]] | None = None


def render(report: ReportData) -> str:
    """Returns the report as a self-contained HTML document of less than 2 MB.

    Long lists are cut after their worst or largest entries, and the page says what it leaves out. All values are escaped.
    """
    return _ENVIRONMENT.get_template("report.html.j2").render(
        record=_RECORD_DEFAULTS | dict(report.record or {}),
        headline=verdict.headline(report.record, report.verdict, report.findings or (), _missing_parts(report)),
        bars=timeline.bars(list((report.record or {}).get("nodes", ()))),
        decisions=verdict.decisions((report.verdict or {}).get("findings", ())),
        data_findings=verdict.decisions(report.findings or ()),
        data=_data(report),
        quality=_quality(report.metrics),
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
    return {
        "splits": data_profile.splits(ingestion["rows"]) if ingestion.get("rows") else [],
        "quarantine": data_profile.quarantine(ingestion.get("quarantine_reasons", {})),
        "labels": data_profile.labels(ingestion.get("labels", {})),
        "segments": data_profile.segment_values(ingestion.get("segments", {})),
        "source": {name: ingestion.get(name) for name in ("bytes", "seconds", "fingerprint")},
        "columns": columns,
        "columns_left_out": columns_left_out,
    }


def _quality(metrics: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not metrics:
        return None
    segments, segments_left_out = quality.segments(metrics)
    rows = quality.overall(metrics)
    cells = [tuple(cell) for cell in metrics["candidate"].get("confusion", ())]
    return {
        "n": quality.measured_rows(metrics),
        "classes": len(metrics["classes"]),
        "majority_class": metrics.get("train_majority_class"),
        "accuracy": next((row for row in rows if row.label == "Accuracy"), None),
        "rows": rows,
        "has_baseline": bool(metrics.get("baseline")),
        "segments": segments,
        "segments_left_out": segments_left_out,
        "matrix": confusion.matrix(metrics["classes"], cells) if cells else None,
        "pairs": confusion.top_pairs(metrics["classes"], cells),
        "per_class": quality.classes(metrics.get("per_class", ())),
    }


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


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(formats.FILTERS)
    return environment


_ENVIRONMENT = _environment()
