"""The processes of a cluster that a test starts for itself: JVMs with jars that Maven fetches, and a pool of Python workers."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

_PROJECT = pathlib.Path(__file__).resolve().parents[3]
_WAIT_SECONDS = 120
_FETCH_SECONDS = 900

# Clusters of these years reach into the JDK, which modern Java allows only where it is told to.
_OPENED = (
    *(f"java.{package}" for package in ("lang", "lang.invoke", "lang.reflect", "net", "io", "nio", "text", "time", "util")),
    *("java.util.concurrent", "java.util.concurrent.atomic"),
    *(f"sun.{package}" for package in ("nio.ch", "nio.cs", "security.action", "util.calendar")),
)


class Unavailable(Exception):
    """There is no cluster to be had; the message says why."""


class Processes(contextlib.ExitStack):
    """Processes that end with the block.

    Attributes:
      folder: Each has a log there, NAME.log.
    """

    def __init__(self, folder: pathlib.Path):
        super().__init__()
        self.folder = folder

    def start(
        self, name: str, command: Sequence[str], is_up: Callable[[], bool], environment: Mapping[str, str] | None = None
    ) -> None:
        """Starts a process and waits until it is up."""
        log = self.folder / f"{name}.log"
        with open(log, "wb") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file, env=environment, start_new_session=True)
        self.callback(_end, process)
        deadline = time.monotonic() + _WAIT_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(OSError):
                if is_up():
                    return
            time.sleep(0.2)
        raise AssertionError(f"{name} did not come up:\n{log.read_text(errors='replace')[-2000:]}")

    def start_workers(self, port: int) -> None:
        """Starts a pool that starts a Python worker whenever a job wants one."""
        # The pool starts each worker as `python`, which has to be this one, and has to find the pipeline's code.
        path = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        environment = {**os.environ, "PATH": path, "PYTHONPATH": str(_PROJECT)}
        module = "apache_beam.runners.worker.worker_pool_main"
        self.start("workers", [sys.executable, "-m", module, f"--service_port={port}"], listens(port), environment)


def worker_arguments(port: int) -> list[str]:
    """Beam's arguments for jobs whose Python is that of a pool."""
    return [
        "--environment_type=EXTERNAL",
        f"--environment_config=127.0.0.1:{port}",
        # Without it every stage of a job starts a Python of its own, which imports TensorFlow again.
        "--environment_cache_millis=600000",
    ]


def java(jars: pathlib.Path, *options: str) -> list[str]:
    """How Java is started with some jars; the class to run goes behind it.

    Raises:
      Unavailable: There is no Java.
    """
    program = shutil.which("java")
    if program is None:
        raise Unavailable("there is no Java")
    opened = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENED]
    return [program, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *options, *opened, "-cp", f"{jars}/*"]


def jars(name: str, folder: pathlib.Path) -> pathlib.Path:
    """Returns a folder with the jars that NAME.pom.xml lists: the one that PARLANCE_<NAME>_JARS names, or one that Maven fills.

    Args:
      name: Of the cluster.
      folder: To be filled.

    Raises:
      Unavailable: There is no Maven, or it cannot fetch them.
    """
    variable = f"PARLANCE_{name.upper()}_JARS"
    if named := os.environ.get(variable):
        return pathlib.Path(named)
    maven = shutil.which("mvn")
    if maven is None:
        raise Unavailable(f"the jars of {name} need Maven, which is not here; or name a folder that has them in {variable}")
    goal = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
    fetched = subprocess.run(
        [maven, "-B", "-q", "-f", str(pathlib.Path(__file__).parent / f"{name}.pom.xml"), goal]
        + [f"-DoutputDirectory={folder}", "-DincludeScope=runtime"],
        capture_output=True,
        text=True,
        timeout=_FETCH_SECONDS,
        check=False,
    )
    if fetched.returncode:
        raise Unavailable(f"Maven cannot fetch the jars of {name}: {fetched.stdout.strip()[-500:]}")
    return folder


def free_ports(count: int) -> list[int]:
    """Returns ports of the loopback interface that nobody uses."""
    with contextlib.ExitStack() as sockets:
        held = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]


def listens(port: int) -> Callable[[], bool]:
    """Returns a function that says whether somebody listens on a port."""

    def is_up() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    return is_up


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
