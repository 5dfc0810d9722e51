"""Releases a model although its gate said no, or its smoke test failed: somebody takes responsibility and says why.

Every trace of the model says so too. The version's manifest, the run's record and ML Metadata hold who, when, why and which rules the
model failed. In ML Metadata it is a blessing of its own, so that the next candidate is measured against the model that is in
production. The verdict stays what it was.
"""

from __future__ import annotations

import dataclasses
import datetime
import pathlib
from collections.abc import Mapping
from typing import Any

import yaml
from ml_metadata.proto import metadata_store_pb2
from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.compiler import constants as context_types
from tfx.orchestration import metadata
from tfx.orchestration.portable.mlmd import context_lib, execution_lib
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components.errors import ParlanceError, UsageError
from components.evaluation.baseline import OVERRIDE_REASON_KEY
from components.release import audit, infra_blessing, push, release
from components.release.options import ReleaseOptions
from pipeline import records
from pipeline.local import failures
from pipeline.local.root import Root

NODE = "Override"

_EVALUATED = ("complete", "cached")
_OF_BOTH_MODELS = (
    constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY,
    constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY,
    constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY,
    constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY,
)


def override(root: Root, run: str, reason: str) -> dict[str, Any]:
    """Releases the rejected model of a run.

    Args:
      root: The root folder of the run.
      run: A run id, the beginning of one, or `latest`.
      reason: Why; not empty.

    Returns:
      The run's record, as written to the run's folder: `pushed`, and `override` with `reason`, `by` (the user of the operating
      system), `at` (ISO 8601, UTC), `failed` (the rules that said no, those of the smoke test among them) and `smoke_test` (how that
      ended; `skipped` where the gate's no came first, so that nobody takes the model for one that was tried).

    Raises:
      UsageError: There is no reason or no such run, the run has no rejected model, or its model or evaluation is gone.
      EnvironmentFailure: A run holds the root, or the disk fails.
    """
    if not reason.strip():
        raise UsageError("--override needs --reason with a text that says why; it is kept in manifest, record and ML Metadata")
    kept = records.Records(root.path)
    run_id = kept.one(run)["run_id"]
    with root.locked():
        # Whatever held the lock until now may have changed the record.
        record = kept.one(run_id)
        _require_rejected_model(record)
        try:
            return _release(root, record, reason.strip())
        except ParlanceError:
            raise
        except Exception as error:
            raise failures.explain(failures.describe(error), failures.number(error)) from error


def _require_rejected_model(record: Mapping[str, Any]) -> None:
    run_id, verdict = record["run_id"], record["verdict"]
    if "override" in record:
        raise UsageError(f"The model of run {run_id} was released by override already, as version {record['pushed']['version']}")
    states = {node["id"]: node["state"] for node in record["nodes"]}
    if verdict is None or states.get("Evaluator") not in _EVALUATED:
        why = record.get("error") or f"it is {record['state']}, without an evaluation"
        raise UsageError(f"Only a model that was measured can be released, and run {run_id} measured none: {why}")
    if verdict["blessed"]:
        raise UsageError(f"The model of run {run_id} was blessed, so there is nothing to override")


def _release(root: Root, record: Mapping[str, Any], reason: str) -> dict[str, Any]:
    folder = root.runs / record["run_id"]
    options = ReleaseOptions.model_validate(yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["release"])
    statement = {
        "reason": reason,
        "by": audit.user(),
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "failed": [_described(finding) for finding in record["verdict"]["findings"] if finding["severity"] == "error"],
        "smoke_test": (record.get("smoke_test") or {"state": infra_blessing.SKIPPED})["state"],
    }
    with metadata.Metadata(root.metadata_config()) as connection:
        evaluated = _evaluated(connection, record)
        pushed = release.release(
            model_dir=evaluated.model_dir,
            evaluation_dir=evaluated.evaluation.uri,
            schema_dir=evaluated.schema.uri,
            examples_dir=evaluated.examples.uri,
            base_dir=root.path / options.directory / record["pipeline"],
            origin=release.Origin(
                pipeline=record["pipeline"],
                run=record["run_id"],
                config_sha256=record["config_sha256"],
                data_fingerprint=evaluated.examples.get_string_custom_property("content_fingerprint"),
            ),
            options=options,
            override=statement,
        )
        _bless(connection, evaluated, record, statement, pushed, root.path / "pipelines" / record["pipeline"] / NODE)
    released = {
        **record,
        "pushed": {"model": record["pipeline"], "version": pushed.version, "path": pushed.path},
        "override": statement,
    }
    records.write(folder, released)
    return released


