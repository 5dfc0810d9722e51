"""A server of MongoDB's wire protocol of a test's own: FerretDB 1 on its SQLite backend.

Building it takes a Go compiler and a minute or two, so tests use one that is there already:

    .venv/bin/python tests/components/ingestion/ferretdb.py ~/ferretdb && export PARLANCE_FERRETDB=~/ferretdb
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

PROGRAM = "PARLANCE_FERRETDB"
VERSION = "v1.24.0"
_WAIT_SECONDS = 60


class Unavailable(Exception):
    """There is no server to be had; the message says why."""


@contextlib.contextmanager
def server(folder: pathlib.Path) -> Iterator[str]:
    """Runs a server with no data.

    Args:
      folder: An empty folder for its files.

    Yields:
      The address.

    Raises:
      Unavailable: The program is not on this machine.
    """
    program = os.environ.get(PROGRAM) or shutil.which("ferretdb")
    if program is None:
        raise Unavailable(f"there is no FerretDB 1; build it with {__file__} and name the program in {PROGRAM}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        program, "--handler=sqlite", f"--sqlite-url=file:{folder}/", f"--listen-addr=127.0.0.1:{port}", f"--state-dir={folder}",
        "--telemetry=disable", "--debug-addr=-", "--log-level=error",
    ]  # fmt: skip
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + _WAIT_SECONDS
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((folder / "log").read_text(errors="replace")[-2000:])
            time.sleep(0.05)
        yield f"mongodb://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(_WAIT_SECONDS)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def build(program: pathlib.Path) -> None:
    """Compiles the server."""
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder, "source")
        fetched = subprocess.run(
            ["go", "mod", "download", "-json", f"github.com/FerretDB/FerretDB@{VERSION}"],
            cwd=folder, capture_output=True, check=True,
        )  # fmt: skip
        shutil.copytree(json.loads(fetched.stdout)["Dir"], source, copy_function=shutil.copyfile)
        for path in (source, *source.rglob("*")):  # modules are kept read-only
            path.chmod(path.stat().st_mode | 0o200)
        # A checkout has this from git, and the program stops without it.
        (source / "build/version/version.txt").write_text(VERSION + "\n")
        subprocess.run(["go", "build", "-buildvcs=false", "-o", program.absolute(), "./cmd/ferretdb"], cwd=source, check=True)


if __name__ == "__main__":
    build(pathlib.Path(sys.argv[1]))
