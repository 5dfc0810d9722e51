"""The smoke test before a release: a model server loads the candidate, and real requests get the scores the evaluation saw.

    outcome = run(model_dir, "intents", warmup, sample, options)
    outcome.passed, outcome.findings, outcome.to_json()

A server in a process of its own (see candidate_server) serves exactly what would be pushed. The evaluator's sample of scored test rows
is replayed row by row: the same bytes by gRPC (Predict and Classify) and REST must give the same classes, and scores within 1e-5; the
rows' columns by gRPC and REST, as clients send them, must give the best label with its score. On the way the time until the model is
available, the time requests take and the memory of the server are held against the limits of `release.smoke_test`.

The server is the embedded one and runs the pipeline's TensorFlow, so this shows that the files are complete and the model does
what was measured, not that an older TensorFlow Serving loads it; of that, `op_check` shows what can be seen.

What a failing request held is people's words: findings, and what is kept of them, name its columns, types, lengths and the shape of
its values, never a value; lines of the server's log have what was sent taken out of them.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from components.errors import EnvironmentFailure
from components.evaluation.scored_sample import ScoredSample
from components.findings import Finding, Severity, has_errors
from components.release import op_check
from components.release.candidate_server import AGAIN, COMMAND, CandidateServer, PortTaken, ServerFailed
from components.release.infra_blessing import FAILED, PASSED, SKIPPED
from components.release.options import SmokeTestOptions
from serving.client import Client, ClientError, Prediction, RestClient
from serving.client.errors import without_quotations
from serving.messages import Example
from serving.redaction import redact

EXAMPLES_SIGNATURE, COLUMNS_SIGNATURE = "serving_examples", "serving_default"
TOLERANCE = 1e-5
"""How far apart two scores may be that are the same but for the order in which numbers were added."""

RULE_AVAILABLE = "smoke test: server available"
RULE_ANSWERS = "smoke test: requests answered"
RULE_SCORES = "smoke test: scores as evaluated"
RULE_LATENCY = "smoke test: p99 of a request"
RULE_MEMORY = "smoke test: memory of the server"

_OUTCOMES = {Severity.ERROR: "fail", Severity.WARNING: "warn", Severity.INFO: "pass"}
_PORT_ATTEMPTS = 3
# A busy machine makes requests slower, nothing makes them faster: the best of a few rounds is nearest to what the model needs.
_LATENCY_ROUNDS = 3
# A request that takes longer than that is one the server does not answer.
_REQUEST_SECONDS = 10.0
# After a request failed, so long the server may take to be seen as dead.
_DEATH_SECONDS, _DEATH_POLL_SECONDS = 1.0, 0.02
# gRPC would send even loopback's requests to a proxy that the environment names.
_DIRECTLY = (("grpc.enable_http_proxy", 0),)
_LOG_LINES, _LINE_LENGTH = 20, 300
_LINES_IN_MESSAGE = 3
_SHOWN_COLUMNS, _SHOWN_CHARACTERS = 12, 40


@dataclasses.dataclass(frozen=True)
class Check(Finding):
    """A finding that also fits into the evaluation's verdict, beside the findings of its gates (see evaluation.gate.decide).

    Attributes:
      n: Rows it is about; None where rows do not count.
      value: What was measured; None where it is not a number.
      limit: What that is held against, as text.
      reason: Why it did not pass, in a few words.
    """

    n: int | None = None
    value: float | None = None
    limit: str = ""
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Returns the finding as plain JSON values."""
        outcome = _OUTCOMES[self.severity]
        # Beside a value and its limit, a check that passed needs no reason.
        reason = "" if outcome == "pass" else self.reason
        return {**super().to_json(), "rule": self.check, "slice": {}, "interval": None, "outcome": outcome, "reason": reason}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a smoke test found.

    Attributes:
      findings: Its checks, also those that passed.
      numbers: What was measured, as far as it got: `rows`, `requests`, `load_seconds`, `max_score_difference`, `memory_mib`,
        `latency_ms` (`p50` and `p99` for `grpc` and `rest`) and `tf_serving`.
      request: The request that failed, without its values, a line each; empty if none did.
      log: The last lines of the server's log, without what was sent; empty unless something failed.
    """

    findings: tuple[Check, ...]
    numbers: Mapping[str, Any]
    request: tuple[str, ...] = ()
    log: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the candidate may be released."""
        return not has_errors(self.findings)

    def summary(self) -> str:
        """Returns the outcome as a line of text."""
        if not self.passed:
            failed = [
                finding.check.removeprefix("smoke test: ") for finding in self.findings if finding.severity is Severity.ERROR
            ]
            return f"failed: {', '.join(failed)}"
        p99 = max(times["p99"] for times in self.numbers["latency_ms"].values())
        memory = self.numbers["memory_mib"]
        parts = [
            f"{self.numbers['rows']} rows by gRPC and REST",
            f"scores within {self.numbers['max_score_difference']:.1e}",
            f"p99 {p99:.3g} ms",
            *([] if memory is None else [f"{memory:,.0f} MiB"]),
        ]
        return f"passed: {', '.join(parts)}"

    def to_json(self) -> dict[str, Any]:
        """Returns the content of smoke_test.json."""
        return {
            "state": PASSED if self.passed else FAILED,
            "summary": self.summary(),
            **self.numbers,
            "findings": [finding.to_json() for finding in self.findings],
            "request": list(self.request),
            "log": list(self.log),
        }


