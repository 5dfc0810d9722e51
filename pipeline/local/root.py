"""The root folder: everything that runs leave behind, and the rule that one run at a time writes there.

<root>/metadata.db                  ML Metadata
<root>/pipelines/<name>/<node>/     artifacts
<root>/runs/<run id>/               run.json, run.log, config.yaml, report.html, slices/ (pages of segment values)
<root>/serving/<name>/<version>/    servables (release.directory)
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import logging
import os
import pathlib
import secrets
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

from components.errors import EnvironmentFailure
from pipeline import records

if TYPE_CHECKING:
    from ml_metadata.proto import metadata_store_pb2

_METADATA = "metadata.db"


class Root:
    """One root folder."""

    def __init__(self, path: str | os.PathLike[str]):
        self.path = pathlib.Path(path).absolute()
        self.runs = self.path / "runs"

    @property
    def is_new(self) -> bool:
        """Whether no run has begun here, so that nothing can be cached."""
        return not (self.path / _METADATA).exists()

    def metadata_config(self) -> metadata_store_pb2.ConnectionConfig:
        """Returns how to reach this root's ML Metadata."""
        from tfx.orchestration import metadata

        return metadata.sqlite_metadata_connection_config(str(self.path / _METADATA))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the root for one run. The lock belongs to the process: however it dies, the lock is free again.

        Raises:
          EnvironmentFailure: The folder cannot be written, or another run holds it.
        """
        try:
            self.runs.mkdir(parents=True, exist_ok=True)
            lock = open(self.path / "lock", "a+", encoding="utf-8")  # noqa: SIM115 - held until the end of the run
        except OSError as error:
            raise EnvironmentFailure(
                f"The root folder {self.path} cannot be written ({error.strerror}). Choose another with --root"
            ) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                lock.seek(0)
                holder = lock.read().strip() or "unknown"
                raise EnvironmentFailure(
                    f"Another run (process {holder}) is writing to {self.path}. Wait for it, or choose another root with --root"
                ) from error
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    def new_run(self, name: str) -> pathlib.Path:
        """Makes the folder of a new run; its name is the run id, which sorts by time."""
        stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
        folder = self.runs / f"{name}-{stamp}-{secrets.token_hex(2)}"
        folder.mkdir(parents=True)
        return folder

    def sweep(self) -> None:
        """Ends what a killed run left open: its executions become failed, their half-written outputs go, its record says so.

        Called with the lock held, so whatever is unfinished belongs to a process that is gone.
        """
        self.fail_unfinished()
        for record in records.Records(self.path).all():
            if record["state"] == "running":
                records.write(self.runs / record["run_id"], {**record, "state": "failed", "error": "The run was killed"})

    def fail_unfinished(self) -> None:
        """Marks executions that nobody works on any more as failed and removes what they wrote."""
        from ml_metadata.proto import metadata_store_pb2
        from tfx.orchestration import metadata

        states = metadata_store_pb2.Execution
        with metadata.Metadata(self.metadata_config()) as connection:
            unfinished = [e for e in connection.store.get_executions() if e.last_known_state in (states.NEW, states.RUNNING)]
            for execution in unfinished:
                logging.warning("Execution %d was left unfinished; marking it failed", execution.id)
                for output in self.path.glob(f"pipelines/*/*/*/{execution.id}"):
                    shutil.rmtree(output, ignore_errors=True)
                execution.last_known_state = states.FAILED
            if unfinished:
                connection.store.put_executions(unfinished)
