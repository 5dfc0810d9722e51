"""Talks to the API of Kubeflow Pipelines: pipelines, their versions, runs, schedules, logs.

A thin layer over kfp-server-api's generated client, which is what installs with the SDK that compiles. The SDK's own client prints,
warns and asks for input; here everything that goes wrong is an error a person can act on, every call has a time limit, and whatever is
safe to repeat is repeated. What creates something has a name of its own that is looked up before it is created again: an answer that
got lost on the way must not start a second run.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import pathlib
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import kfp_server_api as api
import urllib3.exceptions

from components.errors import EnvironmentFailure, UsageError
from pipeline.kubeflow.connection import AUTHENTICATION, SYSTEM_NAMESPACE, Connection, open_client
from pipeline.kubeflow.package import Package
from serving.redaction import redact

CONNECT_SECONDS, READ_SECONDS = 10, 60
ATTEMPTS = 5
"""How often a call is made before the cluster counts as down; with the pauses in between about 15 seconds."""

_LOG_ATTEMPTS = 2
_PAGE = 100
# As far back as runs are looked for by the beginning of a name.
_RECENT = 500
_ID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
_FINAL = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")
_HASH = re.compile(r"sha256:([0-9a-f]{64})")


class AuthenticationFailure(EnvironmentFailure):
    """The API wants to know who is asking, or does not allow it."""


class NotFoundError(UsageError):
    """What was asked for is not there."""


class ConflictError(EnvironmentFailure):
    """Something of that name is there already, and it is not the same."""


def connect(connection: Connection) -> Client:
    """Returns a client of the API that a connection says or finds.

    Raises:
      UsageError: There is none, or a file is missing.
    """
    return Client(*open_client(connection))


class Client:
    """One Kubeflow Pipelines.

    Every method raises EnvironmentFailure where the API does not answer, AuthenticationFailure where it does not let one in, and
    UsageError with the API's own words where it refuses what was asked.

    Attributes:
      namespace: The user's namespace; empty for an installation that is not shared.
    """

    def __init__(self, client: api.ApiClient, namespace: str = "", pause: Callable[[float], None] = time.sleep):
        """A client of an API; `connect` makes one.

        Args:
          client: The generated client.
          namespace: The user's namespace.
          pause: Waits for a number of seconds.
        """
        self.namespace = namespace
        self._client = client
        self._pause = pause
        self._pipelines = api.PipelineServiceApi(client)
        self._uploads = api.PipelineUploadServiceApi(client)
        self._runs = api.RunServiceApi(client)
        self._recurring = api.RecurringRunServiceApi(client)
        self._experiments = api.ExperimentServiceApi(client)

    @property
    def endpoint(self) -> str:
        """The API's address."""
        return self._client.configuration.host

    def ensure_version(self, package: Package) -> tuple[Any, bool]:
        """Makes sure that the API has a package, as a version of the pipeline of its name.

        Returns:
          The pipeline version, and whether it was uploaded now.

        Raises:
          ConflictError: There is a version of this name with another content.
        """
        pipeline = self._ensure_pipeline(package.name)
        version = self._version(pipeline.pipeline_id, package)
        if version is not None:
            return version, False

        def upload() -> Any:
            with tempfile.TemporaryDirectory(prefix="parlance-") as folder:
                file = pathlib.Path(folder) / f"{package.version}.yaml"
                file.write_text(package.text, encoding="utf-8")
                return self._call(
                    self._uploads.upload_pipeline_version,
                    str(file),
                    name=package.version,
                    display_name=package.version,
                    pipelineid=pipeline.pipeline_id,
                    description=f"Compiled by Parlance, sha256:{package.sha256}",
                )

        return self._create(upload, lambda: self._version(pipeline.pipeline_id, package)), True

    def experiment(self, name: str) -> str:
        """Returns the id of the experiment of a name, which is made if there is none."""

        def find() -> Any:
            found = self._listed(
                self._experiments.experiment_service_list_experiments,
                "experiments",
                _equals("display_name", name),
                **self._scope(),
            )
            return next(found, None)

        def create() -> Any:
            body = api.V2beta1Experiment(display_name=name, namespace=self.namespace or None)
            return self._call(self._experiments.experiment_service_create_experiment, body)

        return (find() or self._create(create, find)).experiment_id

    def start(
        self, version: Any, experiment_id: str, name: str, parameters: Mapping[str, Any], service_account: str | None = None
    ) -> Any:
        """Starts a run.

        Args:
          version: The pipeline version.
          experiment_id: The experiment it is listed in.
          name: What the run's name begins with; time and a few digits are added, which makes it the only one.
          parameters: Values of runtime parameters.
          service_account: The account of its pods; the cluster's default one if None.
        """
        unique = f"{name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"
        body = api.V2beta1Run(
            experiment_id=experiment_id,
            display_name=unique,
            pipeline_version_reference=reference(version),
            runtime_config=api.V2beta1RuntimeConfig(parameters=dict(parameters)),
            service_account=service_account,
        )
        return self._create(
            lambda: self._call(self._runs.run_service_create_run, body),
            lambda: next(self.runs(_equals("display_name", unique)), None),
        )

    def run(self, run_id: str) -> Any:
        """Returns a run with its tasks."""
        return self._safely(lambda: self._call(self._runs.run_service_get_run, run_id))

    def runs(self, condition: str | None = None) -> Iterator[Any]:
        """Yields the runs, newest first, page by page.

        Args:
          condition: A filter of the API as JSON; all runs if None.
        """
        return self._listed(self._runs.run_service_list_runs, "runs", condition, sort_by="created_at desc", **self._scope())

    def find_run(self, run: str) -> Any:
        """Returns one run.

        Args:
          run: A run's id, its name, the beginning of either, or `latest`.

        Raises:
          NotFoundError: No run or several runs fit; the message lists some.
        """
        if _ID.match(run):
            return self.run(run)
        candidates = list(itertools.islice(self.runs(), _RECENT))
        exact = [candidate for candidate in candidates if run in (candidate.display_name, "latest")]
        fitting = exact[:1] or [
            candidate
            for candidate in candidates
            if candidate.run_id.startswith(run) or (candidate.display_name or "").startswith(run)
        ]
        if len(fitting) == 1:
            return self.run(fitting[0].run_id)
        names = ", ".join(candidate.display_name for candidate in (fitting or candidates)[:5]) or "none"
        raise NotFoundError(f"{'Several runs are' if fitting else 'No run is'} called {run!r} at {self.endpoint}. Runs: {names}")

    def specification(self, run: Any) -> dict[str, Any]:
        """Returns the pipeline specification of a run, as nested plain values."""
        named = run.pipeline_version_reference
        if named is None or not named.pipeline_version_id:
            return run.pipeline_spec or {}
        version = self._safely(
            lambda: self._call(
                self._pipelines.pipeline_service_get_pipeline_version, named.pipeline_id, named.pipeline_version_id
            )
        )
        return version.pipeline_spec or {}

    def recurring_runs(self, name: str | None = None) -> Iterator[Any]:
        """Yields the schedules, newest first; only those of a name if one is given."""
        condition = None if name is None else _equals("display_name", name)
        return self._listed(
            self._recurring.recurring_run_service_list_recurring_runs,
            "recurring_runs",
            condition,
            sort_by="created_at desc",
            **self._scope(),
        )

    def create_recurring_run(self, body: Any) -> Any:
        """Creates a schedule. Where the answer is lost, it is found again by name and description."""

        def find() -> Any:
            return next(
                (entry for entry in self.recurring_runs(body.display_name) if entry.description == body.description), None
            )

        return self._create(lambda: self._call(self._recurring.recurring_run_service_create_recurring_run, body), find)

    def switch_recurring_run(self, recurring_run_id: str, enabled: bool) -> None:
        """Lets a schedule start runs, or not."""
        service = self._recurring
        call = (
            service.recurring_run_service_enable_recurring_run if enabled else service.recurring_run_service_disable_recurring_run
        )
        self._safely(lambda: self._call(call, recurring_run_id))

    def delete_recurring_run(self, recurring_run_id: str) -> None:
        """Deletes a schedule. Kubernetes then also ends the runs that it started and that are still under way."""
        # It is not there if somebody else was faster, or the answer to the first attempt got lost.
        with contextlib.suppress(NotFoundError):
            self._safely(lambda: self._call(self._recurring.recurring_run_service_delete_recurring_run, recurring_run_id))

    def active_runs(self, recurring_run_id: str) -> list[Any]:
        """Returns the runs of a schedule that have not ended."""
        # The API has no filter for it. What is under way is among the newest.
        return [
            run
            for run in itertools.islice(self.runs(), _RECENT)
            if run.recurring_run_id == recurring_run_id and run.state not in _FINAL
        ]

    def log(self, run_id: str, pod: str) -> str | None:
        """Returns the log of a run's pod; None if the cluster no longer has it.

        Args:
          run_id: The run.
          pod: The name the run's task has for the pod.
        """

        def read(path: str, query: Mapping[str, str]) -> str | None:
            # A log that is not there is an internal error of the API, so there is no use in asking as often as elsewhere.
            for attempt in range(1, _LOG_ATTEMPTS + 1):
                try:
                    return self._call(self._text, path, query)
                except UsageError:  # the address is not known
                    return None
                except _Unreachable:
                    if attempt < _LOG_ATTEMPTS:
                        self._pause(1)
            return None

        # The first address is the API server's own, the second one the user interface's, which people often forward instead.
        log = read(f"/apis/v1alpha1/runs/{run_id}/nodes/{pod}/log", {})
        return log if log is not None else read("/k8s/pod/logs", {"podname": pod, "runid": run_id, "podnamespace": self._pods})

    @property
    def _pods(self) -> str:
        return self.namespace or SYSTEM_NAMESPACE

    def _text(self, path: str, query: Mapping[str, str], _request_timeout: Any) -> str:
        headers = {"Accept": "text/plain"}
        parameters = list(query.items())
        self._client.update_params_for_auth(headers, parameters, ["Bearer"])
        headers.update(self._client.default_headers)
        if self._client.cookie:
            headers["Cookie"] = self._client.cookie
        answer = self._client.rest_client.GET(
            self.endpoint + path, headers=headers, query_params=parameters, _request_timeout=_request_timeout
        )
        self._client.last_response = None
        if "html" in (answer.getheader("content-type") or ""):
            raise UsageError(f"{path} is not known there")
        return answer.data.decode("utf-8", errors="replace")

    def _ensure_pipeline(self, name: str) -> Any:
        def find() -> Any:
            found = self._listed(
                self._pipelines.pipeline_service_list_pipelines, "pipelines", _equals("display_name", name), **self._scope()
            )
            return next(found, None)

        def create() -> Any:
            body = api.V2beta1Pipeline(
                name=name, display_name=name, namespace=self.namespace or None, description="A Parlance pipeline"
            )
            return self._call(self._pipelines.pipeline_service_create_pipeline, body)

        return find() or self._create(create, find)

    def _version(self, pipeline_id: str, package: Package) -> Any:
        """The version of a package's name, if there is one and it holds the package."""
        listed = self._listed(
            lambda **options: self._pipelines.pipeline_service_list_pipeline_versions(pipeline_id, **options),
            "pipeline_versions",
            _equals("display_name", package.version),
        )
        version = next(listed, None)
        if version is None:
            return None
        recorded = _HASH.search(version.description or "")
        if recorded is not None and recorded[1] == package.sha256 or package.equals(version.pipeline_spec):
            return version
        raise ConflictError(
            f"{self.endpoint} has a pipeline version {package.version} that is not what was compiled here. "
            "Somebody has given another package this name; delete that version, or compile under another `name:`"
        )

    def _scope(self) -> dict[str, str]:
        return {"namespace": self.namespace} if self.namespace else {}

    def _listed(self, call: Callable[..., Any], name: str, condition: str | None = None, **options: Any) -> Iterator[Any]:
        if condition is not None:
            options["filter"] = condition
        token = ""
        while True:
            page = self._safely(functools.partial(self._call, call, page_size=_PAGE, page_token=token, **options))
            yield from getattr(page, name) or ()
            token = page.next_page_token
            if not token:
                return

    def _create(self, create: Callable[[], Any], find: Callable[[], Any]) -> Any:
        """Creates something that `find` finds; after an answer that got lost, and where it is there already, what is found."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return create()
            except (_Unreachable, ConflictError) as error:
                if attempt == ATTEMPTS:
                    raise
                if isinstance(error, _Unreachable):
                    self._pause(2 ** (attempt - 1))
                found = find()
                if found is not None:
                    return found
                if isinstance(error, ConflictError):
                    raise
        raise AssertionError("the loop ends by returning or raising")

    def _safely(self, call: Callable[[], Any]) -> Any:
        """Makes a call that may be made several times, until the API answers."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return call()
            except _Unreachable:
                if attempt == ATTEMPTS:
                    raise
                self._pause(2 ** (attempt - 1))
        raise AssertionError("the loop ends by returning or raising")

    def _call(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        try:
            answer = call(*arguments, _request_timeout=(CONNECT_SECONDS, READ_SECONDS), **options)
        except api.ApiException as error:
            raise self._explained(error) from error
        except urllib3.exceptions.HTTPError as error:
            raise _Unreachable(
                f"{self.endpoint} does not answer ({type(error).__name__}). Is Kubeflow Pipelines running, and the port forwarded?"
            ) from error
        last = self._client.last_response
        if last is not None and "html" in (last.getheader("content-type") or ""):
            # A generated client reads nothing out of a page and says nothing about it.
            raise AuthenticationFailure(
                f"{self.endpoint} answers with a web page, probably to log in, and not as the API of Kubeflow Pipelines. {AUTHENTICATION}"
            )
        return answer

    def _explained(self, error: api.ApiException) -> Exception:
        status, said = error.status, _said(error)
        if status in (301, 302, 303, 307, 308, 401):
            return AuthenticationFailure(f"{self.endpoint} wants to know who is asking (HTTP {status}). {AUTHENTICATION}")
        if status == 403:
            return AuthenticationFailure(
                f"{self.endpoint} does not allow this{_in(self.namespace)} (HTTP 403: {said}). Ask for the role kubeflow-edit there, "
                "or name another namespace with --namespace"
            )
        if status == 404:
            return NotFoundError(f"{self.endpoint} does not have that (HTTP 404: {said}). Is it the API of Kubeflow Pipelines 2?")
        if status == 409:
            return ConflictError(f"{self.endpoint} has that already (HTTP 409: {said})")
        if not status or status == 429 or status >= 500:
            return _Unreachable(
                f"{self.endpoint} failed (HTTP {status or 'error'}: {said}), {ATTEMPTS} times if it was safe to ask again"
            )
        return UsageError(f"{self.endpoint} refused this (HTTP {status}: {said})")


class _Unreachable(EnvironmentFailure):
    """The API did not answer, or said that it is not well: asking again may help."""


def is_final(run: Any) -> bool:
    """Says whether a run has ended."""
    return run.state in _FINAL


def reference(version: Any) -> Any:
    """Returns how a run or a schedule names a pipeline version."""
    return api.V2beta1PipelineVersionReference(pipeline_id=version.pipeline_id, pipeline_version_id=version.pipeline_version_id)


def _equals(key: str, value: str) -> str:
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": key, "string_value": value}]})


def _in(namespace: str) -> str:
    return f" in the namespace {namespace}" if namespace else ""


def _said(error: api.ApiException) -> str:
    """The API's own explanation, one line of it."""
    text = error.body or error.reason or ""
    try:
        body = json.loads(text)
        text = body.get("message") or body.get("error_message") or body.get("error") or text
    except (ValueError, AttributeError):
        pass
    return redact(" ".join(str(text).split()))[:300] or "no explanation"
