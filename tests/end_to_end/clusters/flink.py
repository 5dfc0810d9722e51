"""A Flink cluster of a test's own: JobManager, TaskManager and Beam's job server, each in a JVM, and a pool of Python workers."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import urllib.request
from collections.abc import Iterator

from tests.end_to_end.clusters import processes

_HEAP = ("-Xmx1g", "-XX:MaxDirectMemorySize=1g")


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A cluster that runs.

    Attributes:
      master: Where the JobManager's REST API listens, as HOST:PORT.
      arguments: Beam's arguments for this cluster, as `beam.args` takes them.
      folder: Logs of all its processes.
    """

    master: str
    arguments: list[str]
    folder: pathlib.Path

    def job_states(self) -> list[str]:
        """The state of every job the JobManager has seen."""
        return [job["state"] for job in self._ask("/jobs/overview")["jobs"]]

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
    flink = processes.java(processes.jars("flink", folder / "jars"), *_HEAP)
    rest, rpc, job, artifact, expansion, pool = processes.free_ports(6)
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
                # The sort buffers are cut from it, and a record of the Evaluator has to fit into one.
                "taskmanager.memory.managed.size: 1024m",
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
    directory = ["--configDir", str(configuration)]
    arguments = [
        f"--flink_master=127.0.0.1:{rest}",
        f"--job_endpoint=127.0.0.1:{job}",
        "--parallelism=2",
        *processes.worker_arguments(pool),
    ]
    cluster = Cluster(f"127.0.0.1:{rest}", arguments, folder)
    with processes.Processes(folder) as parts:
        entry = "org.apache.flink.runtime"
        job_manager = [*flink, f"{entry}.entrypoint.StandaloneSessionClusterEntrypoint", *directory]
        parts.start("jobmanager", job_manager, processes.listens(rest))
        task_manager = [*flink, f"{entry}.taskexecutor.TaskManagerRunner", *directory]
        parts.start("taskmanager", task_manager, lambda: cluster.task_managers() == 1)
        ports = ["--job-port", str(job), "--artifact-port", str(artifact), "--expansion-port", str(expansion)]
        staging = ["--artifacts-dir", str(folder / "staged"), "--flink-master", cluster.master]
        server = [*flink, "org.apache.beam.runners.flink.FlinkJobServerDriver", *ports, *staging]
        parts.start("job_server", server, processes.listens(job))
        parts.start_workers(pool)
        yield cluster
