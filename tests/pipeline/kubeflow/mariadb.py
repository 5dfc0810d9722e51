"""A MariaDB server of a test's own: its binaries, its folder, its port. It needs no right of root and changes nothing on the machine."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator

PACKAGES = ("mariadb-server-core", "libaio1", "libaio1t64", "liburing2")
PASSWORD = "ä password, with 'quotes' and $signs"
USER, DATABASE = "parlance", "parlance"
_WAIT_SECONDS = 60


class Unavailable(Exception):
    """There is no server to be had; the message says why."""


@contextlib.contextmanager
def server(folder: pathlib.Path) -> Iterator[str]:
    """Runs a server with an empty database for ML Metadata.

    Args:
      folder: An empty folder for its files.

    Yields:
      The address, as steps are given it.

    Raises:
      Unavailable: It is not installed, and Debian's packages cannot be had either.
    """
    program, share, environment = _installed() or _unpacked(folder / "packages")
    data = folder / "data"
    data.mkdir()
    common = [str(program), "--no-defaults", f"--datadir={data}", f"--lc-messages-dir={share}", f"--user={_user()}"]
    common += [f"--character-sets-dir={share / 'charsets'}", "--innodb-flush-log-at-trx-commit=2"]
    quoted = PASSWORD.replace("'", "''")
    statements = [
        "CREATE DATABASE mysql;",
        "USE mysql;",
        (share / "mysql_system_tables.sql").read_text(),
        (share / "mysql_system_tables_data.sql").read_text(),
        "FLUSH PRIVILEGES;",
        f"CREATE DATABASE {DATABASE};",
        f"CREATE USER '{USER}'@'%' IDENTIFIED BY '{quoted}';",
        f"GRANT ALL ON {DATABASE}.* TO '{USER}'@'%';",
    ]
    prepared = subprocess.run(
        [*common, "--bootstrap"], input="\n".join(statements), capture_output=True, text=True, env=environment, check=False
    )
    assert prepared.returncode == 0, prepared.stderr[-2000:]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            [*common, f"--port={port}", "--bind-address=127.0.0.1", f"--socket={folder / 'socket'}"],
            stdout=log,
            stderr=log,
            env=environment,
        )
    try:
        _wait_for(port, process, folder / "log")
        yield f"mysql://{USER}@127.0.0.1:{port}/{DATABASE}"
    finally:
        process.terminate()
        process.wait(_WAIT_SECONDS)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: pathlib.Path) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(f"MariaDB did not start:\n{log.read_text(errors='replace')[-2000:]}")


def _user() -> str:
    """MariaDB refuses to be root unless it is told to be."""
    import getpass

    return getpass.getuser()


def _installed() -> tuple[pathlib.Path, pathlib.Path, dict[str, str]] | None:
    for name in ("mariadbd", "/usr/sbin/mariadbd"):
        program = shutil.which(name)
        share = pathlib.Path("/usr/share/mysql")
        if program and (share / "mysql_system_tables.sql").exists():
            return pathlib.Path(program), share, dict(os.environ)
    return None


def _unpacked(folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path, dict[str, str]]:
    """Debian's packages, unpacked into a folder instead of installed."""
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise Unavailable("MariaDB is not installed, and there is no apt-get to fetch Debian's package with")
    folder.mkdir()
    for package in PACKAGES:  # one at a time: a library has another name on each release of Debian
        fetched = subprocess.run(["apt-get", "download", package], cwd=folder, capture_output=True, text=True, check=False)
        if fetched.returncode != 0 and package == PACKAGES[0]:
            raise Unavailable(f"MariaDB is not installed, and apt-get cannot fetch it: {fetched.stderr.strip()[-300:]}")
    for archive in sorted(folder.glob("*.deb")):
        subprocess.run(["dpkg", "-x", archive, folder / "root"], check=True, capture_output=True)
    libraries = sorted({str(file.parent) for file in (folder / "root").rglob("*.so.*")})
    environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)}
    return folder / "root/usr/sbin/mariadbd", folder / "root/usr/share/mysql", environment
