"""An API of Kubeflow Pipelines to test against, in this process.

Its addresses are those that the installed kfp-server-api asks for, its messages are made and checked with that package's models, so that
a client that strays from them fails here. It behaves like the real one where that matters to us: names of pipelines and versions are
taken once, recurring runs may share a name and cannot be changed, and deleting one ends its runs.
"""

from __future__ import annotations

import contextlib
import datetime
import email.parser
import email.policy
import http.server
import inspect
import json
import re
import threading
import urllib.parse
import uuid
from typing import Any

import kfp_server_api as api
import yaml

ANYTHING = ".*"
LOST = "lost"
"""A failure in which the request is carried out and its answer is lost."""

_CONVERTER = api.ApiClient()
_SERVICES = (
    api.ExperimentServiceApi,
    api.PipelineServiceApi,
    api.PipelineUploadServiceApi,
    api.RunServiceApi,
    api.RecurringRunServiceApi,
)


def known_routes() -> set[tuple[str, str]]:
    """Method and address of everything that the installed client can ask for."""
    sources = [inspect.getsource(inspect.getmodule(service)) for service in _SERVICES]
    return {(method, path) for source in sources for path, method in re.findall(r"'(/apis/v2beta1/[^']*)', '([A-Z]+)'", source)}


class Refused(Exception):
    """A request is answered with an error."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class FakeKfp:
    """The API, as a context manager. What it holds are the generated client's models, in dictionaries by id."""

    def __init__(self, token: str | None = None, multi_user: bool = False):
        self.token = token
        self.multi_user = multi_user
        self.experiments: dict[str, Any] = {}
        self.pipelines: dict[str, Any] = {}
        self.versions: dict[str, Any] = {}
        self.runs: dict[str, Any] = {}
        self.recurring: dict[str, Any] = {}
        self.logs: dict[str, str] = {}
        self.requests: list[tuple[str, str]] = []
        self.uploads = 0
        self.most_enabled = 0
        self.log_in_page = False
        self.behind_pages = False  # asked through the user interface, which hands on the API and serves logs itself
        self._failures: list[tuple[str, str, int | str]] = []
        self._clock = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> FakeKfp:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def fail(self, method: str, path: str, *how: int | str) -> None:
        """Answers the next fitting requests with these statuses; LOST carries one out and says nothing."""
        self._failures += [(method, path, one) for one in how]

    def heal(self) -> None:
        """Ends all failures."""
        self._failures.clear()

    def count(self, method: str, path: str) -> int:
        """How many requests came for an address."""
        return sum(found == method and re.fullmatch(path, asked) is not None for found, asked in self.requests)

    def tick(self) -> list[Any]:
        """What the controller of schedules does when their time has come: each one that is on starts a run."""
        started = []
        for recurring in self.recurring.values():
            if recurring.status == "ENABLED":
                run = api.V2beta1Run(
                    display_name=f"{recurring.display_name}-{len(self.runs)}",
                    experiment_id=recurring.experiment_id,
                    pipeline_version_reference=recurring.pipeline_version_reference,
                    runtime_config=recurring.runtime_config,
                )
                run = self._add_run(run)
                run.recurring_run_id = recurring.recurring_run_id
                started.append(run)
        return started

    def finish(self, run_id: str, state: str, tasks: dict[str, dict[str, Any]] | None = None) -> None:
        """Ends a run; `tasks` are attempts by task name: state, log by attempt."""
        run = self.runs[run_id]
        run.state = state
        run.finished_at = self._now()
        details = []
        for name, task in (tasks or {}).items():
            details += self._task(run_id, name, **task)
        run.run_details = api.V2beta1RunDetails(task_details=details)

    def _task(self, run_id: str, name: str, state: str = "SUCCEEDED", logs: list[str] | None = None) -> list[Any]:
        """A task as Argo has it: a driver, the task's node, below it `executor`, below that the attempts if there may be several."""

        def detail(display_name: str, pod: str, children: list[str]) -> Any:
            return api.V2beta1PipelineTaskDetail(
                run_id=run_id,
                task_id=str(uuid.uuid4()),
                display_name=display_name,
                state=state,
                pod_name=pod,
                create_time=self._now(),
                start_time=self._now(),
                end_time=self._now() + datetime.timedelta(seconds=1),
                child_tasks=[api.PipelineTaskDetailChildTask(pod_name=child) for child in children],
            )

        attempts = [f"{run_id[:8]}-{name}-{number}" for number in range(len(logs or []))]
        for attempt, log in zip(attempts, logs or [], strict=True):
            self.logs[attempt] = log
        node, executor = f"{run_id[:8]}-{name}", f"{run_id[:8]}-{name}-executor"
        following = f"{run_id[:8]}-next-driver"
        return [
            detail(f"{name}-driver", f"{node}-driver", [node]),
            detail(name, node, [executor]),
            detail("executor", executor, attempts),
            *(detail(f"executor({number})", attempt, [following]) for number, attempt in enumerate(attempts)),
        ]

    # What the API does, by method and address of the generated client.

    def _routes(self) -> dict[tuple[str, str], Any]:
        root = "/apis/v2beta1"
        routes = {
            ("GET", f"{root}/experiments"): lambda query, body: self._list(
                query, self.experiments, api.V2beta1ListExperimentsResponse
            ),
            ("POST", f"{root}/experiments"): self._create_experiment,
            ("GET", f"{root}/pipelines"): lambda query, body: self._list(query, self.pipelines, api.V2beta1ListPipelinesResponse),
            ("POST", f"{root}/pipelines"): self._create_pipeline,
            ("POST", f"{root}/pipelines/upload_version"): self._upload_version,
            ("GET", f"{root}/pipelines/{{pipeline_id}}/versions"): self._list_versions,
            ("GET", f"{root}/pipelines/{{pipeline_id}}/versions/{{pipeline_version_id}}"): self._get_version,
            ("GET", f"{root}/runs"): lambda query, body: self._list(query, self.runs, api.V2beta1ListRunsResponse),
            ("POST", f"{root}/runs"): self._create_run,
            ("GET", f"{root}/runs/{{run_id}}"): lambda query, body, run_id: self._get(self.runs, run_id),
            ("GET", f"{root}/recurringruns"): lambda query, body: self._list(
                query, self.recurring, api.V2beta1ListRecurringRunsResponse
            ),
            ("POST", f"{root}/recurringruns"): self._create_recurring_run,
            ("DELETE", f"{root}/recurringruns/{{recurring_run_id}}"): self._delete_recurring_run,
            ("POST", f"{root}/recurringruns/{{recurring_run_id}}:enable"): self._switch("ENABLED"),
            ("POST", f"{root}/recurringruns/{{recurring_run_id}}:disable"): self._switch("DISABLED"),
        }
        unknown = routes.keys() - known_routes()
        assert not unknown, f"the installed kfp-server-api does not ask for {unknown}"
        return routes

    def _create_experiment(self, query, body):
        experiment = _model(api.V2beta1Experiment, body)
        self._require_namespace(experiment.namespace)
        if any(other.display_name == experiment.display_name for other in self.experiments.values()):
            raise Refused(409, "an experiment of that name exists")
        experiment.experiment_id, experiment.created_at = str(uuid.uuid4()), self._now()
        self.experiments[experiment.experiment_id] = experiment
        return experiment

    def _create_pipeline(self, query, body):
        pipeline = _model(api.V2beta1Pipeline, body)
        self._require_namespace(pipeline.namespace)
        if any(other.name == pipeline.name for other in self.pipelines.values()):
            raise Refused(409, "a pipeline of that name exists")
        pipeline.pipeline_id, pipeline.created_at = str(uuid.uuid4()), self._now()
        self.pipelines[pipeline.pipeline_id] = pipeline
        return pipeline

    def _upload_version(self, query, body):
        documents = [document for document in yaml.safe_load_all(body["uploadfile"]) if document is not None]
        specification = documents[0] if len(documents) == 1 else {"pipeline_spec": documents[0], "platform_spec": documents[1]}
        self._get(self.pipelines, query["pipelineid"])
        if any(other.name == query["name"] for other in self.versions.values()):
            raise Refused(409, "Failed to create a pipeline version")
        self.uploads += 1
        version = api.V2beta1PipelineVersion(
            pipeline_id=query["pipelineid"],
            pipeline_version_id=str(uuid.uuid4()),
            name=query["name"],
            display_name=query.get("display_name", query["name"]),
            description=query.get("description"),
            created_at=self._now(),
            pipeline_spec=specification,
        )
        self.versions[version.pipeline_version_id] = version
        return version

    def _list_versions(self, query, body, pipeline_id):
        found = {key: version for key, version in self.versions.items() if version.pipeline_id == pipeline_id}
        return self._list(query, found, api.V2beta1ListPipelineVersionsResponse, needs_namespace=False)

    def _get_version(self, query, body, pipeline_id, pipeline_version_id):
        version = self._get(self.versions, pipeline_version_id)
        if version.pipeline_id != pipeline_id:
            raise Refused(404, "the version is another pipeline's")
        return version

    def _create_run(self, query, body):
        run = _model(api.V2beta1Run, body)
        self._get(self.experiments, run.experiment_id)
        self._get(self.versions, run.pipeline_version_reference.pipeline_version_id)
        return self._add_run(run)

    def _add_run(self, run):
        run.run_id, run.created_at, run.state = str(uuid.uuid4()), self._now(), "RUNNING"
        self.runs[run.run_id] = run
        return run

    def _create_recurring_run(self, query, body):
        recurring = _model(api.V2beta1RecurringRun, body)
        self._require_namespace(recurring.namespace)
        self._get(self.experiments, recurring.experiment_id)
        self._get(self.versions, recurring.pipeline_version_reference.pipeline_version_id)
        trigger = recurring.trigger
        if bool(trigger.cron_schedule) == bool(trigger.periodic_schedule):
            raise Refused(400, "a recurring run has one kind of trigger")
        if trigger.cron_schedule and len(trigger.cron_schedule.cron.split()) != 6:
            raise Refused(400, "Schedule cron is not a supported format(https://godoc.org/github.com/robfig/cron)")
        if not 1 <= int(recurring.max_concurrency) <= 10:
            raise Refused(400, "the max_concurrency of a recurring run is from 1 to 10")
        recurring.recurring_run_id, recurring.created_at = str(uuid.uuid4()), self._now()
        recurring.status = {"ENABLE": "ENABLED", "DISABLE": "DISABLED"}[recurring.mode]
        self.recurring[recurring.recurring_run_id] = recurring
        return recurring

    def _delete_recurring_run(self, query, body, recurring_run_id):
        self._get(self.recurring, recurring_run_id)
        del self.recurring[recurring_run_id]
        for run in self.runs.values():
            if run.recurring_run_id == recurring_run_id and run.state == "RUNNING":
                run.state = "FAILED"
        return {}

    def _switch(self, status):
        def switch(query, body, recurring_run_id):
            self._get(self.recurring, recurring_run_id).status = status
            return {}

        return switch

    @staticmethod
    def _get(among, key):
        if key not in among:
            raise Refused(404, f"{key} not found")
        return among[key]

    def _list(self, query, among, response, needs_namespace=True):
        if needs_namespace:
            self._require_namespace(query.get("namespace"))
        found = list(among.values())
        if "desc" in query.get("sort_by", ""):
            found.reverse()
        for predicate in json.loads(query.get("filter") or "{}").get("predicates", ()):
            _model(api.V2beta1Predicate, predicate)
            if predicate["operation"] != "EQUALS":
                raise Refused(400, f"the operation {predicate['operation']} is not known here")
            found = [entry for entry in found if getattr(entry, predicate["key"]) == predicate["string_value"]]
        size, start = int(query.get("page_size") or 10), int(query.get("page_token") or 0)
        following = str(start + size) if start + size < len(found) else ""
        [name] = response.openapi_types.keys() - {"total_size", "next_page_token"}
        return response(**{name: found[start : start + size]}, total_size=len(found), next_page_token=following)

    def _require_namespace(self, namespace):
        if self.multi_user and not namespace:
            raise Refused(400, "In multi-user mode, a namespace must be specified")

    def _now(self) -> datetime.datetime:
        self._clock += datetime.timedelta(seconds=1)
        return self._clock

    def _answer(
        self, method: str, path: str, query: dict[str, str], body: Any, authorization: str | None
    ) -> tuple[int, str, str]:
        """Status, kind and content of an answer."""
        self.requests.append((method, path))
        if self.log_in_page:
            return 200, "text/html", "<html>Log in</html>"
        how = next((entry for entry in self._failures if entry[0] == method and re.fullmatch(entry[1], path)), None)
        if how is not None:
            self._failures.remove(how)
            if isinstance(how[2], int):
                return how[2], "application/json", json.dumps({"code": 14, "message": "the database is away"})
        if self.token is not None and authorization != f"Bearer {self.token}":
            return 401, "application/json", json.dumps({"code": 16, "message": "Unauthenticated"})
        if self.behind_pages and path == "/k8s/pod/logs" and query.get("podname") in self.logs:
            return 200, "text/plain", self.logs[query["podname"]]
        if self.behind_pages and "/v1alpha1/" in path:
            return 200, "text/html", "<html>Kubeflow Pipelines</html>"
        if log := re.fullmatch(r"/apis/v1alpha1/runs/[^/]+/nodes/([^/]+)/log", path):
            found = self.logs.get(log[1])
            return (200, "text/plain", found) if found is not None else (500, "application/json", '{"error_message": "no pod"}')
        for (wanted, template), handler in self._routes().items():
            pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/:]+)", re.escape(template))
            if wanted == method and (match := re.fullmatch(pattern, path)):
                try:
                    content = _CONVERTER.sanitize_for_serialization(handler(query, body, **match.groupdict()))
                except Refused as refused:
                    return refused.status, "application/json", json.dumps({"code": 3, "message": str(refused)})
                names = [entry.display_name for entry in self.recurring.values() if entry.status == "ENABLED"]
                self.most_enabled = max([self.most_enabled, *map(names.count, names)])
                return (0 if how is not None else 200), "application/json", json.dumps(content)
        return 404, "text/plain", "Not Found"

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1  # one packet an answer

            def log_message(self, *arguments):
                pass

            def _handle(self):
                split = urllib.parse.urlsplit(self.path)
                query = dict(urllib.parse.parse_qsl(split.query))
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                kind = self.headers.get("Content-Type", "")
                body = _multipart(kind, content) if kind.startswith("multipart/") else json.loads(content or b"{}")
                status, kind, text = fake._answer(
                    self.command, urllib.parse.unquote(split.path), query, body, self.headers.get("authorization")
                )
                if status == 0:
                    self.close_connection = True
                    with contextlib.suppress(OSError):
                        self.connection.close()
                    return
                data = text.encode()
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
                self.wfile.flush()

            do_GET = do_POST = do_DELETE = _handle

        return Handler


def _multipart(kind: str, content: bytes) -> dict[str, str]:
    parser = email.parser.BytesParser(policy=email.policy.HTTP)
    message = parser.parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + content)
    return {
        part.get_param("name", header="content-disposition"): part.get_payload(decode=True).decode()
        for part in message.iter_parts()
    }


def _model(model: type, values: dict[str, Any]) -> Any:
    """Reads a message as the API does: a field it does not know is an error."""
    if unknown := values.keys() - set(model.attribute_map.values()):
        raise Refused(400, f"unknown field {sorted(unknown)[0]!r} in {model.__name__}")
    for name, kind in model.openapi_types.items():
        value = values.get(model.attribute_map[name])
        if isinstance(value, dict) and hasattr(api, kind) and getattr(api, kind).openapi_types:
            _model(getattr(api, kind), value)

    class Response:
        data = json.dumps(values)

    return _CONVERTER.deserialize(Response, model.__name__)
