"""What would be applied to a cluster: valid, consistent, safe, and in step with what TensorFlow Serving does."""

from __future__ import annotations

import copy
import pathlib
import re
import shutil

import jsonschema
import kubernetes_validate
import pytest

from serving.server.flags import parse_flags
from tests.serving.deploy import custom_resources, kustomize
from tests.serving.deploy.test_kustomize import add_batching

# The oldest release whose pods can sleep before they stop without an entry in its feature gates, and the newest one known.
KUBERNETES = ["1.30", kubernetes_validate.latest_version()]
SERVERS = ["base", "overlays/dev", "overlays/production", "overlays/istio"]
METRICS_PATH = "/monitoring/prometheus/metrics"


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> dict[str, list[kustomize.Object]]:
    """The objects by overlay; `batching` is production with the component."""
    tree = pathlib.Path(shutil.copytree(kustomize.DEPLOY, tmp_path_factory.mktemp("batching") / "deploy"))
    add_batching(tree)
    objects = {overlay: kustomize.build(kustomize.DEPLOY / overlay) for overlay in kustomize.OVERLAYS}
    return {**objects, "batching": kustomize.build(tree / "overlays/production")}


def of_kind(objects, kind):
    return [object_ for object_ in objects if object_["kind"] == kind]


def by_name(objects, kind, name):
    [found] = [object_ for object_ in of_kind(objects, kind) if object_["metadata"]["name"] == name]
    return found


def pods(objects):
    """The pod templates by the names of their Deployments."""
    return {object_["metadata"]["name"]: object_["spec"]["template"] for object_ in of_kind(objects, "Deployment")}


def server(pod):
    [container] = pod["spec"]["containers"]
    return container


def selects(selector, labels):
    return selector.items() <= labels.items()


def configuration(objects, pod, path):
    """The content of a file that a pod finds at a path, from its ConfigMap."""
    folder, _, name = path.rpartition("/")
    [volume] = [mount["name"] for mount in server(pod)["volumeMounts"] if mount["mountPath"] == folder]
    [source] = [volume_["configMap"]["name"] for volume_ in pod["spec"]["volumes"] if volume_["name"] == volume]
    return by_name(objects, "ConfigMap", source)["data"][name]


def memory(quantity):
    number, unit = re.fullmatch(r"([0-9]+)(Mi|Gi)", quantity).groups()
    return int(number) * (2**20 if unit == "Mi" else 2**30)


def cpus(quantity):
    return float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)


def validate(object_, version):
    """Holds an object against the schema of its kind; a field that the schema does not know is an error."""
    if schema := custom_resources.SCHEMAS.get(object_["kind"]):
        jsonschema.validate(object_, schema)
    else:
        kubernetes_validate.validate(object_, version, strict=True)


class TestSchemas:
    @pytest.mark.parametrize("overlay", [*kustomize.OVERLAYS, "batching"])
    @pytest.mark.parametrize("version", KUBERNETES)
    def test_every_object_is_valid(self, built, overlay, version):
        for object_ in built[overlay]:
            validate(object_, version)

    @pytest.mark.parametrize(
        ("overlay", "kind", "path"),
        [
            ("base", "Deployment", ("spec", "template", "spec", "securityContext", "runAsRoot")),
            ("base", "HorizontalPodAutoscaler", ("spec", "minReplica")),
            ("base", "NetworkPolicy", ("spec", "ingres")),
            ("overlays/istio", "VirtualService", ("spec", "http", 1, "route", 0, "weigth")),
            ("overlays/istio", "DestinationRule", ("spec", "trafficPolicy", "loadBalancing")),
            ("overlays/monitoring", "ServiceMonitor", ("spec", "endpoints", 0, "scrapeInterval")),
            ("overlays/monitoring", "PrometheusRule", ("spec", "groups", 0, "rules", 0, "severity")),
        ],
    )
    def test_a_misspelt_field_is_noticed(self, built, overlay, kind, path):
        object_ = copy.deepcopy(of_kind(built[overlay], kind)[0])
        place = object_
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = 1
        with pytest.raises(jsonschema.ValidationError):
            validate(object_, KUBERNETES[-1])


