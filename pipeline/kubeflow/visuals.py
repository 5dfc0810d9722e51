"""What KFP's own pages show of a node: numbers, a note, a matrix, sections of the report.

TFX's artifacts have types that KFP draws nothing for. Every step therefore also makes artifacts of KFP's few drawn types, small ones
with aggregates only. Which there are is fixed by a node's id, because the compiled file has to declare them. All of them say where
TFX's own artifacts are; a Metrics artifact holds numbers only, because KFP is about to refuse anything else in it.
"""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from components.ingestion.options import sample_name
from components.release import infra_blessing

METRICS = "system.Metrics"
MARKDOWN = "system.Markdown"
HTML = "system.HTML"
CLASSIFICATION_METRICS = "system.ClassificationMetrics"

_EVERY_NODE: Mapping[str, str] = {"metrics": METRICS, "summary": MARKDOWN}

# What some nodes have beyond the two that every node has: schema title by output name.
OUTPUTS: Mapping[str, Mapping[str, str]] = {
    "StatisticsGen": {**_EVERY_NODE, "report": HTML},
    "ExampleValidator": {**_EVERY_NODE, "report": HTML},
    "Evaluator": {**_EVERY_NODE, "confusion": CLASSIFICATION_METRICS, "report": HTML},
}

# KFP draws every cell as a table's; beyond this the classes with the fewest mistakes stand together.
MATRIX_CLASSES = 40
OTHERS = "(other classes)"
# KFP's table of a curve has a row for each point.
CURVE_POINTS = 101
FINDINGS = 60
SMOKE_TEST = infra_blessing.RESULT_FILE

# Characters that are Markdown's or HTML's, and line ends. Names of classes and values of segments come from data.
_MARKUP = re.compile(r"[\\`*_{}\[\]<>#|~&!]")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a node, as plain values.

    Attributes:
      node: The node's entry in a run record: id, state, seconds, summary, execution_id, and `error` if it failed.
      run_id: The run, as ML Metadata knows it.
      pipeline: The pipeline's name.
      inputs, outputs: Addresses of TFX's artifacts by channel.
      files: Where the outputs can be read, by channel; the addresses themselves on a mounted volume.
      peak_mib: Peak memory in MiB.
      text_columns: Columns that hold messages, whose values are never shown.
      findings: Findings of a gate that stopped the run, as plain values.
      sample: Share of the rows that the run uses.
    """

    node: Mapping[str, Any]
    run_id: str
    pipeline: str
    inputs: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    outputs: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    files: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    peak_mib: float = 0.0
    text_columns: Sequence[str] = ()
    findings: Sequence[Mapping[str, Any]] = ()
    sample: float = 1.0


@dataclasses.dataclass(frozen=True)
class Visual:
    """One KFP artifact: what its file holds, and its metadata."""

    content: str
    metadata: Mapping[str, Any]


def outputs_of(node_id: str) -> Mapping[str, str]:
    """Returns the KFP artifacts of a node: schema title by output name."""
    return OUTPUTS.get(node_id, _EVERY_NODE)


def of_node(outcome: Outcome) -> dict[str, Visual]:
    """Returns the KFP artifacts of a node by output name. Those it has nothing for are left out, e.g. after a failure."""
    contents = {
        "metrics": lambda: ("", metrics(outcome)),
        "summary": lambda: (summary(outcome), {}),
        "confusion": lambda: ("", _confusion(outcome)),
        "report": lambda: (_report(outcome), {}),
    }
    made = {}
    for name, title in outputs_of(outcome.node["id"]).items():
        content, metadata = contents[name]()
        if not content and not metadata:
            continue
        made[name] = Visual(content, metadata if title == METRICS else {**metadata, **_origin(outcome)})
    return made


def metrics(outcome: Outcome) -> dict[str, float]:
    """Returns a node's numbers: its key numbers, time and memory, and of an evaluation every metric over all rows."""
    numbers: dict[str, Any] = dict(outcome.node["summary"])
    evaluated = _read(outcome, "evaluation", "metrics.json")
    for prefix, model in (("", "candidate"), ("baseline_", "baseline")):
        if evaluated and evaluated.get(model):
            overall = next(entry for entry in evaluated[model]["slices"] if not entry["slice"])
            numbers |= {prefix + name: value for name, value in overall["metrics"].items()}
    numbers |= {
        "seconds": outcome.node["seconds"],
        "peak_mib": round(outcome.peak_mib),
        "cached": outcome.node["state"] == "cached",
        "tfx_execution_id": outcome.node["execution_id"],
    }
    if outcome.sample < 1:
        numbers["sample"] = outcome.sample
    return {name.replace(" ", "_"): float(value) for name, value in numbers.items() if _is_number(value)}


