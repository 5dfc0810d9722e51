"""The run record: what happened, as one JSON object. `run.json`, `parlance run --output json` and the report are made from it."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.errors import GateError, ParlanceError
from components.findings import Finding
from components.release import infra_blessing
from components.validation import schema_file
from pipeline import data, records
from pipeline.config import PipelineConfig

if TYPE_CHECKING:
    from pipeline.local.launch import Launched  # imports TFX

Summary = dict[str, Any]
_NO_ROWS = {"train": 0, "eval": 0, "test": 0, "quarantined": 0}
_SHOWN_VERSIONS = (
    "parlance-tfx", "tfx", "tensorflow", "tensorflow-data-validation", "tensorflow-transform", "tensorflow-model-analysis",
    "apache-beam", "keras", "ml-metadata",
)  # fmt: skip


def opening(run_id: str, config: PipelineConfig, folder: pathlib.Path) -> dict[str, Any]:
    """Returns the record of a run that has begun."""
    return {
        "run_id": run_id,
        "pipeline": config.name,
        "state": "running",
        "seconds": 0.0,
        "nodes": [],
        "rows": _NO_ROWS,
        "sample": config.data.sample,
        "data": None,
        "metrics": {},
        "baseline_metrics": None,
        "majority_metrics": None,
        "verdict": None,
        "data_findings": [],
        "smoke_test": None,
        "pushed": None,
        "report": str(folder / "report.html"),
        "slices": None,
        "log": str(folder / "run.log"),
        "config_sha256": config.sha256(),
    }


def node_entry(node_id: str, launched: Launched, seconds: float, error: Exception | None) -> dict[str, Any]:
    """Returns the record's entry of a node that was launched; a failed one says why."""
    entry: dict[str, Any] = {
        "id": node_id,
        "state": launched.state,
        "seconds": round(seconds, 3),
        "summary": {},
        "execution_id": launched.execution_id,
    }
    if error is not None:
        return {**entry, "error": _describe(error)}
    return {**entry, "summary": _SUMMARIES.get(node_id, lambda _: {})(launched.outputs)}


def skipped_entry(node_id: str) -> dict[str, Any]:
    """Returns the entry of a node that never started, because an earlier one failed."""
    return {"id": node_id, "state": "skipped", "seconds": 0.0, "summary": {}, "execution_id": None}


def close(
    run_id: str,
    config: PipelineConfig,
    folder: pathlib.Path,
    nodes: Sequence[dict[str, Any]],
    launched: Mapping[str, Launched],
    error: Exception | None,
    seconds: float,
    peak_mib: float,
) -> dict[str, Any]:
    """Completes the record of a run, writes it, the report and the pages of segment values into the run's folder, and returns it."""
    from components.reporting import report

    metrics = _of(launched, "Evaluator", "evaluation", "metrics.json")
    confusion = _of(launched, "Evaluator", "evaluation", "confusion.json")
    smoke_test = _of(launched, "InfraValidator", "blessing", infra_blessing.RESULT_FILE)
    verdict = _with_smoke_test(_of(launched, "Evaluator", "evaluation", "verdict.json"), smoke_test)
    ingestion = _of(launched, "ExampleGen", "examples", "summary.json")
    manifest = _of(launched, "ExampleGen", "examples", "manifest.json")
    findings = _of(launched, "DataGate", "verdict", "findings.json") or []
    comparisons = _of(launched, "DataGate", "verdict", "drift.json")
    if isinstance(error, GateError):
        findings = [finding.to_json() for finding in error.findings]
        verdict = {"blessed": False, "findings": findings}
    record = {
        **opening(run_id, config, folder),
        "state": _state(error, verdict),
        "seconds": round(seconds, 3),
        "peak_mib": round(peak_mib),
        "nodes": list(nodes),
        "rows": (ingestion or {}).get("rows", _NO_ROWS),
        "data": {name: manifest[name] for name in ("source", "span", "splits")} if manifest else None,
        "metrics": _overall(metrics, "candidate") or {},
        "baseline_metrics": _overall(metrics, "baseline"),
        "majority_metrics": _overall(metrics, "majority"),
        "verdict": verdict,
        "data_findings": [finding for finding in findings if finding["severity"] != "info"],
        "smoke_test": smoke_test,
        "pushed": _of(launched, "Pusher", "pushed_model", "pushed.json"),
        "slices": _write_slice_pages(folder, run_id, config, metrics, confusion),
    }
    if error is not None:
        record |= {"error": _describe(error), "exit_code": exit_code(error)}
    page = report.render(
        report.ReportData(
            record=record,
            metrics=metrics,
            confusion=confusion,
            verdict=verdict if metrics else None,
            smoke_test=smoke_test,
            statistics=_statistics(launched, config),
            ingestion=ingestion,
            findings=findings,
            comparisons=comparisons,
            config=config.effective(),
            versions={name: importlib.metadata.version(name) for name in _SHOWN_VERSIONS},
            lineage=[
                {
                    "node": node["id"],
                    "inputs": _uris(launched, node["id"], "inputs"),
                    "outputs": _uris(launched, node["id"], "outputs"),
                    "execution_id": node["execution_id"],
                    "state": node["state"],
                }
                for node in nodes
            ],
        )
    )
    pathlib.Path(record["report"]).write_text(page, encoding="utf-8")
    if manifest:
        # Here it outlives the examples, which it can bring back.
        manifest = {**manifest, "examples": launched["ExampleGen"].outputs["examples"][0]}
        (folder / data.FILE_NAME).write_text(json.dumps(manifest, indent=1, ensure_ascii=False), encoding="utf-8")
    records.write(folder, record)
    return record


