"""Where the API is found when nobody says it, and what is said about addresses and files that will not do."""

from __future__ import annotations

import pytest
import yaml

from components.errors import UsageError
from pipeline.kubeflow import client as client_module
from pipeline.kubeflow.connection import Connection

pytestmark = pytest.mark.usefixtures("no_cluster")


class TestConnection:
    def test_arguments_win_over_the_environment_and_ours_over_the_sdks(self):
        environment = {"PARLANCE_KFP_ENDPOINT": "http://a", "KF_PIPELINES_ENDPOINT": "http://b", "PARLANCE_KFP_NAMESPACE": "n"}
        assert Connection.of(environment=environment) == Connection("http://a", "n")
        assert Connection.of("http://c", environment=environment).endpoint == "http://c"
        del environment["PARLANCE_KFP_ENDPOINT"]
        assert Connection.of(environment=environment).endpoint == "http://b"

    def test_in_a_pod_it_is_the_clusters(self, monkeypatch):
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
        assert client_module.connect(Connection()).endpoint == "http://ml-pipeline.kubeflow.svc.cluster.local:8888"

    def test_else_it_is_kubectls(self, tmp_path, monkeypatch):
        cluster = {"clusters": [{"name": "c", "cluster": {"server": "https://kube:6443"}}]}
        user = {"users": [{"name": "u", "user": {"token": "t"}}]}
        context = {"contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}], "current-context": "x"}
        (tmp_path / "config").write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", **cluster, **user, **context}))
        # kubernetes.config reads its location when it is imported.
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config"))
        client = client_module.connect(Connection())
        assert client.endpoint == "https://kube:6443/api/v1/namespaces/kubeflow/services/ml-pipeline:http/proxy"
        assert client._client.configuration.auth_settings()["Bearer"]["value"] == "Bearer t"

    def test_without_any_of_them_it_says_how_to_name_one(self, monkeypatch):
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", "/nowhere")
        with pytest.raises(UsageError, match="Name its API with --endpoint .*port-forward"):
            client_module.connect(Connection())

    @pytest.mark.parametrize("endpoint", ["localhost:8888", "ftp://x", "http://"])
    def test_an_endpoint_has_a_scheme(self, endpoint):
        with pytest.raises(UsageError, match="begins with http:// or https://"):
            client_module.connect(Connection(endpoint))

    def test_an_address_copied_from_the_browser_will_do(self):
        assert client_module.connect(Connection("http://kfp.example/#/runs")).endpoint == "http://kfp.example"

    def test_certificates_that_are_not_there(self):
        with pytest.raises(UsageError, match="no file of certificates /nowhere"):
            client_module.connect(Connection("https://x", ca_file="/nowhere"))