def skipped(reason: str) -> dict[str, Any]:
    """Returns the content of smoke_test.json of a candidate that was not tested."""
    return {"state": SKIPPED, "summary": f"skipped: {reason}", "findings": [], "request": [], "log": []}


def run(
    model_dir: str | os.PathLike[str],
    model: str,
    warmup: bytes,
    sample: ScoredSample,
    options: SmokeTestOptions,
    command: Sequence[str] = COMMAND,
) -> Outcome:
    """Tests a candidate.

    Args:
      model_dir: The SavedModel; it is not touched.
      model: The name to serve it under.
      warmup: Content of the file of warm-up requests that will be released with it; none if empty.
      sample: Test rows and the scores the candidate got for them.
      options: How many rows, and the limits.
      command: What to run as the server; tensorflow_model_server's flags are added.

    Raises:
      EnvironmentFailure: The SavedModel cannot be read, or ports are taken as fast as they are found.
      UsageError: There is no list of ops for the wanted version of TensorFlow Serving.
      OSError: The machine has no port, process or temporary folder to give.
    """
    static = [_as_check(finding) for finding in op_check.check(model_dir, op_check.target(options.tf_serving))]
    trial = _Trial(sample.head(options.rows), options)
    for attempt in range(1, _PORT_ATTEMPTS + 1):
        with CandidateServer.started(model_dir, model, warmup, command) as server:
            try:
                trial.conduct(server)
                break
            except PortTaken as error:
                if attempt == _PORT_ATTEMPTS:
                    raise EnvironmentFailure(
                        f"The smoke test needs two ports that stay free for a second; {attempt} times another process took one. "
                        "Run again: finished nodes are cached"
                    ) from error
                trial = _Trial(trial.sample, options)
    return Outcome((*static, *trial.checks), {**trial.numbers, "tf_serving": options.tf_serving}, trial.request, trial.log)


@dataclasses.dataclass(frozen=True)
class _Way:
    """One way to ask about a row.

    Attributes:
      protocol: `grpc` or `rest`.
      name: What a person calls it.
      ask: Asks about the row of a position.
      difference: How far an answer is from what the evaluation saw of that row; infinite where classes or labels differ.
    """

    protocol: str
    name: str
    ask: Callable[[int], Prediction]
    difference: Callable[[Prediction, int], float]


class _RequestFailed(Exception):
    def __init__(self, way: _Way, row: int, error: ClientError):
        super().__init__(str(error))
        self.way, self.row = way, row


