"""Compiled packages of many different pipeline files, for compilers and clusters outside this project.

    python -m benchmarks.kubeflow_matrix DIR

Writes one YAML file a case into DIR, checks each as `parlance kubeflow check` does, and loads it in Kubeflow's own library. What only a
cluster or Argo can tell is left to whatever reads the folder: each file can be submitted or compiled further as it is. The last line is
one JSON object with the size of each file, and the exit code is 1 if a check found an error.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import time
from collections.abc import Mapping, Sequence

# By digest, so that the checks have nothing to say; no such image exists.
_IMAGE = "kubeflow.image=parlance@sha256:" + "0" * 64
_WEBHOOK = "kubeflow.webhook={name: parlance-webhook, key: url}"
_GATES = (
    "kubeflow.parameters.thresholds={setting: evaluation.gates, default: usual, choices: {"
    "usual: [{metric: accuracy, min: 0.8}], strict: [{metric: accuracy, min: 0.95}, {metric: macro_f1, min: 0.9}]}}"
)
_EVERYWHERE = (
    "kubeflow.defaults={cpu: 1, memory: 4Gi, retries: 3, timeout_seconds: 7200, node_selector: {pool: ml}, "
    "tolerations: [{key: ml, operator: Equal, value: batch, effect: NoSchedule}]}"
)
_SECRETS = (
    "kubeflow.nodes.ExampleGen={secrets: [{name: warehouse, key: user, env: WAREHOUSE_USER}, "
    "{name: warehouse, key: password, env: WAREHOUSE_PASSWORD}], volumes: [{claim: datasets, mount: /datasets}]}"
)
_FLINK = (
    "beam={runner: flink, args: [--flink_master=flink-jobmanager:8081, --environment_type=EXTERNAL, "
    "--environment_config=localhost:50000], nodes: {Evaluator: {runner: direct}}}"
)
_DATAFLOW = (
    "beam.nodes.Transform={runner: dataflow, args: [--project=p, --region=europe-west1, --temp_location=gs://bucket/tmp, "
    "--sdk_container_image=parlance:0.1.0]}"
)

CASES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "text": ("intents", ()),
    "tabular": ("taxi", ()),
    "several-segments": ("taxi", ("data.segments=[company, trip_start_hour, trip_miles, [company, trip_start_hour]]",)),
    "no-segments": ("intents", ("data.segments=[]", "evaluation.gates=[{metric: accuracy, min: 0.5}]")),
    "no-baseline": ("intents", ("evaluation.gates=[{metric: accuracy, above_majority: 0.2}]",)),
    "gpu": (
        "intents",
        ("kubeflow.nodes.Trainer={gpu: {count: 1}, memory: 16Gi, tolerations: [{key: nvidia.com/gpu, operator: Exists}]}",),
    ),
    "other-accelerator": ("intents", ("kubeflow.nodes.Trainer.gpu={type: amd.com/gpu, count: 2}",)),
    "schedule-cron": ("intents", ("schedule={cron: '0 30 2 * * *', parameters: {epochs: 5}}",)),
    "schedule-interval": ("taxi", ("schedule={interval: 6h, start: '2030-01-01T00:00:00Z', enabled: false}",)),
    "spans": ("taxi", ("data.source.path='/parlance/data/span-{SPAN}/trips-*.csv'",)),
    "relative-path": ("taxi", ("data.source.path=data/trips.csv",)),
    "bucket-root": (
        "intents",
        ("kubeflow.pipeline_root=gs://bucket/parlance", "release.directory=/parlance/models"),
    ),
    "other-volume": (
        "intents",
        ("kubeflow.volume={claim: shared-files, mount: /mnt/shared}", "kubeflow.pipeline_root=/mnt/shared/ml/parlance"),
    ),
    "secrets": ("taxi", (_SECRETS, "data.source.path=/datasets/trips.csv")),
    "exit-handler": ("intents", (_WEBHOOK,)),
    "parameters": (
        "intents",
        (_GATES, "kubeflow.parameters.rate=model.learning_rate", "kubeflow.parameters.seed=data.split.seed"),
    ),
    "no-parameters": ("taxi", ("kubeflow.parameters={data_path: null, epochs: null}",)),
    "placed": (
        "intents",
        (_EVERYWHERE, "kubeflow.labels={team: support}", "kubeflow.annotations={sidecar.istio.io/inject: 'false'}"),
    ),
    "private-registry": ("intents", ("kubeflow.pull_policy=IfNotPresent", "kubeflow.pull_secrets=[registry]")),
    "flink": ("intents", (_FLINK,)),
    "dataflow": ("intents", (_DATAFLOW,)),
    "everything": (
        "taxi",
        (
            _EVERYWHERE,
            _WEBHOOK,
            _SECRETS,
            _GATES,
            "kubeflow.nodes.Trainer={gpu: {}, image: parlance-gpu@sha256:" + "1" * 64 + "}",
            "schedule={cron: '0 0 */6 * * *', parameters: {thresholds: strict}}",
            "kubeflow.metadata={host: mariadb.databases.svc, port: 3307, database: ml, user: ml, secret: {name: db, key: pw}}",
        ),
    ),
}
"""Cases by name: a pipeline file that ships with Parlance and the settings laid over it."""


def write(folder: pathlib.Path, cases: Sequence[str] = tuple(CASES)) -> dict[str, dict[str, object]]:
    """Writes packages into a folder.

    Args:
      folder: Where to; made if missing.
      cases: Which; all if not named.

    Returns:
      By case: `bytes`, `seconds` (of compiling) and `findings` (one line each).
    """
    from kfp import components

    from pipeline import config
    from pipeline.kubeflow import check, compiler

    folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, dict[str, object]] = {}
    for case in cases:
        name, settings = CASES[case]
        loaded = config.load(config.CONFIGS / f"{name}.yaml", [_IMAGE, *settings])
        before = time.perf_counter()
        text = compiler.compile_package(loaded)
        seconds = time.perf_counter() - before
        components.load_component_from_text(text)
        (folder / f"{case}.yaml").write_text(text, encoding="utf-8")
        findings = [f"{finding.severity.value}: {finding.subject}: {finding.message}" for finding in check.check(text)]
        results[case] = {"bytes": len(text.encode()), "seconds": round(seconds, 2), "findings": findings}
    return results


def main() -> int:
    """Writes the whole matrix; returns the exit code."""
    parser = argparse.ArgumentParser(description="Writes compiled packages of many different pipeline files into a folder.")
    parser.add_argument("folder", metavar="DIR", type=pathlib.Path)
    folder = parser.parse_args().folder
    from pipeline.local import lean_imports

    lean_imports.install()
    results = write(folder)
    for case, result in results.items():
        print(f"{case:<20} {result['bytes']:>7} bytes  {result['seconds']:5.2f} s")
        for finding in result["findings"]:  # type: ignore[attr-defined]
            print(f"  {finding}")
    print(json.dumps({"area": "kubeflow_matrix", "folder": str(folder), "cases": results}))
    return 1 if any(str(finding).startswith("error") for result in results.values() for finding in result["findings"]) else 0  # type: ignore[attr-defined]


if __name__ == "__main__":
    sys.exit(main())
