"""Where the ML Metadata of a root folder is: in a SQLite file of its own, or in a database that several roots share."""

from __future__ import annotations

import os
import pathlib
import sqlite3
import urllib.parse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from components.errors import EnvironmentFailure, UsageError

if TYPE_CHECKING:
    from ml_metadata.proto import metadata_store_pb2

FILE = "metadata.db"
ADDRESS_FILE = "metadata.address"
"""Holds the address of a root's database, so that whatever reads the root later finds it."""

_WAL = "wal"
_REFERENCE = "env:"


class MetadataPlace:
    """The place of one root's ML Metadata. The first run decides; every command that is given the root follows."""

    def __init__(self, root: pathlib.Path):
        self.file = root / FILE
        self._root = root
        self._address_file = root / ADDRESS_FILE

    @property
    def address(self) -> str | None:
        """The address of the database as the user gave it, without a password; None if the root has a file of its own."""
        return self._address_file.read_text(encoding="utf-8").strip() if self._address_file.exists() else None

    def choose(self, address: str) -> None:
        """Has this root keep its ML Metadata in a database from now on.

        Args:
          address: `mysql://USER@HOST:PORT/DATABASE`, or `env:NAME` for a variable that holds it.

        Raises:
          UsageError: It is no address, or earlier runs of this root are elsewhere.
        """
        known = self.address
        if address == known:
            return
        if known is not None or self.file.exists():
            raise UsageError(
                f"The runs in {self._root} have their ML Metadata in {known or FILE}, so --metadata cannot be {address}. "
                "Leave it out, or choose another root with --root"
            )
        _parse(address, os.environ)
        self._address_file.write_text(address + "\n", encoding="utf-8")

    def config(self, read_only: bool = False, environment: Mapping[str, str] = os.environ) -> metadata_store_pb2.ConnectionConfig:
        """Returns how to reach it.

        Args:
          read_only: Whether nothing will be written. A root in which this process may not write can be read so.
          environment: Where a database's password is, and its address if that is `env:NAME`.

        Raises:
          UsageError: The address is none.
        """
        from ml_metadata.proto import metadata_store_pb2

        if (address := self.address) is not None:
            return _parse(address, environment)
        modes = metadata_store_pb2.SqliteMetadataSourceConfig
        config = metadata_store_pb2.ConnectionConfig()
        config.sqlite.filename_uri = str(self.file)
        config.sqlite.connection_mode = modes.READONLY if read_only else modes.READWRITE_OPENCREATE
        log = self.file.with_name(f"{FILE}-wal")
        if read_only and not os.access(self._root, os.W_OK) and not log.exists():
            # Readers make the write-ahead log and its index if they are not there, unless they are told that nobody writes.
            config.sqlite.filename_uri = f"file:{urllib.parse.quote(str(self.file))}?immutable=1"
        return config

    def open(self) -> str | None:
        """Makes ML Metadata ready for a run; returns what is worth saying in the run's log, if there is something.

        A new file is put into SQLite's write-ahead mode, in which readers and a writer do not wait for each other and writing syncs less.
        That lasts. Where a file system cannot do it (it takes memory that processes share), the file stays as it is.

        Raises:
          EnvironmentFailure: A database does not answer, or does not let us in.
        """
        if (address := self.address) is not None:
            self._check_answer(address)
            return None
        # ML Metadata has an SQLite of its own. Two of them in one process on one file would let go of each other's locks, so Python's
        # touches none that ML Metadata may have opened here before.
        if self.file.exists() and self.file.stat().st_size:
            return None
        connection = sqlite3.connect(self.file)
        try:
            [mode] = connection.execute(f"PRAGMA journal_mode={_WAL}").fetchone()
        except sqlite3.OperationalError as error:
            # If it cannot be used at all, the first who uses it says so.
            return f"SQLite did not put {FILE} into write-ahead mode: {error}"
        finally:
            connection.close()
        if mode != _WAL:
            return f"SQLite keeps {FILE} in the journal mode {mode}: this file system does without a write-ahead log"
        return None

    def check_owner(self, pipeline: str) -> None:
        """Checks that artifacts of a pipeline in a shared database are below this root.

        Runs take results, baselines and earlier data from the pipeline of the same name, wherever that is.

        Raises:
          UsageError: They are somewhere else.
        """
        if self.address is None:
            return
        from ml_metadata.metadata_store import metadata_store

        store = metadata_store.MetadataStore(self.config())
        context = store.get_context_by_type_and_name("pipeline", pipeline)
        newest = metadata_store.ListOptions(limit=1, order_by=metadata_store.OrderByField.ID, is_asc=False)
        for artifact in store.get_artifacts_by_context(context.id, newest) if context else ():
            if not pathlib.Path(artifact.uri).is_relative_to(self._root):
                raise UsageError(
                    f"The pipeline {pipeline!r} in {self.address} has its artifacts elsewhere, e.g. in {artifact.uri}, and not below "
                    f"{self._root}. Use the same --root, give the pipeline another `name`, or choose another database"
                )

    def _check_answer(self, address: str) -> None:
        from ml_metadata.metadata_store import metadata_store

        from pipeline.kubeflow.options import METADATA_PASSWORD

        try:
            # Connecting makes tables that are missing; an answer says that they are there.
            metadata_store.MetadataStore(self.config()).get_context_types()
        except RuntimeError as error:
            raise EnvironmentFailure(
                f"ML Metadata at {address} cannot be used: {error}. Is the server up, do database and user exist, and is the password "
                f"in {METADATA_PASSWORD}?"
            ) from error


def _parse(address: str, environment: Mapping[str, str]) -> metadata_store_pb2.ConnectionConfig:
    from pipeline.kubeflow import metadata_url

    if not address.startswith(_REFERENCE):
        return metadata_url.parse(address, environment)
    name = address.removeprefix(_REFERENCE)
    if name not in environment:
        raise UsageError(f"The address of ML Metadata is {address}, but the environment variable {name} is not set here")
    return metadata_url.parse(environment[name], environment)
