"""What is installed beside Kubeflow Pipelines: valid, consistent with what is compiled, and with no right too many."""

from __future__ import annotations

import copy
import importlib.util
import json
import subprocess

import kubernetes_validate
import pytest
import yaml

from components.training import cluster
from pipeline.kubeflow import options, prepare
from tests.pipeline.kubeflow import manifests
from tests.serving.deploy import kustomize
from tests.serving.deploy.test_kustomize import REAL

# Kubeflow Pipelines 2.17 asks for nothing newer than the first of these.
KUBERNETES = ["1.30", kubernetes_validate.latest_version()]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> dict[str, list[kustomize.Object]]:
    """The objects by overlay."""
    return {
        overlay: manifests.build(manifests.tree(tmp_path_factory.mktemp("deploy")), overlay) for overlay in manifests.OVERLAYS
    }


def one(objects, kind, name):
    [found] = [object_ for object_ in objects if kustomize.identity(object_) == (kind, name)]
    return found


@pytest.mark.skipif(REAL is None, reason="needs kustomize or kubectl")
@pytest.mark.parametrize("overlay", manifests.OVERLAYS)
def test_kustomize_builds_the_same(built, overlay, tmp_path):
    shown = subprocess.run([*REAL, str(manifests.tree(tmp_path) / overlay)], capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert not shown.stderr, "warnings, for instance of what is deprecated"
    real = {kustomize.identity(object_): object_ for object_ in yaml.safe_load_all(shown.stdout)}
    ours = {kustomize.identity(object_): object_ for object_ in built[overlay]}
    assert ours == real


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("overlay", manifests.OVERLAYS)
class TestSchemas:
    def test_objects_are_valid(self, built, overlay, version):
        for object_ in built[overlay]:
            kubernetes_validate.validate(object_, version, strict=True)

    def test_a_misspelt_field_is_noticed(self, built, overlay, version):
        job = copy.deepcopy(one(built[overlay], "Job", "parlance-prepare"))
        job["spec"]["backOffLimit"] = job["spec"].pop("backoffLimit")
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(job, version, strict=True)


@pytest.mark.parametrize("overlay", manifests.OVERLAYS)
class TestTogether:
    def test_names_are_those_that_a_pipeline_file_assumes(self, built, overlay):
        assumed = options.KubeflowOptions()
        secret = one(built[overlay], "Secret", assumed.metadata.secret.name)
        assert assumed.metadata.secret.key in secret["data"]
        claim = one(built[overlay], "PersistentVolumeClaim", assumed.volume.claim)
        assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
        [container] = manifests.pods(built[overlay])["parlance-prepare"]["spec"]["containers"]
        assert container["image"] == assumed.image
        arguments = dict(zip(container["args"][::2], container["args"][1::2], strict=True))
        assert arguments == {"--metadata": assumed.metadata.url, "--volume": assumed.volume.mount}
        assert container["command"] == ["python", "-m", prepare.__name__]
        [variable] = container["env"]
        assert variable["name"] == options.METADATA_PASSWORD

    def test_what_is_named_is_there(self, built, overlay):
        there = {kustomize.identity(object_) for object_ in built[overlay]}
        for pod in manifests.pods(built[overlay]).values():
            specification = pod["spec"]
            assert ("ServiceAccount", specification["serviceAccountName"]) in there
            for container in specification["containers"]:
                for variable in container["env"]:
                    reference = variable.get("valueFrom", {}).get("secretKeyRef")
                    assert reference is None or ("Secret", reference["name"]) in there
                volumes = {volume["name"] for volume in specification["volumes"]} | {"data"}
                assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            for volume in specification["volumes"]:
                claim = volume.get("persistentVolumeClaim")
                assert claim is None or ("PersistentVolumeClaim", claim["claimName"]) in there

    def test_pods_run_under_the_restricted_standard(self, built, overlay):
        for pod in manifests.pods(built[overlay]).values():
            context = pod["spec"]["securityContext"]
            assert context["runAsNonRoot"] is True
            assert context["runAsUser"] > 0
            assert context["seccompProfile"] == {"type": "RuntimeDefault"}
            for container in pod["spec"]["containers"]:
                assert container["securityContext"]["allowPrivilegeEscalation"] is False
                assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
                assert container["securityContext"]["readOnlyRootFilesystem"] is True
                assert container["resources"]["limits"]["memory"]

    def test_rights_are_few_and_named(self, built, overlay):
        [role] = [object_ for object_ in built[overlay] if object_["kind"] in ("Role", "ClusterRole")]
        assert role["kind"] == "Role"
        for rule in role["rules"]:
            words = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert "*" not in words
            assert not {"list", "watch", "delete", "update", "deletecollection", "escalate", "bind"} & set(rule["verbs"])
            if set(rule["resources"]) & {"secrets", "configmaps"}:
                assert rule["resourceNames"], "not every secret of the namespace"
        [binding] = [object_ for object_ in built[overlay] if object_["kind"] == "RoleBinding"]
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "parlance-run", "namespace": "kubeflow"}]
        assert one(built[overlay], "ServiceAccount", "parlance-prepare")["automountServiceAccountToken"] is False

    def test_the_real_password_is_in_no_file_of_the_project(self, built, overlay):
        assert not (manifests.DEPLOY / "base" / "metadata.env").exists()
        assert (manifests.DEPLOY / "base" / ".gitignore").read_text() == "metadata.env\n"
        assert (manifests.DEPLOY / "base" / "metadata.env.example").read_text() == "password=replace-me\n"


