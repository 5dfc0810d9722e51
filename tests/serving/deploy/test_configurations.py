"""The text protos in serving/deploy, read as the server reads them."""

from __future__ import annotations

import pytest

from serving.messages import BatchingParameters, ModelServerConfig, MonitoringConfig
from serving.model_config import model_config
from serving.server.config import ModelSettings, VersionPolicy, model_settings, read_text_proto
from tests.serving.deploy import kustomize

MESSAGES = {"models.config": ModelServerConfig, "monitoring.config": MonitoringConfig, "batching.config": BatchingParameters}
MODEL_CONFIGS = {
    "base/server": ModelSettings("intents", "/models/intents"),
    "overlays/istio/stable": ModelSettings("intents", "/models/intents", VersionPolicy(0, frozenset({1}))),
    "overlays/istio/canary": ModelSettings("intents", "/models/intents", VersionPolicy(0, frozenset({2}))),
}


def read(name):
    path = kustomize.DEPLOY / name
    return read_text_proto(path, MESSAGES[path.name])


def test_every_configuration_file_is_one_of_the_messages():
    found = {path.name for path in kustomize.DEPLOY.rglob("*.config")}
    assert found == MESSAGES.keys()
    for path in kustomize.DEPLOY.rglob("*.config"):
        assert read(path.relative_to(kustomize.DEPLOY)).ByteSize() > 0


@pytest.mark.parametrize("folder", MODEL_CONFIGS)
def test_model_configs_are_what_the_generator_writes(folder):
    text = (kustomize.DEPLOY / folder / "models.config").read_text(encoding="utf-8")
    written = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
    assert written == model_config([MODEL_CONFIGS[folder]])


@pytest.mark.parametrize("folder", MODEL_CONFIGS)
def test_the_first_file_of_a_server_has_no_labels(folder):
    """Labels come when a version is loaded, see serving.model_config."""
    for model in model_settings(read(f"{folder}/models.config")):
        assert not model.labels
        assert model.base_path.startswith("/models/"), "where the volume is mounted"


def test_stable_and_canary_serve_different_versions_of_the_same_models():
    tracks = [model_settings(read(f"overlays/istio/{track}/models.config")) for track in ("stable", "canary")]
    assert [[(model.name, model.base_path) for model in track] for track in tracks][0] == [("intents", "/models/intents")]
    for stable, canary in zip(*tracks, strict=True):
        assert (stable.name, stable.base_path) == (canary.name, canary.base_path)
        assert stable.policy.specific.isdisjoint(canary.policy.specific)


def test_metrics_are_on_where_the_monitor_looks():
    prometheus = read("base/server/monitoring.config").prometheus_config
    [monitor] = kustomize.load(kustomize.DEPLOY / "overlays/monitoring/service-monitor.yaml")
    assert prometheus.enable
    assert {endpoint["path"] for endpoint in monitor["spec"]["endpoints"]} == {prometheus.path}


def test_batching_parameters_fit_together():
    batching = read("base/server/batching.config")
    sizes = list(batching.allowed_batch_sizes)
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == batching.max_batch_size.value, "the server refuses to start otherwise"
    [deployment] = kustomize.load(kustomize.DEPLOY / "base/server/deployment.yaml")
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert batching.num_batch_threads.value == int(container["resources"]["limits"]["cpu"])
