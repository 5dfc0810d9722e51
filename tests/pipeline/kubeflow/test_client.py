"""The client against an API made of kfp-server-api's own models: what it asks for, and what it makes of every kind of answer."""

from __future__ import annotations

import json

import kfp_server_api as api
import pytest
import yaml

from components.errors import EnvironmentFailure, UsageError
from pipeline.kubeflow import client as client_module
from pipeline.kubeflow.client import AuthenticationFailure, Client, ConflictError, NotFoundError
from pipeline.kubeflow.connection import Connection
from pipeline.kubeflow.package import Package
from tests.pipeline.kubeflow.fake_kfp import ANYTHING, LOST, FakeKfp
from tests.pipeline.kubeflow.packages import package_text

pytestmark = pytest.mark.usefixtures("no_cluster")


@pytest.fixture
def pauses() -> list[float]:
    """The seconds that the client waited."""
    return []


@pytest.fixture
def client(kfp, pauses) -> Client:
    return connected(kfp, pauses)


def connected(kfp, pauses=None, **connection) -> Client:
    client = client_module.connect(Connection(kfp.endpoint, **connection))
    client._pause = (pauses if pauses is not None else []).append
    return client


PACKAGE = Package.parse(package_text(), "a test")


class TestVersions:
    def test_the_same_package_is_uploaded_once(self, client, kfp):
        first, uploaded = client.ensure_version(PACKAGE)
        again, uploaded_again = client.ensure_version(PACKAGE)
        assert (uploaded, uploaded_again, kfp.uploads) == (True, False, 1)
        assert first.pipeline_version_id == again.pipeline_version_id
        [version] = kfp.versions.values()
        assert [version.pipeline_spec["pipeline_spec"], version.pipeline_spec["platform_spec"]] == list(
            yaml.safe_load_all(PACKAGE.text)
        )

    def test_another_package_is_another_version_of_the_same_pipeline(self, client, kfp):
        client.ensure_version(PACKAGE)
        client.ensure_version(Package.parse(package_text(image="other"), "a test"))
        assert len(kfp.pipelines) == 1
        assert len({version.name for version in kfp.versions.values()}) == 2

    def test_a_version_without_our_description_is_compared_by_content(self, client, kfp):
        client.ensure_version(PACKAGE)
        [version] = kfp.versions.values()
        version.description = None
        assert client.ensure_version(PACKAGE)[1] is False

    def test_a_version_of_our_name_with_another_content_is_a_conflict(self, client, kfp):
        client.ensure_version(PACKAGE)
        [version] = kfp.versions.values()
        version.description, version.pipeline_spec = "by hand", {"pipelineInfo": {"name": "other"}}
        with pytest.raises(ConflictError, match=f"{PACKAGE.version} that is not what was compiled here"):
            client.ensure_version(PACKAGE)

    def test_somebody_else_uploads_it_meanwhile(self, client, kfp, monkeypatch):
        """It is not there when one looks, and there when one uploads it."""
        version, _ = client.ensure_version(PACKAGE)
        look, looks = client._version, []

        def too_early(*arguments):
            looks.append(arguments)
            return None if len(looks) == 1 else look(*arguments)

        monkeypatch.setattr(client, "_version", too_early)
        assert client.ensure_version(PACKAGE)[0].pipeline_version_id == version.pipeline_version_id
        assert (len(looks), kfp.uploads) == (2, 1)

    def test_in_a_shared_kubeflow_everything_is_in_the_users_namespace(self, pauses):
        with FakeKfp(multi_user=True) as kfp:
            with pytest.raises(UsageError, match="a namespace must be specified"):
                connected(kfp).ensure_version(PACKAGE)
            client = connected(kfp, namespace="team")
            version, _ = client.ensure_version(PACKAGE)
            client.start(version, client.experiment("intents"), "intents", {})
            assert {entry.namespace for entry in (*kfp.pipelines.values(), *kfp.experiments.values())} == {"team"}


class TestRuns:
    def start(self, client, **parameters):
        version, _ = client.ensure_version(PACKAGE)
        return client.start(version, client.experiment("intents"), "intents", parameters, "runner")

    def test_a_run_has_its_version_parameters_and_account(self, client, kfp):
        run = self.start(client, epochs=3)
        [kept] = kfp.runs.values()
        assert kept.run_id == run.run_id
        assert kept.runtime_config.parameters == {"epochs": 3}
        assert kept.service_account == "runner"
        assert kept.pipeline_version_reference.pipeline_version_id in kfp.versions
        assert client.specification(run) == client.specification(kept) != {}

    def test_runs_have_names_of_their_own(self, client, kfp):
        assert self.start(client).display_name != self.start(client).display_name
        assert len(kfp.experiments) == 1

    def test_an_answer_that_is_lost_starts_no_second_run(self, client, kfp, pauses):
        kfp.fail("POST", "/apis/v2beta1/runs", LOST)
        run = self.start(client)
        assert list(kfp.runs) == [run.run_id]
        assert pauses == [1]

    def test_all_pages_are_read(self, client, kfp, monkeypatch):
        monkeypatch.setattr(client_module, "_PAGE", 2)
        started = [self.start(client).run_id for _ in range(5)]
        assert [run.run_id for run in client.runs()] == started[::-1]
        assert kfp.count("GET", "/apis/v2beta1/runs") == 3

    def test_are_found_by_id_name_beginning_and_latest(self, client, kfp):
        first, second = self.start(client), self.start(client)
        for run in (first.run_id, first.display_name, first.run_id[:8]):
            assert client.find_run(run).run_id == first.run_id
        assert client.find_run("latest").run_id == second.run_id
        with pytest.raises(NotFoundError, match="Several runs are called 'intents'"):
            client.find_run("intents")
        with pytest.raises(NotFoundError, match=f"No run is called 'x' at .*{second.display_name}"):
            client.find_run("x")

    def test_a_log_comes_from_the_api_or_is_not_there(self, client, kfp):
        kfp.logs["pod-1"] = "line\n"
        assert client.log("some-run", "pod-1") == "line\n"
        assert client.log("some-run", "pod-2") is None

    def test_a_log_comes_through_the_user_interface_too(self, client, kfp):
        kfp.behind_pages = True
        kfp.logs["pod-1"] = "line\n"
        assert client.log("some-run", "pod-1") == "line\n"
        assert client.log("some-run", "pod-2") is None