def summary(outcome: Outcome) -> str:
    """Returns a node's note in Markdown: what became of it, its key numbers, the verdict or the anomalies, where its outputs are."""
    node = outcome.node
    lines = [f"## {node['id']}: {node['state']}", ""]
    if sampled := sample_name(outcome.sample):
        lines += [f"**{sampled}** of the rows", ""]
    if "error" in node:
        lines += [*(f"> {_plain(line)}" for line in node["error"].splitlines()), ""]
    facts = [(name.replace("_", " "), _shown(value)) for name, value in node["summary"].items()]
    facts += [("time", f"{node['seconds']:.1f} s"), ("peak memory", f"{outcome.peak_mib:,.0f} MiB")]
    lines += _table(("what", "value"), facts)
    verdict = _read(outcome, "evaluation", "verdict.json")
    if verdict is not None:
        lines += ["### " + ("Blessed" if verdict["blessed"] else "Rejected: the gate said no"), ""]
        lines += _decisions(verdict["findings"])
    tried = _read(outcome, "blessing", SMOKE_TEST)
    if tried is not None:
        lines += [f"### Smoke test: {_plain(tried['summary'])}", "", *_decisions(tried["findings"])]
    findings = outcome.findings or _read(outcome, "verdict", "findings.json")
    if findings:
        lines += ["### Checks of the data", "", *_decisions(findings)]
    if outcome.files.get("anomalies"):
        found = _anomalies(outcome.files["anomalies"][0])
        lines += ["### Anomalies", ""]
        lines += _table(("split", "column", "what"), found) if found else ["None: the data fits the schema.", ""]
    origin = [("run", outcome.run_id), ("execution in ML Metadata", str(node["execution_id"] or "–"))]
    origin += [(channel, uri) for channel, uris in outcome.outputs.items() for uri in uris]
    return "\n".join([*lines, "### In ML Metadata", "", *_table(("what", "where"), origin)])


