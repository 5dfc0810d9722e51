"""A PostgreSQL server of a test's own: its folder, its socket, a user of its own. It changes nothing on the machine."""

from __future__ import annotations

import contextlib
import os
import pathlib
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator

PASSWORD = "ä pass/word, with 'quotes' @ and $signs"
USER, DATABASE = "parlance", "postgres"


class Unavailable(Exception):
    """There is no server to be had; the message says why."""


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Runs a server with an empty database, whose user has to give a password.

    Yields:
      The folder of its socket.

    Raises:
      Unavailable: It is not installed, or there is no user it would run as.
    """
    binaries = _binaries()
    run_as = _unprivileged()
    # Not below pytest's folder, which only its owner may enter; short, because a socket's path must be.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    try:
        if run_as is not None:
            shutil.chown(folder, run_as)
        secret = folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        data = folder / "data"
        _call(
            run_as, binaries / "initdb", "-D", data, "-U", USER, "--auth=scram-sha-256", f"--pwfile={secret}",
            "--encoding=UTF8", "--locale=C", "--no-sync",
        )  # fmt: skip
        options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off -c timezone=UTC"
        _call(run_as, binaries / "pg_ctl", "start", "-w", "-D", data, "-l", folder / "log", "-o", options)
        try:
            yield str(folder)
        finally:
            _call(run_as, binaries / "pg_ctl", "stop", "-w", "-m", "immediate", "-D", data)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _call(user: str | None, *command: object) -> None:
    done = subprocess.run(
        list(map(str, command)), user=user, cwd="/tmp", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]


def _binaries() -> pathlib.Path:
    """The folder of the server's programs, the newest version's."""
    if program := shutil.which("initdb"):
        return pathlib.Path(program).resolve().parent
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if not found:
        raise Unavailable("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    return found[-1].parent


def _unprivileged() -> str | None:
    """Who the server runs as; None for who the tests run as. It refuses to be root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise Unavailable("PostgreSQL refuses to run as root, and there is no user postgres or nobody to run it as")
