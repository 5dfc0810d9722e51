"""The root folder: everything that runs leave behind, and the rule that one run at a time writes there.

<root>/metadata.db                  ML Metadata, or metadata.address, which says in which database it is
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
from pipeline.local import metadata_place

if TYPE_CHECKING:
    from ml_metadata.proto import metadata_store_pb2


class Root:
    """One root folder.

    Attributes:
      path: The folder.
      runs: The folder of the runs' folders.
      metadata: Where its ML Metadata is.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = pathlib.Path(path).absolute()
        self.runs = self.path / "runs"
        self.metadata = metadata_place.MetadataPlace(self.path)

    @property
    def is_new(self) -> bool:
        """Whether no run has begun here, so that nothing can be cached."""
        return not self.runs.is_dir() or not any(self.runs.iterdir())

    def metadata_config(self) -> metadata_store_pb2.ConnectionConfig:
        """Returns how to reach this root's ML Metadata."""
        return self.metadata.config()

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
        """Marks executions of this root's runs that nobody works on any more as failed and removes what they wrote.

        Other roots may share the database, and their runs may be at work.
        """
        from ml_metadata.proto import metadata_store_pb2
        from tfx.dsl.compiler import constants
        from tfx.orchestration import metadata

        states = metadata_store_pb2.Execution
        # One that succeeded has left nothing open.
        run_ids = [record["run_id"] for record in records.Records(self.path).all() if record["state"] != "succeeded"]
        with metadata.Metadata(self.metadata_config()) as connection:
            store = connection.store
            runs = [store.get_context_by_type_and_name(constants.PIPELINE_RUN_CONTEXT_TYPE_NAME, run_id) for run_id in run_ids]
            executions = [execution for run in runs if run for execution in store.get_executions_by_context(run.id)]
            unfinished = [e for e in executions if e.last_known_state in (states.NEW, states.RUNNING)]
            for execution in unfinished:
                logging.warning("Execution %d was left unfinished; marking it failed", execution.id)
                for output in self.path.glob(f"pipelines/*/*/*/{execution.id}"):
                    shutil.rmtree(output, ignore_errors=True)
                execution.last_known_state = states.FAILED
            if unfinished:
                store.put_executions(unfinished)
