"""The records of runs on disk: one `run.json` in the folder of each run."""

from __future__ import annotations

import json
import logging
import os
import pathlib
from typing import Any

from components.errors import UsageError

FILE_NAME = "run.json"


class Records:
    """The runs of one root folder."""

    def __init__(self, root: str | os.PathLike[str]):
        self._root = pathlib.Path(root).absolute()
        self.folder = self._root / "runs"

    def all(self) -> list[dict[str, Any]]:
        """Returns all records, newest first."""
        files = sorted(self.folder.glob(f"*/{FILE_NAME}"), key=lambda file: file.stat().st_mtime, reverse=True)
        return [record for file in files if (record := _read(file))]

    def one(self, run: str) -> dict[str, Any]:
        """Returns one record.

        Args:
          run: A run id, the beginning of one if only one run begins so, or `latest`.

        Raises:
          UsageError: No run or several runs fit; the message lists those there are.
        """
        records = self.all()
        if run == "latest" and records:
            return records[0]
        fitting = [record for record in records if record["run_id"] == run] or [
            record for record in records if record["run_id"].startswith(run)
        ]
        if len(fitting) == 1:
            return fitting[0]
        known = ", ".join(record["run_id"] for record in (fitting or records)[:5]) or "none yet; `parlance run` makes one"
        raise UsageError(f"{'Several runs are' if fitting else 'No run is'} called {run!r} in {self._root}. Runs: {known}")


def write(folder: pathlib.Path, record: dict[str, Any]) -> None:
    """Writes a run's record so that a reader sees the old one or the new one, never half of it."""
    temporary = folder / f".{FILE_NAME}.{os.getpid()}"
    temporary.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(folder / FILE_NAME)


def _read(file: pathlib.Path) -> dict[str, Any] | None:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # A record damaged from outside must not take the others with it.
        logging.warning("%s is not readable as a run record", file)
        return None