def _write_slice_pages(
    folder: pathlib.Path,
    run_id: str,
    config: PipelineConfig,
    metrics: Mapping[str, Any] | None,
    confusion: Mapping[str, Any] | None,
) -> str | None:
    """Writes a page for each segment value, and their index, whose path it returns; None if there are none."""
    from components.reporting import slice_pages

    if not metrics or not confusion:
        return None
    today = datetime.datetime.now(datetime.UTC).date()
    about = slice_pages.About(config.name, run_id, f"{today:%d %B %Y}".lstrip("0"))
    index = None
    for path, content in slice_pages.render(metrics, confusion, about):
        index = folder / path
        index.parent.mkdir(parents=True, exist_ok=True)
        index.write_text(content, encoding="utf-8")
    return str(index) if index else None


def exit_code(error: Exception) -> int:
    """Returns the exit code that an error which ended a run stands for."""
    from pipeline.local.executors import Interrupted

    if isinstance(error, Interrupted):
        return 130  # what shells expect of a program ended by Ctrl-C
    return error.exit_code if isinstance(error, ParlanceError) else 3


def _describe(error: Exception) -> str:
    from pipeline.local.executors import Interrupted

    if isinstance(error, Interrupted):
        return "Interrupted. Finished nodes are cached"
    return str(error)


def _state(error: Exception | None, verdict: Mapping[str, Any] | None) -> str:
    if isinstance(error, GateError) or (error is None and verdict is not None and not verdict["blessed"]):
        return "rejected"
    return "failed" if error is not None else "succeeded"