@pytest.mark.parametrize("overlay", [*SERVERS, "batching"])
class TestReferences:
    def test_what_is_named_exists(self, built, overlay):
        present = {kustomize.identity(object_) for object_ in built[overlay]}
        for object_ in built[overlay]:
            for kind, place, key in kustomize.references(object_):
                assert (kind, place[key]) in present

    def test_volumes_are_mounted_and_mounts_are_volumes(self, built, overlay):
        for pod in pods(built[overlay]).values():
            volumes = [volume["name"] for volume in pod["spec"]["volumes"]]
            assert sorted(volumes) == sorted(mount["name"] for mount in server(pod)["volumeMounts"])

    def test_selectors_find_the_pods_and_only_their_own(self, built, overlay):
        labels = {name: pod["metadata"]["labels"] for name, pod in pods(built[overlay]).items()}
        for deployment in of_kind(built[overlay], "Deployment"):
            found = {name for name in labels if selects(deployment["spec"]["selector"]["matchLabels"], labels[name])}
            assert found == {deployment["metadata"]["name"]}
        for budget in of_kind(built[overlay], "PodDisruptionBudget"):
            assert [name for name in labels if selects(budget["spec"]["selector"]["matchLabels"], labels[name])] == [
                "tensorflow-serving"
            ]
        for service in of_kind(built[overlay], "Service"):
            assert all(selects(service["spec"]["selector"], found) for found in labels.values())

    def test_ports_are_those_of_the_server(self, built, overlay):
        for pod in pods(built[overlay]).values():
            ports = {port["name"]: port["containerPort"] for port in server(pod)["ports"]}
            options, _ = parse_flags(server(pod)["args"])
            assert ports == {"grpc": options.port, "http-rest": options.rest_api_port}
            for service in of_kind(built[overlay], "Service"):
                for port in service["spec"]["ports"]:
                    # Istio takes the protocol from the port's name.
                    assert port["name"] == port["targetPort"]
                    assert port["port"] == ports[port["targetPort"]]

    def test_all_objects_are_in_one_namespace(self, built, overlay):
        [namespace] = of_kind(built[overlay], "Namespace")
        others = {object_["metadata"]["namespace"] for object_ in built[overlay] if object_ is not namespace}
        assert others == {namespace["metadata"]["name"]}


@pytest.mark.parametrize("overlay", [*SERVERS, "batching"])
class TestSafety:
    def test_the_image_is_pinned(self, built, overlay):
        [images] = kustomize.load(kustomize.DEPLOY / "base/server/kustomization.yaml")
        [raw] = kustomize.load(kustomize.DEPLOY / "base/server/deployment.yaml")
        [image] = images["images"]
        for pod in [*pods(built[overlay]).values(), raw["spec"]["template"]]:
            assert server(pod)["image"] == f"{image['name']}:{image['newTag']}"
            assert re.fullmatch(r"tensorflow/serving:[0-9]+\.[0-9]+\.[0-9]+", server(pod)["image"])

    def test_pods_hold_to_the_restricted_standard(self, built, overlay):
        [namespace] = of_kind(built[overlay], "Namespace")
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
        for pod in pods(built[overlay]).values():
            spec, context = pod["spec"], server(pod)["securityContext"]
            assert spec["securityContext"]["runAsNonRoot"] is True
            assert spec["securityContext"]["runAsUser"] > 0
            assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert not context.get("privileged")
            assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
            assert {next(iter(volume.keys() - {"name"})) for volume in spec["volumes"]} <= {
                "configMap",
                "persistentVolumeClaim",
                "emptyDir",
            }

    def test_servers_cannot_change_models_or_configuration_and_have_no_token(self, built, overlay):
        for pod in pods(built[overlay]).values():
            assert [mount["name"] for mount in server(pod)["volumeMounts"] if not mount.get("readOnly")] == ["tmp"]
            assert pod["spec"]["automountServiceAccountToken"] is False
        [account] = of_kind(built[overlay], "ServiceAccount")
        assert account["automountServiceAccountToken"] is False

    def test_resources_are_limited(self, built, overlay):
        for pod in pods(built[overlay]).values():
            requests, limits = (server(pod)["resources"][kind] for kind in ("requests", "limits"))
            assert requests.keys() == limits.keys() == {"cpu", "memory", "ephemeral-storage"}
            assert cpus(requests["cpu"]) <= cpus(limits["cpu"])
            assert all(memory(requests[name]) <= memory(limits[name]) for name in ("memory", "ephemeral-storage"))

    def test_network_policies_select_every_pod_and_let_nobody_in_by_default(self, built, overlay):
        policies = {object_["metadata"]["name"]: object_["spec"] for object_ in of_kind(built[overlay], "NetworkPolicy")}
        for pod in pods(built[overlay]).values():
            for policy in policies.values():
                assert selects(policy["podSelector"]["matchLabels"], pod["metadata"]["labels"])
        assert policies["tensorflow-serving"]["policyTypes"] == ["Ingress", "Egress"]
        assert policies["tensorflow-serving"]["egress"] == []
        for policy in policies.values():
            for rule in [*policy.get("ingress", []), *policy.get("egress", [])]:
                assert rule["ports"]
                # An absent or empty list of peers means everyone.
                assert rule.get("from") or rule.get("to")
                for peer in [*rule.get("from", []), *rule.get("to", [])]:
                    assert peer.get("podSelector") or peer.get("namespaceSelector")
        named = {port["port"] for rule in policies["tensorflow-serving"]["ingress"] for port in rule["ports"]}
        assert named == {port["name"] for pod in pods(built[overlay]).values() for port in server(pod)["ports"]}