def classification(evaluated: Mapping[str, Any] | None, cells: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns the metadata of a ClassificationMetrics artifact: the confusion matrix with names, and with two classes the ROC curve.

    Args:
      evaluated: The evaluator's metrics.json.
      cells: The evaluator's confusion.json.
    """
    if not evaluated or not cells:
        return {}
    names, rows = _square(evaluated["labels"], cells["candidate"][0])
    metadata: dict[str, Any] = {
        "confusionMatrix": {
            "annotationSpecs": [{"displayName": name} for name in names],
            "rows": [{"row": row} for row in rows],
        }
    }
    if curve := evaluated["candidate"].get("threshold_curve"):
        step = max(1, math.ceil(len(curve) / CURVE_POINTS))
        metadata["confidenceMetrics"] = [
            {
                "confidenceThreshold": point["threshold"],
                "recall": point["tp"] / max(point["tp"] + point["fn"], 1e-12),
                "falsePositiveRate": point["fp"] / max(point["fp"] + point["tn"], 1e-12),
            }
            # From the strictest threshold on, as a curve is drawn.
            for point in reversed([*curve[:-1:step], curve[-1]])
        ]
    return metadata


def write(visuals: Mapping[str, Visual], executor_input: Mapping[str, Any]) -> None:
    """Writes KFP artifacts where KFP expects them, and the file that tells it about them.

    Args:
      visuals: By output name. Outputs that KFP did not ask for are left out.
      executor_input: KFP's message to the container.
    """
    wanted = executor_input.get("outputs", {})
    told = {}
    for name, listed in wanted.get("artifacts", {}).items():
        [artifact] = listed["artifacts"]
        visual = visuals.get(name)
        if visual is None:
            continue
        path = pathlib.Path(local_path(artifact["uri"]))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(visual.content, encoding="utf-8")
        told[name] = {"artifacts": [{"name": artifact["name"], "uri": artifact["uri"], "metadata": dict(visual.metadata)}]}
    if output_file := wanted.get("outputFile"):
        path = pathlib.Path(output_file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"artifacts": told}, ensure_ascii=False, allow_nan=False), encoding="utf-8")


def local_path(uri: str) -> str:
    """Returns where a container finds or puts a KFP artifact: KFP's launcher copies between there and its object store."""
    scheme, separator, rest = uri.partition("://")
    return f"/{'gcs' if scheme == 'gs' else scheme}/{rest}" if separator else uri


def _origin(outcome: Outcome) -> dict[str, Any]:
    """Where TFX's own record of this node is. KFP refuses null."""
    origin = {
        "tfx_run_id": outcome.run_id,
        "tfx_node": outcome.node["id"],
        "tfx_state": outcome.node["state"],
        "tfx_execution_id": outcome.node["execution_id"],
        "tfx_inputs": {channel: list(uris) for channel, uris in outcome.inputs.items()},
        "tfx_outputs": {channel: list(uris) for channel, uris in outcome.outputs.items()},
    }
    return {name: value for name, value in origin.items() if value}


def _confusion(outcome: Outcome) -> dict[str, Any]:
    return classification(_read(outcome, "evaluation", "metrics.json"), _read(outcome, "evaluation", "confusion.json"))


def _report(outcome: Outcome) -> str:
    """The sections of the report that a node's outputs fill."""
    from components.reporting import report

    node, parts = outcome.node, {}
    if evaluated := _read(outcome, "evaluation", "metrics.json"):
        parts = {
            "metrics": evaluated,
            "confusion": _read(outcome, "evaluation", "confusion.json"),
            "verdict": _read(outcome, "evaluation", "verdict.json"),
        }
    elif outcome.files.get("statistics"):
        parts = {"statistics": _statistics(outcome.files["statistics"][0], outcome.text_columns)}
    elif outcome.files.get("anomalies"):
        parts = {"findings": _as_findings(_anomalies(outcome.files["anomalies"][0]))}
    if not parts:
        return ""
    rejected = bool(parts.get("verdict")) and not parts["verdict"]["blessed"]
    return report.render(
        report.ReportData(
            record={
                "run_id": outcome.run_id,
                "pipeline": outcome.pipeline,
                # What comes after this node is not known here.
                "state": "rejected" if rejected else "running",
                "seconds": node["seconds"],
                "peak_mib": round(outcome.peak_mib),
                "sample": outcome.sample,
                "nodes": [dict(node)],
            },
            lineage=[
                {
                    "node": node["id"],
                    "inputs": [uri for uris in outcome.inputs.values() for uri in uris],
                    "outputs": [uri for uris in outcome.outputs.values() for uri in uris],
                    "execution_id": node["execution_id"],
                    "state": node["state"],
                }
            ],
            # Those of single segment values are a run's, and a frame in KFP's pages has no folder beside it.
            pages=False,
            **parts,
        )
    )


def _statistics(folder: str, text_columns: Sequence[str]) -> dict[str, Any]:
    from tensorflow_metadata.proto.v0 import statistics_pb2

    from components.reporting import statistics

    combined = statistics_pb2.DatasetFeatureStatisticsList()
    for file in sorted(pathlib.Path(folder).glob("Split-*/FeatureStats.pb")):
        for dataset in statistics_pb2.DatasetFeatureStatisticsList.FromString(file.read_bytes()).datasets:
            dataset.name = file.parent.name.removeprefix("Split-")
            combined.datasets.append(dataset)
    return statistics.summarize(combined, text_columns)


def _anomalies(folder: str) -> list[tuple[str, str, str]]:
    """Split, column and kind of every anomaly. What TFDV says beyond its kind may quote values."""
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    kinds = anomalies_pb2.AnomalyInfo.Type
    found = []
    for file in sorted(pathlib.Path(folder).glob("Split-*/SchemaDiff.pb")):
        anomalies = anomalies_pb2.Anomalies.FromString(file.read_bytes())
        split = file.parent.name.removeprefix("Split-")
        if anomalies.data_missing:
            found.append((split, "all", "the split has no rows"))
        for column, info in sorted(anomalies.anomaly_info.items()):
            names = sorted({kinds.Name(reason.type).lower().replace("_", " ") for reason in info.reason})
            found.append((split, column, ", ".join(names)))
    return found


def _as_findings(anomalies: Iterable[tuple[str, str, str]]) -> list[dict[str, Any]]:
    """Anomalies as findings. Which of them stop a run is the data gate's decision, so here they are warnings."""
    found = [
        {"check": f"anomaly: {what}", "severity": "warning", "subject": column, "message": f"In the {split} split: {what}"}
        for split, column, what in anomalies
    ]
    return found or [
        {"check": "anomalies", "severity": "info", "expected": "none", "observed": "none", "message": "The data fits the schema"}
    ]


def _square(labels: Sequence[str], cells: Iterable[tuple[int, int, float]]) -> tuple[list[str], list[list[float]]]:
    """A dense matrix with the names of its rows, which are those of its columns too; KFP knows no other form."""
    from components.reporting.confusion import NO_SCORES, UNSEEN

    cells = [(int(actual), int(predicted), float(n)) for actual, predicted, n in cells]
    special = len(labels)
    chosen = list(range(special))
    if special > MATRIX_CLASSES:
        wrong = dict.fromkeys(chosen, 0.0)
        for actual, predicted, n in cells:
            if actual != predicted:
                for index in {actual, predicted} - {special}:
                    wrong[index] += n
        chosen = sorted(sorted(chosen, key=lambda index: -wrong[index])[: MATRIX_CLASSES - 1])
    names = [labels[index] or "(empty)" for index in chosen]
    place = {index: position for position, index in enumerate(chosen)}
    if len(chosen) < special:
        place |= {index: len(names) for index in range(special) if index not in place}
        names.append(OTHERS)
    if any(special in cell[:2] for cell in cells):
        place[special] = len(names)
        # One index stands for both: as a true class for labels no training row had, as a prediction for no usable scores.
        names.append(f"{UNSEEN} {NO_SCORES}")
    rows = [[0.0] * len(names) for _ in names]
    for actual, predicted, n in cells:
        rows[place[actual]][place[predicted]] += n
    return names, rows


def _decisions(findings: Sequence[Mapping[str, Any]]) -> list[str]:
    from components.reporting import verdict

    decisions = verdict.decisions(findings)
    listed = [*decisions.shown, *decisions.folded]
    rows = [
        (
            f"**{entry.outcome}**" if entry.outcome in ("failed", "warning") else entry.outcome,
            entry.check,
            entry.subject,
            _shown(entry.value) if entry.value is not None else entry.observed,
            entry.expected,
            entry.message,
        )
        for entry in listed[:FINDINGS]
    ]
    lines = _table(("outcome", "check", "of", "value", "limit", "why"), rows)
    left_out = len(listed) - len(rows) + decisions.left_out
    return [*lines, f"{left_out} more are in TFX's artifact.", ""] if left_out else lines


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table. What is bold already is left as it is."""
    lines = [f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
    for row in rows:
        lines.append(f"| {' | '.join(cell if cell.startswith('**') else _plain(cell) for cell in row)} |")
    return [*lines, ""]


def _plain(text: str) -> str:
    """A text that Markdown shows as it is."""
    text = "".join(character if character.isprintable() else " " for character in text)
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", text)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 10 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _read(outcome: Outcome, channel: str, file: str) -> Any:
    paths = outcome.files.get(channel)
    path = pathlib.Path(paths[0]) / file if paths else None
    return json.loads(path.read_text(encoding="utf-8")) if path and path.exists() else None