class TestFailures:
    def test_what_may_be_repeated_is_repeated_with_growing_pauses(self, client, kfp, pauses):
        kfp.fail("GET", "/apis/v2beta1/runs", 503, 500, 502, 429)
        assert list(client.runs()) == []
        assert pauses == [1, 2, 4, 8]

    def test_but_not_for_ever(self, client, kfp, pauses):
        kfp.fail("GET", "/apis/v2beta1/runs", *[503] * 10)
        with pytest.raises(EnvironmentFailure, match="failed .HTTP 503: the database is away., 5 times"):
            list(client.runs())
        assert kfp.count("GET", "/apis/v2beta1/runs") == client_module.ATTEMPTS

    def test_creating_is_repeated_after_looking(self, client, kfp):
        kfp.fail("POST", "/apis/v2beta1/pipelines", 500)
        kfp.fail("POST", "/apis/v2beta1/pipelines/upload_version", LOST)
        client.ensure_version(PACKAGE)
        assert (len(kfp.pipelines), len(kfp.versions), kfp.uploads) == (1, 1, 1)

    def test_nobody_listens(self, pauses):
        with FakeKfp() as kfp:
            client = connected(kfp, pauses)
        with pytest.raises(EnvironmentFailure, match="does not answer .*Is Kubeflow Pipelines running"):
            list(client.runs())
        assert len(pauses) == client_module.ATTEMPTS - 1

    @pytest.mark.parametrize(
        ("status", "error", "message"),
        [
            (401, AuthenticationFailure, "wants to know who is asking .*--token-file"),
            (302, AuthenticationFailure, "wants to know who is asking .HTTP 302"),
            (403, AuthenticationFailure, "does not allow this .*kubeflow-edit.*--namespace"),
            (404, NotFoundError, "does not have that"),
            (400, UsageError, "refused this .HTTP 400: the database is away"),
        ],
    )
    def test_every_kind_of_answer_is_explained(self, client, kfp, pauses, status, error, message):
        kfp.fail("GET", ANYTHING, status)
        with pytest.raises(error, match=message):
            list(client.runs())
        assert not pauses

    def test_a_page_to_log_in_is_not_an_empty_list(self, client, kfp):
        kfp.log_in_page = True
        with pytest.raises(AuthenticationFailure, match="answers with a web page"):
            list(client.runs())

    def test_exit_codes(self):
        assert issubclass(AuthenticationFailure, EnvironmentFailure)
        assert issubclass(NotFoundError, UsageError)


class TestAuthentication:
    def test_the_token_is_read_again_for_every_call(self, tmp_path):
        file = tmp_path / "token"
        file.write_text("old\n")
        with FakeKfp(token="old") as kfp:
            client = connected(kfp, token_file=str(file))
            list(client.runs())
            kfp.token = "new"
            file.write_text("new\n")
            list(client.runs())
            kfp.logs["pod"] = "text"
            assert client.log("run", "pod") == "text"
            kfp.token = "newer"
            with pytest.raises(AuthenticationFailure):
                list(client.runs())

    def test_a_pods_token_needs_no_argument(self, tmp_path, monkeypatch):
        (tmp_path / "token").write_text("projected")
        monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
        with FakeKfp(token="projected") as kfp:
            list(connected(kfp).runs())

    def test_the_sdks_own_file_gives_namespace_and_header(self, tmp_path):
        context = tmp_path / ".config" / "kfp" / "context.json"
        context.parent.mkdir(parents=True)
        settings = {
            "namespace": "team",
            "client_authentication_header_name": "authorization",
            "client_authentication_header_value": "Bearer x",
        }
        context.write_text(json.dumps(settings))
        with FakeKfp(token="x", multi_user=True) as kfp:
            client = connected(kfp)
            assert client.namespace == "team"
            list(client.runs())

    @pytest.mark.parametrize("content", [None, ""])
    def test_a_token_file_that_holds_none_is_named(self, tmp_path, content):
        file = tmp_path / "token"
        if content is not None:
            file.write_text(content)
        with pytest.raises(UsageError, match=f"The token file {file} (cannot be read|is empty)"):
            client_module.connect(Connection("http://localhost:1", token_file=str(file)))


def test_a_server_that_is_newer_than_the_client_is_understood(kfp, client):
    """States and fields that the installed models do not know."""
    version, _ = client.ensure_version(PACKAGE)
    run = client.start(version, client.experiment("intents"), "intents", {})
    kfp.runs[run.run_id].state = "RESTING"
    assert client.run(run.run_id).state == "RESTING"
    assert not client_module.is_final(api.V2beta1Run(state="RESTING"))
