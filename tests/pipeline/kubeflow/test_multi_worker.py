"""A package whose Trainer hands its work to machines that train together, and one that trains on all accelerators of a pod."""

import json

import pytest
import yaml

from tests.pipeline.kubeflow import manifests

pytestmark = pytest.mark.tensorflow

JOBS = "/parlance/training"


def compile_package(config):
    from pipeline.kubeflow import check, compiler

    text = compiler.compile_package(config)
    findings = [finding for finding in check.check(text) if finding.severity == "error"]
    assert not findings
    spec, platform = yaml.safe_load_all(text)
    return spec, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-trainer"]


def trainer_options(spec):
    """What the Trainer's step will be told of the model."""
    from pipeline.kubeflow import step_argument

    words = spec["deploymentSpec"]["executors"]["exec-trainer"]["container"]["args"]
    [node] = step_argument.unpack(words[words.index("--ir") + 1]).nodes
    parameters = node.pipeline_node.parameters.parameters
    return json.loads(parameters["custom_config"].field_value.string_value)["model"]


@pytest.fixture(scope="module")
def handed_over(tickets):
    return compile_package(
        tickets(
            f"model.distribution={{strategy: multi_worker, jobs: {JOBS}}}", "model.batch_size=512", "kubeflow.image=parlance:1"
        )
    )


class TestMultiWorker:
    def test_the_step_hands_over_to_the_folder_that_the_members_watch(self, handed_over, tmp_path):
        spec, _ = handed_over
        model = trainer_options(spec)
        assert model["distribution"] == {"strategy": "multi_worker", "jobs": JOBS}
        assert model["batch_size"] == 512
        pods = manifests.pods(manifests.build(manifests.tree(tmp_path), "overlays/training"))
        [member] = pods["parlance-training"]["spec"]["containers"]
        assert member["args"] == [JOBS]

    def test_the_step_sees_that_folder(self, handed_over, tmp_path):
        _, trainer = handed_over
        mounts = {mount["constant"]: mount["mountPath"] for mount in trainer["pvcMount"]}
        pods = manifests.pods(manifests.build(manifests.tree(tmp_path), "overlays/training"))
        pod = pods["parlance-training"]["spec"]
        [member] = pod["containers"]
        claims = {
            volume["name"]: volume["persistentVolumeClaim"]["claimName"]
            for volume in pod["volumes"]
            if "persistentVolumeClaim" in volume
        }
        shared = {claims[mount["name"]]: mount["mountPath"] for mount in member["volumeMounts"] if mount["name"] in claims}
        # One volume under one path, because a job names files by path.
        [claim] = [claim for claim, path in mounts.items() if JOBS.startswith(path + "/")]
        assert shared[claim] == mounts[claim]


def test_mirrored_trains_on_all_accelerators_of_the_pod(tickets):
    spec, _ = compile_package(
        tickets("model.distribution=mirrored", "model.precision=mixed_bfloat16", "kubeflow.nodes.Trainer={gpu: {count: 2}}",
                "kubeflow.image=parlance:1")
    )  # fmt: skip
    model = trainer_options(spec)
    assert (model["distribution"]["strategy"], model["precision"]) == ("mirrored", "mixed_bfloat16")
    resources = spec["deploymentSpec"]["executors"]["exec-trainer"]["container"]["resources"]
    assert resources["accelerator"]["resourceCount"] == "2"