def _described(finding: Mapping[str, Any]) -> str:
    return f"{finding['check']} ({finding['subject']})" if finding["subject"] else finding["check"]


@dataclasses.dataclass(frozen=True)
class _Evaluated:
    """What the run's evaluation read and wrote, and the schema its model was trained with."""

    model: types.Artifact
    examples: types.Artifact
    schema: types.Artifact
    evaluation: types.Artifact
    blessing: types.Artifact

    @property
    def model_dir(self) -> pathlib.Path:
        """The SavedModel."""
        return pathlib.Path(path_utils.serving_model_path(self.model.uri))


def _evaluated(connection: metadata.Metadata, record: Mapping[str, Any]) -> _Evaluated:
    """Finds a run's artifacts; a cached evaluation has those of the run that made it."""
    run_id = record["run_id"]
    [execution_id] = [node["execution_id"] for node in record["nodes"] if node["id"] == "Evaluator"]
    inputs = execution_lib.get_input_artifacts(connection, execution_id)
    outputs = execution_lib.get_output_artifacts(connection, execution_id)
    try:
        [model], [examples], [evaluation], [blessing] = (
            inputs["model"], inputs["examples"], outputs["evaluation"], outputs["blessing"]
        )  # fmt: skip
        [schema] = execution_lib.get_input_artifacts(connection, _producer(connection, model))["schema"]
    except (KeyError, ValueError) as error:
        raise UsageError(f"ML Metadata does not know the evaluation of run {run_id} (any more), so run again") from error
    found = _Evaluated(model, examples, schema, evaluation, blessing)
    files = {
        "model": found.model_dir / "saved_model.pb",
        "evaluation": pathlib.Path(evaluation.uri) / "metrics.json",
        "schema": pathlib.Path(schema.uri) / "schema.pbtxt",
    }
    for what, file in files.items():
        if not file.is_file():
            raise UsageError(
                f"The {what} of run {run_id} is no longer in {file.parent}, so its model cannot be released; run again"
            )
    return found


def _producer(connection: metadata.Metadata, artifact: types.Artifact) -> int:
    """The execution that made an artifact; later ones that took it from the cache have the same inputs."""
    events = connection.store.get_events_by_artifact_ids([artifact.id])
    return min(event.execution_id for event in events if event.type == metadata_store_pb2.Event.OUTPUT)


def _bless(
    connection: metadata.Metadata,
    evaluated: _Evaluated,
    record: Mapping[str, Any],
    statement: Mapping[str, Any],
    pushed: push.Pushed,
    node_folder: pathlib.Path,
) -> None:
    """Writes an execution whose output is a blessing like the evaluator's, with the reason and how the smoke test ended on both."""
    said = {
        OVERRIDE_REASON_KEY: statement["reason"],
        "override_by": statement["by"],
        "override_at": statement["at"],
        "override_smoke_test": statement["smoke_test"],
        "pushed_version": pushed.version,
    }
    folder = node_folder / "blessing" / record["run_id"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / constants.BLESSED_FILE_NAME).touch()
    blessing = standard_artifacts.ModelBlessing()
    blessing.uri = str(folder)
    blessing.mlmd_artifact.state = metadata_store_pb2.Artifact.LIVE
    for key in _OF_BOTH_MODELS:
        if key in evaluated.blessing.mlmd_artifact.custom_properties:
            value = evaluated.blessing.mlmd_artifact.custom_properties[key]
            blessing.mlmd_artifact.custom_properties[key].CopyFrom(value)
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, constants.BLESSED_VALUE)
    for key, text in said.items():
        blessing.set_string_custom_property(key, text)
    execution = execution_lib.prepare_execution(
        connection, metadata_store_pb2.ExecutionType(name=f"parlance.{NODE}"), metadata_store_pb2.Execution.COMPLETE, said
    )
    places = (
        (context_types.PIPELINE_CONTEXT_TYPE_NAME, record["pipeline"]),
        (context_types.PIPELINE_RUN_CONTEXT_TYPE_NAME, record["run_id"]),
        (context_types.NODE_CONTEXT_TYPE_NAME, f"{record['pipeline']}.{NODE}"),
    )
    execution_lib.put_execution(
        connection,
        execution,
        [context_lib.register_context_if_not_exists(connection, type_name, name) for type_name, name in places],
        input_artifacts={"model": [evaluated.model], "evaluation": [evaluated.evaluation]},
        output_artifacts={"blessing": [blessing]},
    )