class _Trial:
    """One server, from its start to the last check.

    Attributes:
      checks, numbers, request, log: See Outcome.
    """

    def __init__(self, sample: ScoredSample, options: SmokeTestOptions):
        self.sample = sample
        self.checks: list[Check] = []
        self.numbers: dict[str, Any] = {"rows": len(sample), "requests": 0}
        self.request: tuple[str, ...] = ()
        self.log: tuple[str, ...] = ()
        self._options = options
        self._rows = [_columns(example) for example in sample.examples]
        self._times: dict[str, list[float]] = {"grpc": [], "rest": []}
        # The model's columns, once the server has told them.
        self._input_names: tuple[str, ...] = ()

    def conduct(self, server: CandidateServer) -> None:
        """Puts the server to the test.

        Raises:
          PortTaken: It could not listen.
        """
        try:
            self._wait(server)
            if not has_errors(self.checks):
                self._replay(server)
        except PortTaken:
            raise
        except ServerFailed as failure:
            self._fail(RULE_AVAILABLE, str(failure), "the server must come up and stay up")
        except _RequestFailed as failure:
            self._explain_failure(server, failure)
        self._measure_memory(server)
        if has_errors(self.checks):
            self._keep_log(server)

    def _wait(self, server: CandidateServer) -> None:
        limit = self._options.max_load_seconds
        seconds = server.wait_until_available(limit)
        self.numbers["load_seconds"] = round(seconds, 3)
        with Client(server.target, retry=None, channel_options=_DIRECTLY) as client:
            try:
                client.wait_until_available(server.model, version=1, timeout=max(limit - seconds, 1.0))
            except ClientError as error:
                server.check_alive()
                raise ServerFailed(f"the server listens but does not serve the model: {_safe(str(error), ())}") from None
        self._add(RULE_AVAILABLE, seconds <= limit, seconds, f"<= {limit:g} s", f"the model was available after {seconds:.1f} s")

    def _replay(self, server: CandidateServer) -> None:
        timeout = max(_REQUEST_SECONDS, 4 * self._options.max_p99_ms / 1000)
        with (
            Client(server.target, timeout=timeout, retry=None, channel_options=_DIRECTLY) as grpc,
            RestClient(server.rest_url, timeout=timeout, retry=None) as rest,
        ):
            ways = self._ways(server.model, grpc, rest)
            # The first of each kind learns what the model takes, which later ones know.
            self._round(ways, [0][: len(self.sample)])
            self._times = {protocol: [] for protocol in self._times}
            worst = self._round(ways, range(len(self.sample)))
            self._add_answers(ways, worst)
            best = self._percentiles()
            for _ in range(_LATENCY_ROUNDS - 1):
                if max((times["p99"] for times in best.values()), default=0.0) <= self._options.max_p99_ms:
                    break
                self._times = {protocol: [] for protocol in self._times}
                self._round(ways, range(len(self.sample)))
                best = {name: min(best[name], times, key=lambda t: t["p99"]) for name, times in self._percentiles().items()}
        server.check_alive()
        self._add_latency(best)

    def _ways(self, model: str, grpc: Client, rest: RestClient) -> tuple[_Way, ...]:
        ways = []
        for protocol, name, client in (("grpc", "gRPC", grpc), ("rest", "REST", rest)):
            by_examples = functools.partial(self._predict_example, client, model)
            by_columns = functools.partial(self._predict_columns, client, model)
            ways += [
                _Way(protocol, f"{name} Predict on {EXAMPLES_SIGNATURE}", by_examples, self._difference_of_scores),
                _Way(protocol, f"{name} Predict on {COLUMNS_SIGNATURE}", by_columns, self._difference_of_best),
            ]
        classify = functools.partial(self._classify, grpc, model)
        return (*ways, _Way("grpc", f"gRPC Classify on {EXAMPLES_SIGNATURE}", classify, self._difference_of_scores))

    def _predict_example(self, client: Client | RestClient, model: str, row: int) -> Prediction:
        return client.predict_examples(model, [self.sample.examples[row]], signature=EXAMPLES_SIGNATURE)

    def _classify(self, client: Client, model: str, row: int) -> Prediction:
        return client.classify(model, [self.sample.examples[row]], signature=EXAMPLES_SIGNATURE)

    def _predict_columns(self, client: Client | RestClient, model: str, row: int) -> Prediction:
        """Asks with a row's columns as clients send them: those the model takes, None for what the row lacks."""
        if not self._input_names:
            self._input_names = tuple(client.metadata(model).signature(COLUMNS_SIGNATURE).inputs)
        values = self._rows[row]
        columns = {name: [next(iter(values.get(name, ())), None)] for name in self._input_names}
        return client.predict(model, columns, signature=COLUMNS_SIGNATURE)

    def _round(self, ways: Sequence[_Way], rows: Sequence[int]) -> dict[str, np.ndarray]:
        """Asks about rows in every way; returns by way how far each answer was from what the evaluation saw."""
        differences = {way.name: np.zeros(len(rows)) for way in ways}
        for row in rows:
            for way in ways:
                try:
                    started = time.perf_counter()
                    prediction = way.ask(row)
                    self._times[way.protocol].append(time.perf_counter() - started)
                    differences[way.name][row] = way.difference(prediction, row)
                except ClientError as error:
                    raise _RequestFailed(way, row, error) from None
                self.numbers["requests"] += 1
        return differences

    def _difference_of_scores(self, prediction: Prediction, row: int) -> float:
        classes = tuple(prediction.text("classes").ravel())
        if classes != self.sample.classes:
            return np.inf
        return _difference(prediction["scores"].ravel(), self.sample.scores[row])

    def _difference_of_best(self, prediction: Prediction, row: int) -> float:
        scores = dict(zip(self.sample.classes, self.sample.scores[row], strict=True))
        labels, best = prediction.labels, self.sample.scores[row].max()
        # Of labels with the same score, either may be the best one.
        if len(labels) != 1 or _difference(scores.get(labels[0], np.inf), best) > TOLERANCE:
            return np.inf
        return _difference(prediction.scores, best)

    def _percentiles(self) -> dict[str, dict[str, float]]:
        return {
            protocol: {name: float(np.percentile(times, share)) * 1000 for name, share in (("p50", 50), ("p99", 99))}
            for protocol, times in self._times.items()
            if times
        }

    def _add_answers(self, ways: Sequence[_Way], differences: Mapping[str, np.ndarray]) -> None:
        rows = len(self.sample)
        self._add(RULE_ANSWERS, rows > 0, None, "", f"{rows} rows were answered in {len(ways)} ways")
        if not rows:
            return
        largest = max(float(values.max()) for values in differences.values())
        # JSON has no infinity: classes that differ have no distance.
        self.numbers["max_score_difference"] = largest if np.isfinite(largest) else None
        limit = f"<= {TOLERANCE:g}"
        wrong = {name: np.flatnonzero(~(values <= TOLERANCE)) for name, values in differences.items()}
        failed = [way for way in ways if len(wrong[way.name])]
        if not failed:
            self._add(RULE_SCORES, True, largest, limit, f"scores are within {largest:.1e} of those the evaluation saw")
            return
        worst = max(failed, key=lambda way: len(wrong[way.name]))
        first = int(wrong[worst.name][0])
        at_first = differences[worst.name][first]
        how = f"by {at_first:.2g}" if np.isfinite(at_first) else "in their classes or their order, or in the best label"
        reason = f"{len(wrong[worst.name])} of {rows} rows by {worst.name} differ from what the evaluation saw, row {first} {how}"
        if len(failed) > 1:
            reason += f"; also by {', '.join(way.name for way in failed if way is not worst)}"
        self._describe_request(worst, first)
        self._add(RULE_SCORES, False, largest if np.isfinite(largest) else None, limit, reason)

    def _add_latency(self, best: Mapping[str, Mapping[str, float]]) -> None:
        self.numbers["latency_ms"] = {
            protocol: {name: round(value, 3) for name, value in times.items()} for protocol, times in best.items()
        }
        if not best:
            return
        limit = self._options.max_p99_ms
        slowest = max(best, key=lambda protocol: best[protocol]["p99"])
        p99 = best[slowest]["p99"]
        name = {"grpc": "gRPC", "rest": "REST"}[slowest]
        reason = f"p99 of a request of one row is {p99:.3g} ms by {name}, p50 {best[slowest]['p50']:.3g} ms"
        if p99 > limit:
            reason += f"; best of {_LATENCY_ROUNDS} rounds; if the machine was busy, {AGAIN}"
        self._add(RULE_LATENCY, p99 <= limit, p99, f"<= {limit:g} ms", reason)

    def _measure_memory(self, server: CandidateServer) -> None:
        memory = server.memory_mib()
        self.numbers["memory_mib"] = None if memory is None else round(memory)
        if memory is not None:
            limit = self._options.max_memory_mib
            self._add(RULE_MEMORY, memory <= limit, memory, f"<= {limit:g} MiB", f"the server took {memory:,.0f} MiB")
        elif not has_errors(self.checks):
            reason = "this system does not tell the memory of a process, so the limit was not checked"
            self.checks.append(Check(RULE_MEMORY, Severity.WARNING, reason, reason=reason))

    def _explain_failure(self, server: CandidateServer, failure: _RequestFailed) -> None:
        self._describe_request(failure.way, failure.row)
        asked = f"{failure.way.name}, row {failure.row}"
        end = time.monotonic() + _DEATH_SECONDS
        while server.alive and time.monotonic() < end:
            time.sleep(_DEATH_POLL_SECONDS)
        try:
            server.check_alive()
        except ServerFailed as death:
            if isinstance(death, PortTaken):
                raise
            self._fail(RULE_AVAILABLE, f"{death} while it was asked ({asked})", "the server must stay up")
            return
        self._fail(RULE_ANSWERS, f"{asked} failed: {_safe(str(failure), self._sent())}", "every request must be answered")

    def _describe_request(self, way: _Way, row: int) -> None:
        self.request = (f"{way.name}, row {row} of the sample of scored rows", *_shapes(self._rows[row]))

    def _keep_log(self, server: CandidateServer) -> None:
        """Keeps the last lines of the log, and adds the very last to what failed, where they may say why."""
        sent = self._sent()
        self.log = tuple(_safe(line, sent) for line in server.last_lines(_LOG_LINES))
        context = [f"request: {'; '.join(self.request)}"] if self.request else []
        context += [f"the server's last words: {' | '.join(self.log[-_LINES_IN_MESSAGE:]) or 'none'}"]
        for place, check in enumerate(self.checks):
            if check.severity is Severity.ERROR and check.check not in (RULE_LATENCY, RULE_MEMORY):
                more = "; ".join(context)
                self.checks[place] = dataclasses.replace(
                    check, message=f"{check.message}; {more}", reason=f"{check.reason}; {more}"
                )
                # One finding tells it; the others would repeat it.
                break

    def _sent(self) -> list[bytes]:
        strings = [value for row in self._rows for values in row.values() for value in values if isinstance(value, bytes)]
        return [*strings, *self.sample.examples]

    def _fail(self, rule: str, reason: str, expected: str) -> None:
        self.checks.append(Check(rule, Severity.ERROR, f"{expected}: {reason}", expected=expected, reason=reason))

    def _add(self, rule: str, good: bool, value: float | None, limit: str, reason: str) -> None:
        self.checks.append(
            Check(
                rule,
                Severity.INFO if good else Severity.ERROR,
                f"{reason}, must be {limit}" if limit else reason,
                expected=limit,
                observed="" if value is None else f"{value:.4g}",
                n=len(self.sample) if rule in (RULE_SCORES, RULE_ANSWERS) else None,
                value=value,
                limit=limit,
                reason=reason,
            )
        )


