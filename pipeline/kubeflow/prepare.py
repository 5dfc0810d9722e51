"""Prepares what the steps of all runs share, once, before the first of them.

    python -m pipeline.kubeflow.prepare --metadata mysql://parlance@parlance-mysql:3306/parlance --volume /parlance

Creates ML Metadata's tables: steps that begin at once would each try to, and get in each other's way. And writes, reads and removes a file
on the volume, because a run should not be what finds out that it may not. Doing it again changes nothing.
"""

from __future__ import annotations

import argparse
import logging
import os
import pathlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from components.errors import EnvironmentFailure, ParlanceError

_PAUSE_SECONDS = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepares; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.kubeflow.prepare", description="Prepares what the steps of all runs share."
    )
    parser.add_argument("--metadata", required=True, help="where ML Metadata is: mysql://USER@HOST:PORT/DATABASE")
    parser.add_argument("--volume", action="append", default=[], metavar="PATH", help="a folder that steps write to")
    parser.add_argument(
        "--wait", type=float, default=300.0, metavar="S", help="how long to wait for the database (default: %(default).0f)"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        create_tables(options.metadata, options.wait)
        for volume in options.volume:
            check_volume(pathlib.Path(volume))
    except ParlanceError as error:
        logging.error("%s", error)
        return error.exit_code
    return 0


def create_tables(
    url: str, wait_seconds: float, environment: Mapping[str, str] = os.environ, pause: Callable[[float], None] = time.sleep
) -> None:
    """Creates ML Metadata's database and tables if they are not there; waits for the server if it is not up yet.

    Args:
      url: Where ML Metadata is; see `metadata_url.parse`.
      wait_seconds: How long to try.
      environment: Where the password is.
      pause: Waits for a number of seconds.

    Raises:
      UsageError: The address is not one.
      EnvironmentFailure: The database does not answer, or does not let us in.
    """
    from ml_metadata import metadata_store

    from pipeline.kubeflow import metadata_url

    connection = metadata_url.parse(url, environment)
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            # The constructor creates what is missing. Asking for something says that it is really there.
            metadata_store.MetadataStore(connection).get_context_types()
            break
        except RuntimeError as error:
            if time.monotonic() + _PAUSE_SECONDS > deadline:
                raise EnvironmentFailure(
                    f"ML Metadata at {url} cannot be used: {error}. Is the server up, does the user exist, and is the password that of "
                    "the secret?"
                ) from error
            logging.info("ML Metadata at %s does not answer yet (%s)", url, str(error).splitlines()[0][:200])
        pause(_PAUSE_SECONDS)
    logging.info("ML Metadata at %s is ready", url)


def check_volume(folder: pathlib.Path) -> None:
    """Checks that files can be written to a folder and removed again.

    Raises:
      EnvironmentFailure: They cannot.
    """
    probe = folder / f".parlance-{os.uname().nodename}-{os.getpid()}"
    try:
        probe.write_text("prepared", encoding="utf-8")
        found = probe.read_text(encoding="utf-8")
        probe.unlink()
    except OSError as error:
        raise EnvironmentFailure(
            f"Steps cannot write to {folder} ({error.strerror}): they run as user {os.getuid()}, group {os.getgid()}. Let the volume "
            "belong to that group (fsGroup where the driver knows it, else chown on the server), or mount it where it may be written"
        ) from error
    if found != "prepared":
        raise EnvironmentFailure(f"What is written to {folder} does not come back; the volume is damaged")
    logging.info("%s can be written to", folder)


if __name__ == "__main__":
    sys.exit(main())