@pytest.mark.parametrize("overlay", [*SERVERS, "batching"])
class TestServer:
    def test_its_flags_are_tensorflow_servings_and_mean_something(self, built, overlay):
        for pod in pods(built[overlay]).values():
            assert server(pod)["command"] == ["/usr/bin/tensorflow_model_server"]
            options, warnings = parse_flags(server(pod)["args"])
            assert not warnings
            names = [argument.partition("=")[0] for argument in server(pod)["args"]]
            assert len(names) == len(set(names))
            assert options.num_load_threads >= 2
            assert options.load_retry_interval_micros <= 1_000_000
            assert options.allow_version_labels_for_unavailable_models
            assert options.enable_model_warmup
            assert options.model_config_file_poll_wait_seconds > 0

    def test_its_files_are_where_the_flags_say(self, built, overlay):
        for pod in pods(built[overlay]).values():
            options, _ = parse_flags(server(pod)["args"])
            for path in (options.model_config_file, options.monitoring_config_file, options.batching_parameters_file):
                assert not path or configuration(built[overlay], pod, path)
            assert bool(options.batching_parameters_file) == options.enable_batching == (overlay == "batching")

    def test_a_new_model_config_restarts_nobody_and_new_settings_do(self, built, overlay):
        for pod in pods(built[overlay]).values():
            maps = {volume["name"]: volume["configMap"]["name"] for volume in pod["spec"]["volumes"] if "configMap" in volume}
            assert maps["model-config"] in ("model-config", "model-config-canary")
            assert re.fullmatch(r"server-config(-canary)?-[0-9a-z]{10}", maps["server-config"])
            # A file mounted by itself is never updated.
            assert not any("subPath" in mount for mount in server(pod)["volumeMounts"])

    def test_threads_are_counted_from_the_containers_cpus(self, built, overlay):
        for pod in pods(built[overlay]).values():
            options, _ = parse_flags(server(pod)["args"])
            limit = cpus(server(pod)["resources"]["limits"]["cpu"])
            assert options.intra_op_threads == options.inter_op_threads == limit

    def test_probes_fit_the_server(self, built, overlay):
        for pod in pods(built[overlay]).values():
            container = server(pod)
            # The port opens when all models are loaded; a model may take minutes.
            assert container["startupProbe"]["tcpSocket"] == {"port": "grpc"}
            assert container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"] >= 300
            options, _ = parse_flags(container["args"])
            models = re.findall(r'name: "(.*?)"', configuration(built[overlay], pod, options.model_config_file))
            assert container["readinessProbe"]["httpGet"]["path"] in [f"/v1/models/{name}/metadata" for name in models]
            assert container["livenessProbe"]["httpGet"]["path"] == METRICS_PATH
            liveness, readiness = (
                container[probe]["periodSeconds"] * container[probe]["failureThreshold"]
                for probe in ("livenessProbe", "readinessProbe")
            )
            assert liveness > 2 * readiness, "a server that is only slow is taken out, not killed"

    def test_clients_are_gone_before_it_stops(self, built, overlay):
        for pod in pods(built[overlay]).values():
            options, _ = parse_flags(server(pod)["args"])
            arguments = dict(options.channel_arguments)
            sleep = server(pod)["lifecycle"]["preStop"]["sleep"]["seconds"]
            connection = arguments["grpc.max_connection_age_ms"] / 1000 * 1.1
            cached_by_dns = 30
            assert connection + cached_by_dns < sleep
            assert sleep + arguments["grpc.max_connection_age_grace_ms"] / 1000 < pod["spec"]["terminationGracePeriodSeconds"]