class TestDatabase:
    def test_it_answers_under_the_name_that_a_pipeline_file_assumes(self, built):
        objects, assumed = built["overlays/database"], options.MetadataOptions()
        service = one(objects, "Service", assumed.host)
        [pod] = [pod for name, pod in manifests.pods(objects).items() if name == "parlance-mysql"]
        assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
        assert [port["port"] for port in service["spec"]["ports"]] == [assumed.port]
        [container] = pod["spec"]["containers"]
        environment = {variable["name"]: variable for variable in container["env"]}
        assert environment["MARIADB_DATABASE"]["value"] == assumed.database
        assert environment["MARIADB_USER"]["value"] == assumed.user
        reference = environment["MARIADB_PASSWORD"]["valueFrom"]["secretKeyRef"]
        assert (reference["name"], reference["key"]) == (assumed.secret.name, assumed.secret.key)

    def test_only_pods_of_runs_and_the_job_reach_it(self, built):
        objects = built["overlays/database"]
        policy = one(objects, "NetworkPolicy", "parlance-mysql")["spec"]
        database = manifests.pods(objects)["parlance-mysql"]["metadata"]["labels"]
        assert policy["podSelector"]["matchLabels"].items() <= database.items()
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        assert policy["egress"] == []
        [rule] = policy["ingress"]
        peers = [peer["podSelector"]["matchLabels"] for peer in rule["from"]]
        assert peers[0] == {"pipelines.kubeflow.org/v2_component": "true"}
        assert peers[1].items() <= manifests.pods(objects)["parlance-prepare"]["metadata"]["labels"].items()
        assert all(peer.keys() == {"podSelector"} for peer in rule["from"]), "this namespace only"

    def test_base_brings_none(self, built):
        assert [kustomize.identity(object_) for object_ in built["base"] if object_["kind"] in ("StatefulSet", "Service")] == []


class TestTraining:
    def test_members_find_each_other_and_the_jobs(self, built):
        objects = built["overlays/training"]
        [members] = [object_ for object_ in objects if object_["kind"] == "StatefulSet"]
        service = one(objects, "Service", members["spec"]["serviceName"])
        assert service["spec"]["selector"].items() <= members["spec"]["template"]["metadata"]["labels"].items()
        [container] = members["spec"]["template"]["spec"]["containers"]
        assert container["image"] == options.KubeflowOptions().image
        [prepared] = manifests.pods(objects)["parlance-prepare"]["spec"]["containers"]
        assert container["image"] == prepared["image"]
        assert container["args"][0].startswith(options.VolumeOptions().mount + "/")
        config = next(variable["value"] for variable in container["env"] if variable["name"] == cluster.VARIABLE)
        port = service["spec"]["ports"][0]["port"]
        name = members["metadata"]["name"]
        expected = [f"{name}-{index}.{service['metadata']['name']}:{port}" for index in range(members["spec"]["replicas"])]
        assert json.loads(config.replace("$(MEMBER)", "0"))["cluster"] == {"worker": expected}
        own = [cluster.Cluster.of({cluster.VARIABLE: config.replace("$(MEMBER)", str(index))}) for index in (0, 1)]
        assert [member.is_chief for member in own] == [True, False]

    def test_the_program_is_there(self, built):
        [container] = manifests.pods(built["overlays/training"])["parlance-training"]["spec"]["containers"]
        *python, module = container["command"]
        assert python == ["python", "-m"]
        assert importlib.util.find_spec(module)
