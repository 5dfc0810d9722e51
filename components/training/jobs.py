"""Handing a training to machines that wait for one, through a folder that all of them share.

The folder holds one job at a time, `job.json`, and once the chief has written what came of it, `<id>.done.json`. Whoever handed the job
over removes both. A file appears whole or not at all, because it is renamed into place.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import time
import uuid
from collections.abc import Callable
from typing import Any

from components.errors import EnvironmentFailure, UsageError

_JOB = "job.json"
_POLL_SECONDS = 0.5

Clock = Callable[[float], None]


@dataclasses.dataclass(frozen=True)
class Job:
    """What the run function of a training is told, see `trainer.run_fn`; paths are on the shared volume."""

    custom_config: dict[str, Any]
    train_files: list[str]
    eval_files: list[str]
    schema_path: str
    transform_graph_path: str
    serving_model_dir: str
    model_run_dir: str
    id: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)

    @classmethod
    def of(cls, fn_args: Any) -> Job:
        """Takes what a training needs from TFX's FnArgs."""
        names = [field.name for field in dataclasses.fields(cls) if field.name != "id"]
        values = {name: getattr(fn_args, name) for name in names}
        return cls(**{**values, "train_files": list(fn_args.train_files), "eval_files": list(fn_args.eval_files)})


def hand_over(job: Job, folder: str, sleep: Clock = time.sleep) -> None:
    """Leaves a job in the folder, and waits until it is done; whoever calls decides how long that may take.

    Raises:
      EnvironmentFailure: The folder cannot be written to.
      UsageError: The machines refused the job; the message is theirs.
    """
    place, done = pathlib.Path(folder) / _JOB, _done(folder, job.id)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _write(place, dataclasses.asdict(job))
    except OSError as error:
        raise EnvironmentFailure(
            f"The training cannot be handed over: model.distribution.jobs is not writable: {error}"
        ) from error
    try:
        while not done.exists():
            sleep(_POLL_SECONDS)
        refused = json.loads(done.read_text(encoding="utf-8"))["refused"]
    finally:
        if _read(folder) == job:
            place.unlink(missing_ok=True)
        done.unlink(missing_ok=True)
    if refused is not None:
        raise UsageError(refused)


def take(folder: str, sleep: Clock = time.sleep) -> Job:
    """Waits for a job that is not done yet, and returns it; it stays in the folder for the other machines."""
    while (job := _read(folder)) is None or _done(folder, job.id).exists():
        sleep(_POLL_SECONDS)
    return job


def finish(job: Job, folder: str, refused: str | None = None) -> None:
    """Says that a job is done, or why it cannot be done."""
    _write(_done(folder, job.id), {"refused": refused})


def wait_until_done(job: Job, folder: str, sleep: Clock = time.sleep) -> None:
    """Waits until somebody has said that a job is done, or has taken it back."""
    while _read(folder) == job and not _done(folder, job.id).exists():
        sleep(_POLL_SECONDS)


def _done(folder: str, job_id: str) -> pathlib.Path:
    return pathlib.Path(folder) / f"{job_id}.done.json"


def _read(folder: str) -> Job | None:
    try:
        return Job(**json.loads((pathlib.Path(folder) / _JOB).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def _write(path: pathlib.Path, values: dict[str, Any]) -> None:
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    part.write_text(json.dumps(values), encoding="utf-8")
    os.replace(part, path)
