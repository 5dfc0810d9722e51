"""A Spark of a test's own: Beam's job server with a local Spark of two cores in its JVM, and a pool of Python workers."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator

from tests.end_to_end.clusters import processes


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A cluster that runs.

    Attributes:
      arguments: Beam's arguments for this cluster, as `beam.args` takes them.
      folder: Logs of all its processes, and Spark's of its applications in `events`.
    """

    arguments: list[str]
    folder: pathlib.Path

    def job_states(self) -> list[str]:
        """Whether each application that Spark has begun is FINISHED or RUNNING."""
        logs = [path.read_text() for path in (self.folder / "events").iterdir()]
        return ["FINISHED" if "SparkListenerApplicationEnd" in log else "RUNNING" for log in logs]


@contextlib.contextmanager
def running(folder: pathlib.Path) -> Iterator[Cluster]:
    """Runs a job server.

    Args:
      folder: An empty folder for its files.

    Raises:
      Unavailable: There is no Java, or the jars cannot be had.
    """
    events = folder / "events"
    events.mkdir()
    logged = ("-Dspark.eventLog.enabled=true", f"-Dspark.eventLog.dir={events.as_uri()}", "-Dspark.ui.enabled=false")
    local = ("-Dspark.driver.host=127.0.0.1", "-Dspark.driver.bindAddress=127.0.0.1", f"-Dspark.local.dir={folder}")
    spark = processes.java(processes.jars("spark", folder / "jars"), "-Xmx2g", *logged, *local)
    job, artifact, expansion, pool = processes.free_ports(4)
    ports = ["--job-port", str(job), "--artifact-port", str(artifact), "--expansion-port", str(expansion)]
    staging = ["--artifacts-dir", str(folder / "staged"), "--spark-master-url", "local[2]"]
    with processes.Processes(folder) as parts:
        server = [*spark, "org.apache.beam.runners.spark.SparkJobServerDriver", *ports, *staging]
        parts.start("job_server", server, processes.listens(job))
        parts.start_workers(pool)
        yield Cluster([f"--job_endpoint=127.0.0.1:{job}", *processes.worker_arguments(pool)], folder)
