"""What the server counts and times, as Prometheus reads it, under TensorFlow Serving's names.

    metrics = Metrics()
    metrics.know_models(["intents"])
    metrics.observe_request("intents", "Predict", "GRPC", 0.0012, StatusCode.OK, version=3)
    metrics.prometheus_text()    # ':tensorflow:serving:request_count{model_name="intents",status="OK"} 1 ...'

As upstream: latencies are microseconds; histograms count into buckets of 10 * 1.8^k and one for all the rest; requests of every outcome
are counted, the latency of successful ones only.

Upstream's metrics do not tell versions apart (tensorflow/serving#1970). Three of our own do, `:parlance:serving:*`: requests by outcome,
their latency in finer buckets, and how sure the model was, so that a canary can be compared with the version beside it.

Names of models that the server does not have are counted together as one: otherwise any client could make series without end.

One lock, held for a microsecond at a time.
"""

from __future__ import annotations

import bisect
import itertools
import re
import threading
from collections.abc import Iterable, Sequence

from serving.server.errors import StatusCode

LATENCY_LIMITS = tuple(itertools.accumulate(range(32), lambda limit, _: limit * 1.8, initial=10.0))
# TensorFlow's Exponential(1, 2, 15).
_EXAMPLES_LIMITS = tuple(2.0**power for power in range(15))
_QUEUING_LIMITS = tuple(itertools.accumulate(range(51), lambda limit, _: limit * 1.2, initial=100.0))
_BATCH_LIMITS = tuple(2.0**power for power in range(20))
# Finer than upstream's, because 99th percentiles are compared: a bucket ends 1.25 times later than it begins, up to half a minute.
VERSION_LATENCY_LIMITS = tuple(itertools.accumulate(range(67), lambda limit, _: limit * 1.25, initial=10.0))
SCORE_LIMITS = tuple(twentieth / 20 for twentieth in range(1, 21))
# Of a large batch so many rows' scores are counted; more would only make its callers wait.
_MAX_SCORES = 64
# Models and versions come and go while a server runs for months.
_MAX_SERIES = 10_000

UNKNOWN_MODEL = "(unknown)"
_PREFIX = ":tensorflow:serving:"
_OWN_PREFIX = ":parlance:serving:"
_LABEL_NAME = re.compile(r"[^a-zA-Z0-9]")


class _Histogram:
    """Values of one series."""

    __slots__ = ("counts", "total")

    def __init__(self, buckets: int):
        self.counts = [0] * buckets
        self.total = 0.0


class _Histograms:
    """A metric of histograms."""

    def __init__(self, name: str, labels: Sequence[str], limits: Sequence[float], prefix: str = _PREFIX):
        self.name = f"{prefix}{name}"
        self._labels = labels
        self._limits = limits
        self._series: dict[tuple[str | int, ...], _Histogram] = {}

    def add(self, values: tuple[str | int, ...], value: float) -> None:
        series = self._series.get(values)
        if series is None:
            if len(self._series) >= _MAX_SERIES:
                return
            series = self._series[values] = _Histogram(len(self._limits) + 1)
        # A bucket holds what is below its limit, as TensorFlow's do.
        series.counts[bisect.bisect_right(self._limits, value)] += 1
        series.total += value

    def lines(self) -> list[str]:
        lines = [f"# TYPE {self.name} histogram"] if self._series else []
        limits = [*map(_number, self._limits), "+Inf"]
        for values, series in self._series.items():
            labels = _labels(self._labels, values)
            for limit, count in zip(limits, itertools.accumulate(series.counts), strict=True):
                lines.append(f'{self.name}_bucket{{{labels}{"," if labels else ""}le="{limit}"}} {count}')
            lines.append(f"{self.name}_sum{{{labels}}} {_number(series.total)}")
            lines.append(f"{self.name}_count{{{labels}}} {sum(series.counts)}")
        return lines


class _Counters:
    """A metric of counters."""

    def __init__(self, name: str, labels: Sequence[str], prefix: str = _PREFIX):
        self.name = f"{prefix}{name}"
        self._labels = labels
        self.series: dict[tuple[str | int, ...], int] = {}

    def add(self, values: tuple[str | int, ...], amount: int = 1) -> None:
        if values in self.series or len(self.series) < _MAX_SERIES:
            self.series[values] = self.series.get(values, 0) + amount

    def lines(self) -> list[str]:
        lines = [f"# TYPE {self.name} counter"] if self.series else []
        return lines + [f"{self.name}{{{_labels(self._labels, values)}}} {count}" for values, count in self.series.items()]


class _Facts:
    """A metric whose labels are all there is to know; its values are 1."""

    def __init__(self, name: str, labels: Sequence[str], prefix: str = _PREFIX):
        self.name = f"{prefix}{name}"
        self._labels = labels
        self._series: dict[tuple[str | int, ...], None] = {}

    def add(self, values: tuple[str | int, ...]) -> None:
        if len(self._series) < _MAX_SERIES:
            self._series[values] = None

    def lines(self) -> list[str]:
        lines = [f"# TYPE {self.name} gauge"] if self._series else []
        return lines + [f"{self.name}{{{_labels(self._labels, values)}}} 1" for values in self._series]