def _as_check(finding: Finding) -> Check:
    return Check(**{field.name: getattr(finding, field.name) for field in dataclasses.fields(Finding)}, reason=finding.message)


def _difference(left: Any, right: Any) -> float:
    """The largest distance of numbers; 0 where both are NaN."""
    left, right = np.asarray(left, np.float64), np.asarray(right, np.float64)
    if left.shape != right.shape and left.size != right.size:
        return np.inf
    distance = np.abs(left.ravel() - right.ravel())
    distance[np.isnan(left.ravel()) & np.isnan(right.ravel())] = 0
    return float(np.where(np.isnan(distance), np.inf, distance).max(initial=0.0))


def _columns(example: bytes) -> dict[str, list[Any]]:
    """The values of a tf.Example by column: bytes, int or float."""
    features = Example.FromString(example).features.feature
    kinds = {name: feature.WhichOneof("kind") for name, feature in features.items()}
    return {name: list(getattr(features[name], kind).value) if kind else [] for name, kind in kinds.items()}


def _shapes(row: Mapping[str, Sequence[Any]]) -> Iterator[str]:
    """Describes a row's columns without their values: type, length, and of text the shape, letters and digits replaced."""
    for name, values in sorted(row.items())[:_SHOWN_COLUMNS]:
        if not values:
            yield f"{name}: no value"
        elif isinstance(values[0], bytes):
            text = values[0].decode("utf-8", "replace")
            shape = "".join(map(_masked, text[:_SHOWN_CHARACTERS])) + ("…" if len(text) > _SHOWN_CHARACTERS else "")
            yield f"{name}: text of {len(text)} characters, {len(values[0])} bytes: {shape!r}"
        else:
            yield f"{name}: {_size(values[0])}"
    if len(row) > _SHOWN_COLUMNS:
        yield f"and {len(row) - _SHOWN_COLUMNS} more columns"


def _size(number: float) -> str:
    """How large a number is, which may be somebody's: that of its digits before the point."""
    if not np.isfinite(number):
        return str(number)
    return f"{'an integer' if isinstance(number, int) else 'a number'} of {len(str(abs(int(number))))} digits"


def _masked(character: str) -> str:
    if character.isalpha():
        return "X" if character.isupper() else "x"
    return "0" if character.isnumeric() else character if character.isprintable() else "?"


def _safe(line: str, sent: Sequence[bytes]) -> str:
    """A line of text without what was sent and without personal data, cut short."""
    shown = redact(without_quotations(line, sent))
    return shown[:_LINE_LENGTH] + ("…" if len(shown) > _LINE_LENGTH else "")
