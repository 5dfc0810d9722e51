"""Runs that look at a server's request log: they end at the data gate, and are no earlier run of the pipeline's for anybody.

The labels of a log are a model's own answers. A model that learns them learns its mistakes, and is measured against them.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml

from components.errors import UsageError

if TYPE_CHECKING:
    from pipeline.config import PipelineConfig
    from pipeline.records import Records

_TYPE = "prediction_log"
_LAST = "DataGate"
_ALLOWED = ("SchemaImport", "ExampleGen", "StatisticsGen", "ExampleValidator", "BaselineStatistics", _LAST)


def is_log(config: Mapping[str, Any]) -> bool:
    """Says whether an effective pipeline file, as plain values, reads a server's log."""
    return ((config.get("data") or {}).get("source") or {}).get("type") == _TYPE


def refuse_training(config: PipelineConfig, to_node: str | None = None) -> None:
    """Checks that no model will be trained on the answers of another one.

    Args:
      config: The pipeline file.
      to_node: The last node that runs; None for all.

    Raises:
      UsageError: One would be.
    """
    if config.data.source.type == _TYPE and to_node not in _ALLOWED:
        raise UsageError(
            "data.source is a server's request log, whose labels are a model's own answers, so no model is trained on it. To compare"
            f" what was asked with the training data: `parlance skew FILE --log {config.data.source.path}`. To look at the log alone:"
            f" `parlance run ... --to {_LAST}`. To train on logged messages, have them labelled and name the table"
        )


def base_run(records: Records, config: PipelineConfig, run_id: str) -> str | None:
    """Returns the run whose results a run that begins in the middle takes over: the newest before it that looked at such data.

    Args:
      records: The runs of the root.
      config: The pipeline file of the run that begins.
      run_id: Its id.

    Returns:
      The id; None if no run left a record, which says nothing about ML Metadata.

    Raises:
      LookupError: All earlier runs looked at other data: only at logs, or only at data to train on.
    """
    wanted = config.data.source.type == _TYPE
    earlier = [one for one in records.all() if one.get("pipeline") == config.name and one["run_id"] != run_id]
    # A run's id begins with its time.
    for record in sorted(earlier, key=lambda one: one["run_id"], reverse=True):
        finished = any(node["state"] in ("complete", "cached") for node in record.get("nodes", ()))
        if finished and is_log(_config(records.folder / record["run_id"])) is wanted:
            return record["run_id"]
    if earlier:
        raise LookupError("no earlier run of this kind of data")
    return None


def _config(folder: pathlib.Path) -> Mapping[str, Any]:
    try:
        return yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")) or {}
    except OSError:
        return {}