class TestReplicas:
    @pytest.mark.parametrize("overlay", ["base", "overlays/production", "overlays/istio"])
    def test_the_autoscaler_alone_sets_them(self, built, overlay):
        [scaler] = of_kind(built[overlay], "HorizontalPodAutoscaler")
        deployment = by_name(built[overlay], "Deployment", scaler["spec"]["scaleTargetRef"]["name"])
        assert "replicas" not in deployment["spec"], "every apply would reset them"
        assert 2 <= scaler["spec"]["minReplicas"] < scaler["spec"]["maxReplicas"]
        [budget] = of_kind(built[overlay], "PodDisruptionBudget")
        assert budget["spec"]["maxUnavailable"] < scaler["spec"]["minReplicas"]

    def test_dev_is_one_server(self, built):
        assert not of_kind(built["overlays/dev"], "HorizontalPodAutoscaler")
        assert not of_kind(built["overlays/dev"], "PodDisruptionBudget")
        [deployment] = of_kind(built["overlays/dev"], "Deployment")
        assert deployment["spec"]["replicas"] == 1

    def test_production_is_spread_over_nodes_and_zones(self, built):
        [pod] = pods(built["overlays/production"]).values()
        spread = {rule["topologyKey"]: rule for rule in pod["spec"]["topologySpreadConstraints"]}
        assert spread.keys() == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
        assert spread["kubernetes.io/hostname"]["whenUnsatisfiable"] == "DoNotSchedule"
        assert all(selects(rule["labelSelector"]["matchLabels"], pod["metadata"]["labels"]) for rule in spread.values())

    def test_an_update_takes_no_server_away_first(self, built):
        for overlay in SERVERS:
            for deployment in of_kind(built[overlay], "Deployment"):
                assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


class TestIstio:
    def test_subsets_are_the_two_deployments(self, built):
        objects = built["overlays/istio"]
        [rule] = of_kind(objects, "DestinationRule")
        labels = {name: pod["metadata"]["labels"] for name, pod in pods(objects).items()}
        found = {
            subset["name"]: [name for name in labels if selects(subset["labels"], labels[name])]
            for subset in rule["spec"]["subsets"]
        }
        assert found == {"stable": ["tensorflow-serving"], "canary": ["tensorflow-serving-canary"]}

    def test_every_route_leads_to_a_subset_and_shares_add_up(self, built):
        objects = built["overlays/istio"]
        [rule], [virtual] = of_kind(objects, "DestinationRule"), of_kind(objects, "VirtualService")
        subsets = {(rule["spec"]["host"], subset["name"]) for subset in rule["spec"]["subsets"]}
        for http in virtual["spec"]["http"]:
            assert {(route["destination"]["host"], route["destination"]["subset"]) for route in http["route"]} <= subsets
            assert sum(route.get("weight", 100) for route in http["route"]) == 100
        # The one with a client's own choice comes first; the last one takes everything.
        assert ["match" in http for http in virtual["spec"]["http"]] == [True, False]
        service = by_name(objects, "Service", rule["spec"]["host"])
        assert service["spec"].get("clusterIP") != "None", "the split needs the mesh to balance"

    def test_the_proxy_outlasts_the_sleep_before_stopping(self, built):
        for pod in pods(built["overlays/istio"]).values():
            annotation = pod["metadata"]["annotations"]["proxy.istio.io/config"]
            drain = int(re.fullmatch(r"terminationDrainDuration: ([0-9]+)s", annotation).group(1))
            assert server(pod)["lifecycle"]["preStop"]["sleep"]["seconds"] < drain <= pod["spec"]["terminationGracePeriodSeconds"]
            assert pod["metadata"]["labels"]["sidecar.istio.io/inject"] == "true"
