"""One release: a model with its warm-up requests, its card, and a manifest of where it comes from and what was measured."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from components.release import model_card, push, warmup
from components.release.options import ReleaseOptions
from components.validation import schema_file


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a model comes from.

    Attributes:
      pipeline: The pipeline's name, which is the servable's.
      run: The run it was evaluated in.
      config_sha256: Hash of that run's effective configuration.
      data_fingerprint: Hash of the rows it was made from.
    """

    pipeline: str
    run: str
    config_sha256: str
    data_fingerprint: str


def release(
    *,
    model_dir: str | os.PathLike[str],
    evaluation_dir: str | os.PathLike[str],
    schema_dir: str | os.PathLike[str],
    examples_dir: str | os.PathLike[str],
    base_dir: str | os.PathLike[str],
    origin: Origin,
    options: ReleaseOptions,
    override: Mapping[str, Any] | None = None,
) -> push.Pushed:
    """Pushes a model.

    Args:
      model_dir: Its SavedModel.
      evaluation_dir: What its evaluation wrote.
      schema_dir: The curated schema, from which warm-up requests are made.
      examples_dir: What ingestion wrote, for the model card.
      base_dir: The folder of all versions.
      origin: Where it comes from.
      options: The `release:` section.
      override: Who released it although its gate said no, why, and which rules it failed; None if the gate said yes.

    Raises:
      UsageError, EnvironmentFailure: See push.push.
    """
    metrics = json.loads((pathlib.Path(evaluation_dir) / "metrics.json").read_text(encoding="utf-8"))
    manifest = {**dataclasses.asdict(origin), "metrics": metrics["candidate"]["slices"][0]["metrics"]}
    if override is not None:
        manifest["override"] = dict(override)
    schema = schema_file.read_folder(schema_dir)
    card = model_card.files(
        pipeline=origin.pipeline,
        run=origin.run,
        config_sha256=origin.config_sha256,
        evaluation_dir=evaluation_dir,
        examples_dir=examples_dir,
        columns=[feature.name for feature in schema_file.model_inputs(schema)],
        options=options.card,
        override=override,
    )
    requests = warmup.requests_file(schema, origin.pipeline, options.warmup_requests)
    return push.push(model_dir, base_dir, manifest, requests, card)
