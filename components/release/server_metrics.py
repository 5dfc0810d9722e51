"""Reads a server's Prometheus metrics: how many requests a model answered how, how fast, and how sure it was.

    before, after = scrape(url), scrape(url)
    window = grown(of_version(before, "intents", 8), of_version(after, "intents", 8))

TensorFlow Serving's metrics do not tell versions apart (tensorflow/serving#1970), so `of_model` serves where canary and stable run in
servers of their own. The embedded server also has metrics by version, and only it tells scores.

Counters only grow, from the server's start. What happened in a while is the difference of two readings; a counter that is smaller than
before belongs to a server that was restarted in between, and counts from zero.
"""

from __future__ import annotations

import dataclasses
import http.client
import math
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Mapping

from components.errors import EnvironmentFailure, UsageError

DEFAULT_URL = "http://127.0.0.1:8501/monitoring/prometheus/metrics"

_UPSTREAM, _OURS = ":tensorflow:serving:", ":parlance:serving:"
_TIMEOUT = 10.0
_MAX_BYTES = 64 << 20
_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?[ \t]+(\S+)(?:[ \t]+\S+)?")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(.)")

Samples = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]


@dataclasses.dataclass(frozen=True)
class Histogram:
    """Counts of values by bucket.

    Attributes:
      limits: The upper limit of each bucket, ascending; the last one is infinite.
      counts: How many values are in each, not cumulated.
    """

    limits: tuple[float, ...]
    counts: tuple[float, ...]

    @property
    def total(self) -> float:
        """How many values there are."""
        return sum(self.counts)


@dataclasses.dataclass(frozen=True)
class Counts:
    """What a server or version has counted.

    Attributes:
      requests: How many requests ended with each status, by its name ("OK").
      latency: Microseconds of the successful ones; None if there were none.
      scores: The score of the best class of each row; None where the server does not tell, or there were none.
      restarted: Whether a server was restarted between two readings.
    """

    requests: Mapping[str, float]
    latency: Histogram | None = None
    scores: Histogram | None = None
    restarted: bool = False


def scrape(url: str) -> Samples:
    """Reads all metrics of a server.

    Raises:
      UsageError: The address is not one of HTTP.
      EnvironmentFailure: There is no answer, or none of the kind.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise UsageError(f"Metrics are read over HTTP, e.g. {DEFAULT_URL}; received {url!r}")
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:  # noqa: S310 - the scheme is checked above
            content = answer.read(_MAX_BYTES).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise EnvironmentFailure(
            f"The metrics of a server are read from {url}, but that failed: {reason}. `parlance serve` has them at its REST port, "
            "tensorflow_model_server with a --monitoring_config_file"
        ) from error
    return parse(content)


def parse(text: str) -> Samples:
    """Reads Prometheus' text format; lines that are none of it are left out."""
    samples = {}
    for line in text.splitlines():
        match = _SAMPLE.fullmatch(line)
        if match is None:
            continue
        name, labels, value = match.groups()
        named = tuple(sorted((label, _ESCAPE.sub(_unescaped, content)) for label, content in _LABEL.findall(labels or "")))
        try:
            samples[name, named] = float(value)
        except ValueError:
            continue
    return samples


def of_model(samples: Samples, model: str) -> Counts:
    """What a server has counted of a model, whatever the version, under TensorFlow Serving's names; scores under ours."""
    return _counts(samples, _UPSTREAM, {"model_name": model})


def of_version(samples: Samples, model: str, version: int) -> Counts:
    """What an embedded server has counted of a version of a model."""
    return _counts(samples, _OURS, {"model_name": model, "version": str(version)})


def tells_versions(samples: Samples) -> bool:
    """Whether these metrics tell versions apart at all, so that a version without any has had no requests."""
    return any(name.startswith(_OURS) for name, _ in samples)


def grown(before: Counts, after: Counts) -> Counts:
    """What was counted between two readings of one server."""
    restarted = any(after.requests.get(status, 0.0) < count for status, count in before.requests.items())
    if restarted:
        return dataclasses.replace(after, restarted=True)
    return Counts(
        {status: count - before.requests.get(status, 0.0) for status, count in after.requests.items()},
        _difference(before.latency, after.latency),
        _difference(before.scores, after.scores),
    )


def together(counts: Iterable[Counts]) -> Counts:
    """The sum over several servers. Scores count only where every server tells them."""
    all_counts = list(counts)
    requests: dict[str, float] = {}
    for each in all_counts:
        for status, count in each.requests.items():
            requests[status] = requests.get(status, 0.0) + count
    silent = any(each.scores is None and each.requests.get("OK") for each in all_counts)
    return Counts(
        requests,
        _sum(each.latency for each in all_counts),
        None if silent else _sum(each.scores for each in all_counts),
        any(each.restarted for each in all_counts),
    )


def _counts(samples: Samples, prefix: str, wanted: Mapping[str, str]) -> Counts:
    requests: dict[str, float] = {}
    for (name, labels), value in samples.items():
        of = dict(labels)
        if name == f"{prefix}request_count" and wanted.items() <= of.items() and "status" in of:
            requests[of["status"]] = requests.get(of["status"], 0.0) + value
    return Counts(
        requests, _histogram(samples, f"{prefix}request_latency", wanted), _histogram(samples, f"{_OURS}top_score", wanted)
    )


def _histogram(samples: Samples, metric: str, wanted: Mapping[str, str]) -> Histogram | None:
    """The sum of the series of a histogram that have these labels."""
    cumulated: dict[float, float] = {}
    for (name, labels), value in samples.items():
        of = dict(labels)
        if name == f"{metric}_bucket" and wanted.items() <= of.items() and "le" in of:
            limit = float(of["le"])
            cumulated[limit] = cumulated.get(limit, 0.0) + value
    if not cumulated or math.inf not in cumulated:
        return None
    limits = sorted(cumulated)
    below = [0.0, *(cumulated[limit] for limit in limits)]
    return Histogram(tuple(limits), tuple(upper - lower for lower, upper in zip(below, below[1:], strict=False)))


def _difference(before: Histogram | None, after: Histogram | None) -> Histogram | None:
    if after is None or before is None or before.limits != after.limits:
        return after
    counts = tuple(max(now - then, 0.0) for then, now in zip(before.counts, after.counts, strict=True))
    return Histogram(after.limits, counts) if sum(counts) else None


def _sum(histograms: Iterable[Histogram | None]) -> Histogram | None:
    found = [histogram for histogram in histograms if histogram is not None]
    # Servers of different makes count in different buckets, which cannot be added up.
    if not found or any(histogram.limits != found[0].limits for histogram in found):
        return None
    return Histogram(found[0].limits, tuple(map(sum, zip(*(histogram.counts for histogram in found), strict=True))))


def _unescaped(match: re.Match[str]) -> str:
    return {"n": "\n"}.get(match[1], match[1])
