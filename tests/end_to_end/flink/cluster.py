"""A Flink cluster of a test's own: JobManager, TaskManager and Beam's job server, each in a JVM, and a pool of Python workers.

It needs Java, and the jars: a folder named in PARLANCE_FLINK_JARS, or Maven, which fetches what pom.xml names.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence

PROJECT = pathlib.Path(__file__).resolve().parents[3]
JARS = "PARLANCE_FLINK_JARS"
_WAIT_SECONDS = 120
_FETCH_SECONDS = 900

# Flink reaches into the JDK, which modern Java allows only where it is told to.
_OPENED = [
    f"--add-opens=java.base/java.{package}=ALL-UNNAMED"
    for package in ("lang", "lang.invoke", "lang.reflect", "net", "io", "nio", "text", "time", "util", "util.concurrent")
]
_JVM = ["-Xmx1g", "-XX:MaxDirectMemorySize=1g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *_OPENED]


class Unavailable(Exception):
    """There is no cluster to be had; the message says why."""


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Where its parts listen, as HOST:PORT.

    Attributes:
      master: The JobManager's REST API.
      job_server: Beam's job service.
      workers: The pool of Python workers.
      folder: Logs of all of them.
    """

    master: str
    job_server: str
    workers: str
    folder: pathlib.Path

    def arguments(self) -> list[str]:
        """Beam's arguments for this cluster, as `beam.args` takes them."""
        return [
            f"--flink_master={self.master}",
            f"--job_endpoint={self.job_server}",
            "--environment_type=EXTERNAL",
            f"--environment_config={self.workers}",
            "--parallelism=2",
            # Without it every stage of a job starts a Python of its own, which imports TensorFlow again.
            "--environment_cache_millis=600000",
        ]

    def jobs(self) -> list[dict[str, str]]:
        """Name, state and the like of every job the JobManager has seen."""
        return self._ask("/jobs/overview")["jobs"]

    def task_managers(self) -> int:
        """How many TaskManagers have registered."""
        return self._ask("/overview")["taskmanagers"]

    def _ask(self, path: str):
        with urllib.request.urlopen(f"http://{self.master}{path}", timeout=10) as answer:
            return json.load(answer)


@contextlib.contextmanager
def running(folder: pathlib.Path) -> Iterator[Cluster]:
    """Runs a cluster of one TaskManager with two slots.

    Args:
      folder: An empty folder for its files.

    Raises:
      Unavailable: There is no Java, or the jars cannot be had.
    """
    java = shutil.which("java")
    if java is None:
        raise Unavailable("there is no Java")
    classpath = f"{jars(folder / 'jars')}/*"
    rest, rpc, job, artifact, expansion, pool = _free_ports(6)
    configuration = folder / "conf"
    configuration.mkdir()
    (configuration / "flink-conf.yaml").write_text(
        "\n".join(
            [
                "jobmanager.rpc.address: 127.0.0.1",
                f"jobmanager.rpc.port: {rpc}",
                f"rest.port: {rest}",
                "rest.address: 127.0.0.1",
                "taskmanager.host: 127.0.0.1",
                "taskmanager.numberOfTaskSlots: 2",
                "taskmanager.cpu.cores: 2.0",
                # Flink's own start script works these out; started without it, the TaskManager wants to be told every one.
                "taskmanager.memory.framework.heap.size: 128m",
                "taskmanager.memory.framework.off-heap.size: 128m",
                "taskmanager.memory.task.heap.size: 256m",
                "taskmanager.memory.task.off-heap.size: 0",
                "taskmanager.memory.managed.size: 128m",
                "taskmanager.memory.network.min: 512m",
                "taskmanager.memory.network.max: 512m",
                "taskmanager.network.sort-shuffle.min-buffers: 32",
                "taskmanager.memory.jvm-metaspace.size: 256m",
                "taskmanager.memory.jvm-overhead.min: 192m",
                "taskmanager.memory.jvm-overhead.max: 192m",
                # A busy machine is slow, not dead.
                "pekko.ask.timeout: 300 s",
                "web.timeout: 300000",
                "heartbeat.timeout: 300000",
                # The TaskManager has every class on its own class path; a second copy from the job would be another class.
                "classloader.resolve-order: parent-first",
                f"io.tmp.dirs: {folder}",
                f"blob.storage.directory: {folder}",
            ]
        )
        + "\n"
    )
    flink = [java, *_JVM, "-cp", classpath]
    directory = ["--configDir", str(configuration)]
    with contextlib.ExitStack() as parts:
        start = _starter(parts, folder)
        entry = "org.apache.flink.runtime"
        start("jobmanager", [*flink, f"{entry}.entrypoint.StandaloneSessionClusterEntrypoint", *directory], _listens(rest))
        cluster = Cluster(f"127.0.0.1:{rest}", f"127.0.0.1:{job}", f"127.0.0.1:{pool}", folder)
        task_manager = [*flink, f"{entry}.taskexecutor.TaskManagerRunner", *directory]
        start("taskmanager", task_manager, lambda: cluster.task_managers() == 1)
        ports = ["--job-port", str(job), "--artifact-port", str(artifact), "--expansion-port", str(expansion)]
        staging = ["--artifacts-dir", str(folder / "staged"), "--flink-master", cluster.master]
        start("job_server", [*flink, "org.apache.beam.runners.flink.FlinkJobServerDriver", *ports, *staging], _listens(job))
        workers = "apache_beam.runners.worker.worker_pool_main"
        # The pool starts each worker as `python`, which has to be this one, and has to find the pipeline's code.
        path = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        environment = {**os.environ, "PATH": path, "PYTHONPATH": str(PROJECT)}
        start("workers", [sys.executable, "-m", workers, f"--service_port={pool}"], _listens(pool), environment)
        yield cluster


def jars(folder: pathlib.Path) -> pathlib.Path:
    """Returns a folder with the jars, fetched into the given one if PARLANCE_FLINK_JARS names none.

    Raises:
      Unavailable: There is no Maven, or it cannot fetch them.
    """
    if named := os.environ.get(JARS):
        return pathlib.Path(named)
    maven = shutil.which("mvn")
    if maven is None:
        raise Unavailable(f"the jars of Flink need Maven, which is not here; or name a folder that has them in {JARS}")
    goal = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
    command = [maven, "-B", "-q", "-f", str(pathlib.Path(__file__).parent / "pom.xml"), goal]
    fetched = subprocess.run(
        [*command, f"-DoutputDirectory={folder}", "-DincludeScope=runtime"],
        capture_output=True,
        text=True,
        timeout=_FETCH_SECONDS,
        check=False,
    )
    if fetched.returncode:
        raise Unavailable(f"Maven cannot fetch the jars of Flink: {fetched.stdout.strip()[-500:]}")
    return folder


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as sockets:
        held = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]


def _starter(parts: contextlib.ExitStack, folder: pathlib.Path):
    """Returns a function that starts a part, waits until it is up, and has it ended with the cluster."""

    def start(name: str, command: Sequence[str], is_up: Callable[[], bool], environment: Mapping[str, str] | None = None) -> None:
        log = folder / f"{name}.log"
        with open(log, "wb") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file, env=environment, start_new_session=True)
        parts.callback(_end, process)
        deadline = time.monotonic() + _WAIT_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(OSError):
                if is_up():
                    return
            time.sleep(0.2)
        raise AssertionError(f"{name} did not come up:\n{log.read_text(errors='replace')[-2000:]}")

    return start


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _listens(port: int) -> Callable[[], bool]:
    def is_up() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    return is_up