class Metrics:
    """The metrics of a server. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._request_count = _Counters("request_count", ("model_name", "status"))
        self._request_latency = _Histograms("request_latency", ("model_name", "API", "entrypoint"), LATENCY_LIMITS)
        self._runtime_latency = _Histograms("runtime_latency", ("model_name", "API", "runtime"), LATENCY_LIMITS)
        self._example_counts = _Histograms("request_example_counts", ("model",), _EXAMPLES_LIMITS)
        self._example_count_total = _Counters("request_example_count_total", ("model",))
        self._warm_up_latency = _Histograms("model_warmup_latency", ("model_path", "status"), LATENCY_LIMITS)
        self._warm_up_records = _Counters("model_warmup_records_read", ("model_path",))
        self._request_log_count = _Counters("request_log_count", ("model_name", "status_code"))
        pool = ("thread_pool_name",)
        self._queuing_latency = _Histograms("batching_session:queuing_latency", pool, _QUEUING_LIMITS)
        self._wrapped_runs = _Counters("batching_session:wrapped_run_count", ())
        self._input_batch = _Histograms("batching_session:input_batch_size", (), _BATCH_LIMITS)
        self._processed_batch = _Histograms("batching_session:processed_batch_size", (), _BATCH_LIMITS)
        self._padding = _Histograms("batching_session:padding_size", ("execution_batch_size",), _BATCH_LIMITS)
        version = ("model_name", "version")
        self._version_count = _Counters("request_count", (*version, "status"), _OWN_PREFIX)
        self._version_latency = _Histograms("request_latency", version, VERSION_LATENCY_LIMITS, _OWN_PREFIX)
        self._top_scores = _Histograms("top_score", version, SCORE_LIMITS, _OWN_PREFIX)
        # Upstream has the UUID as the metric's value, which its exporter to Prometheus cannot write.
        self._lineage = _Facts("mlmd_map", (*version, "mlmd_uuid"))
        self._models: set[str] = set()

    def know_models(self, names: Iterable[str]) -> None:
        """The server has models of these names from now on. Requests that name others are counted as `UNKNOWN_MODEL`."""
        with self._lock:
            self._models.update(names)

    def observe_request(
        self, model: str, api: str, entrypoint: str, seconds: float, status: StatusCode, version: int | None = None
    ) -> None:
        """A request was answered.

        Args:
            model: The model it named.
            api: "Predict", "Classify", "Regress" over gRPC; REST's names are lower-case, as upstream's.
            entrypoint: "GRPC" or "REST".
            seconds: From its arrival to its answer.
            status: How.
            version: The version that answered or refused it; None if none was found.
        """
        outcome, micros = status.name, seconds * 1e6
        with self._lock:
            if version is None and model not in self._models:
                model = UNKNOWN_MODEL
            self._request_count.add((model, outcome))
            if version is not None:
                self._version_count.add((model, version, outcome))
            if outcome == "OK":
                self._request_latency.add((model, api, entrypoint), micros)
                if version is not None:
                    self._version_latency.add((model, version), micros)

    def observe_scores(self, model: str, version: int, scores: Sequence[float]) -> None:
        """A version answered rows; the score of each one's best class."""
        with self._lock:
            for score in scores[:_MAX_SCORES]:
                self._top_scores.add((model, version), score)

    def observe_lineage(self, model: str, version: int, uuid: str) -> None:
        """A version was loaded that tells its UUID in ML Metadata."""
        with self._lock:
            self._lineage.add((model, version, uuid))

    def observe_run(self, model: str, api: str, seconds: float) -> None:
        """A model ran once, for so many seconds."""
        with self._lock:
            self._runtime_latency.add((model, api, "TF1"), seconds * 1e6)

    def observe_examples(self, model: str, count: int) -> None:
        """An inference of several signatures had so many tf.Examples. Upstream counts those of no other API."""
        with self._lock:
            self._example_counts.add((model,), count)
            self._example_count_total.add((model,), count)

    def observe_warm_up(self, path: str, status: str, seconds: float, records: int) -> None:
        """A version in a directory was warmed up, with a status as text ("OK" if all went well)."""
        with self._lock:
            self._warm_up_latency.add((path, status), seconds * 1e6)
            self._warm_up_records.add((path,), records)

    def observe_logged(self, model: str, status: StatusCode) -> None:
        """A request was written to the request log, or failed to be."""
        with self._lock:
            self._request_log_count.add((model, status.name))

    def observe_batched_input(self, size: int) -> None:
        """A request of so many rows came in to be batched."""
        with self._lock:
            self._input_batch.add((), size)

    def observe_batch(self, size: int, padding: int, queued_seconds: Sequence[float], thread_pool: str) -> None:
        """A batch ran.

        Args:
            size: Its rows, padding included.
            padding: How many of them are padding.
            queued_seconds: How long each of its requests had waited.
            thread_pool: Name of the pool that ran it.
        """
        with self._lock:
            self._wrapped_runs.add(())
            self._processed_batch.add((), size)
            self._padding.add((str(size),), padding)
            for seconds in queued_seconds:
                self._queuing_latency.add((thread_pool,), seconds * 1e6)

    def counters(self) -> dict[str, int]:
        """The sum of each counter over its labels, by name; HandleReloadConfigRequest reports how they grew."""
        with self._lock:
            return {metric.name: sum(metric.series.values()) for metric in vars(self).values() if isinstance(metric, _Counters)}

    def prometheus_text(self) -> str:
        """All metrics in Prometheus' text format."""
        with self._lock:
            metrics = [metric for metric in vars(self).values() if isinstance(metric, _Counters | _Histograms | _Facts)]
            lines = [line for metric in sorted(metrics, key=lambda metric: metric.name) for line in metric.lines()]
        return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    """A number as C++'s StrCat writes it: six digits."""
    return f"{value:.6g}"


def _labels(names: Sequence[str], values: Sequence[str | int]) -> str:
    return ",".join(f'{_LABEL_NAME.sub("_", name)}="{_escaped(str(value))}"' for name, value in zip(names, values, strict=True))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