def _with_smoke_test(verdict: dict[str, Any] | None, smoke_test: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Adds to the evaluation's verdict what the smoke test found; a model is blessed if both say yes."""
    if verdict is None or smoke_test is None:
        return verdict
    return {
        **verdict,
        "blessed": verdict["blessed"] and smoke_test["state"] != infra_blessing.FAILED,
        "findings": [*verdict["findings"], *smoke_test["findings"]],
    }


def _overall(metrics: Mapping[str, Any] | None, model: str) -> dict[str, float] | None:
    if not metrics or not metrics.get(model):
        return None
    return next(entry["metrics"] for entry in metrics[model]["slices"] if not entry["slice"])


def _of(launched: Mapping[str, Launched], node_id: str, channel: str, file: str) -> Any:
    """Reads a JSON file out of a node's output artifact; None if the node did not get that far."""
    if node_id not in launched:
        return None
    return _read(launched[node_id].outputs, channel, file)


def _read(outputs: Mapping[str, list[str]], channel: str, file: str) -> Any:
    path = pathlib.Path(outputs[channel][0]) / file if outputs.get(channel) else None
    return json.loads(path.read_text(encoding="utf-8")) if path and path.exists() else None


def _uris(launched: Mapping[str, Launched], node_id: str, side: str) -> list[str]:
    return sorted(uri for uris in getattr(launched[node_id], side).values() for uri in uris) if node_id in launched else []


def _statistics(launched: Mapping[str, Launched], config: PipelineConfig) -> dict[str, Any] | None:
    from tensorflow_metadata.proto.v0 import statistics_pb2

    from components.reporting import statistics

    if "StatisticsGen" not in launched or not launched["StatisticsGen"].outputs.get("statistics"):
        return None
    folder = pathlib.Path(launched["StatisticsGen"].outputs["statistics"][0])
    combined = statistics_pb2.DatasetFeatureStatisticsList()
    for file in sorted(folder.glob("Split-*/FeatureStats.pb")):
        for dataset in statistics_pb2.DatasetFeatureStatisticsList.FromString(file.read_bytes()).datasets:
            dataset.name = file.parent.name.removeprefix("Split-")
            combined.datasets.append(dataset)
    return statistics.summarize(combined, config.data.text)


def _summarize_schema(outputs: Mapping[str, list[str]]) -> Summary:
    schema = schema_file.read_folder(outputs["schema"][0])
    return {"columns": len(schema.feature), "model inputs": len(schema_file.model_inputs(schema))}


def _summarize_examples(outputs: Mapping[str, list[str]]) -> Summary:
    return _read(outputs, "examples", "summary.json")["rows"]


def _summarize_anomalies(outputs: Mapping[str, list[str]]) -> Summary:
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    files = pathlib.Path(outputs["anomalies"][0]).glob("Split-*/SchemaDiff.pb")
    return {"anomalies": sum(len(anomalies_pb2.Anomalies.FromString(file.read_bytes()).anomaly_info) for file in files)}


def _summarize_gate(outputs: Mapping[str, list[str]]) -> Summary:
    findings = [Finding.from_json(values) for values in _read(outputs, "verdict", "findings.json")]
    return {"findings": len(findings), "warnings": sum(finding.severity == "warning" for finding in findings)}


def _summarize_known_data(outputs: Mapping[str, list[str]]) -> Summary:
    known = {"training": "the training data of the current model", "previous": "the previous data"}
    return {"to compare with": " and ".join(words for key, words in known.items() if outputs.get(key)) or "nothing yet"}


def _summarize_model(outputs: Mapping[str, list[str]]) -> Summary:
    training = _read(outputs, "model_run", "training.json") or {}
    return {name: training[name] for name in ("epochs", "eval_accuracy", "parameters") if name in training}


def _summarize_evaluation(outputs: Mapping[str, list[str]]) -> Summary:
    overall = _overall(_read(outputs, "evaluation", "metrics.json"), "candidate") or {}
    blessed = _read(outputs, "evaluation", "verdict.json")["blessed"]
    return {**{name: overall[name] for name in ("accuracy", "macro_f1") if name in overall}, "blessed": blessed}


def _summarize_baseline(outputs: Mapping[str, list[str]]) -> Summary:
    return {"baseline": "the last blessed model" if outputs.get("model") else "none yet"}


def _summarize_smoke_test(outputs: Mapping[str, list[str]]) -> Summary:
    return {"smoke test": _read(outputs, "blessing", infra_blessing.RESULT_FILE)["summary"]}


def _summarize_push(outputs: Mapping[str, list[str]]) -> Summary:
    pushed = _read(outputs, "pushed_model", "pushed.json")
    return {"version": pushed["version"]} if pushed else {"pushed": False}


# The key numbers of each node, in the order they are shown.
_SUMMARIES: dict[str, Callable[[Mapping[str, list[str]]], Summary]] = {
    "SchemaImport": _summarize_schema,
    "ExampleGen": _summarize_examples,
    "ExampleValidator": _summarize_anomalies,
    "BaselineStatistics": _summarize_known_data,
    "DataGate": _summarize_gate,
    "Trainer": _summarize_model,
    "LatestBlessedModel": _summarize_baseline,
    "Evaluator": _summarize_evaluation,
    "InfraValidator": _summarize_smoke_test,
    "Pusher": _summarize_push,
}
