"""Two processes that train together, beside one that trains alone on the same rows with the same steps."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from components.errors import UsageError
from components.training import examples, jobs
from components.training.distribution import Distribution
from components.training.examples import Share
from components.training.options import DistributionOptions
from components.transform.columns import Columns
from components.validation import schema_file

pytestmark = pytest.mark.tensorflow

PROJECT = pathlib.Path(__file__).resolve().parents[3]
WAIT_SECONDS = 600

# Every step sees all rows, and nothing is left to chance, so that the same losses must come out however the rows are dealt out.
EXACT = {
    "batch_size": 512,
    "epochs": 3,
    "dropout": 0.0,
    "encoder": {"name": "ngrams", "dropout": 0.0},
    "class_weights": "balanced",
    "learning_rate": 0.01,
    "top_k": 2,
}


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Members:
    """Two processes that wait for a training, as a cluster's pods do."""

    def __init__(self, folder, ports):
        self.folder = folder
        self.processes = []
        self.deadline = time.monotonic() + WAIT_SECONDS
        for index in range(2):
            cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
            environment = {
                **os.environ,
                "TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}}),
                "TF_NUM_INTRAOP_THREADS": "1",
            }
            with open(folder / f"member-{index}.log", "wb") as log:
                self.processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "components.training.member", folder / "jobs"],
                        env=environment,
                        cwd=PROJECT,
                        stdout=log,
                        stderr=log,
                    )
                )

    def wait(self, seconds):
        """Waits, but not for processes that have failed or take too long."""
        time.sleep(seconds)
        assert time.monotonic() < self.deadline, self.logs()
        assert not any(process.poll() for process in self.processes), self.logs()

    def end(self):
        """Waits for both, which are done, and returns their exit codes."""
        try:
            return [process.wait(60) for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()
                process.wait()

    def logs(self):
        return "\n".join((self.folder / f"member-{index}.log").read_text()[-3000:] for index in range(2))


@pytest.fixture(scope="module")
def together(tiny_run, tmp_path_factory):
    """A training by two processes, handed over as the Trainer does it."""
    folder = tmp_path_factory.mktemp("members")
    members = Members(folder, free_ports(2))
    distribution = {"strategy": "multi_worker", "jobs": str(folder / "jobs")}
    try:
        jobs.hand_over(
            jobs.Job.of(tiny_run.arguments("together", **EXACT, distribution=distribution)), str(folder / "jobs"), members.wait
        )
    finally:
        codes = members.end()
    assert codes == [0, 0], members.logs()
    return tiny_run.folder / "together", members


@pytest.fixture(scope="module")
def alone(tiny_run):
    """The same by this process, as its only replica."""
    return tiny_run.train("alone", **EXACT, distribution="mirrored")


def record(folder):
    return json.loads((folder / "run" / "training.json").read_text())


def losses(folder):
    """Training loss by epoch, from TensorBoard's log."""
    [log] = (folder / "run" / "train").glob("events.*")
    found = {}
    for event in tf.compat.v1.train.summary_iterator(str(log)):
        for value in event.summary.value:
            if value.tag == "epoch_loss":
                found[event.step] = float(tf.make_ndarray(value.tensor))
    return [found[step] for step in sorted(found)]


@pytest.mark.timeout(2 * WAIT_SECONDS)
class TestTwoProcesses:
    def test_have_the_losses_of_one(self, together, alone):
        mine, other = losses(together[0]), losses(alone)
        assert len(mine) == EXACT["epochs"]
        np.testing.assert_allclose(mine, other, rtol=1e-4)
        assert mine[-1] < 0.9 * mine[0]

    def test_have_the_eval_loss_and_classes_of_one(self, together, alone):
        mine, other = record(together[0]), record(alone)
        assert mine["eval_loss"] == pytest.approx(other["eval_loss"], rel=1e-4)
        for name in ("epochs", "best_epoch", "rows", "classes", "parameters", "eval_accuracy"):
            assert mine[name] == other[name]
        assert (mine["replicas"], other["replicas"]) == (2, 1)

    def test_export_the_model_of_one(self, together, alone, tiny_run, as_example):
        rows = tf.constant([as_example(row) for row in tiny_run.rows["eval"]])
        scores = [
            tf.saved_model.load(str(folder / "model")).signatures["evaluation"](inputs=rows)["scores"].numpy()
            for folder in (together[0], alone)
        ]
        np.testing.assert_allclose(*scores, atol=1e-3)

    def test_only_the_chief_writes(self, together):
        folder, members = together
        assert not list((members.folder / "jobs").iterdir())
        assert len(list((folder / "run" / "train").glob("events.*"))) == 1


COPIES = """
import json
import sys
import types

import tensorflow as tf

[cpu] = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from components.training import trainer

for arguments in json.load(sys.stdin):
    trainer.run_fn(types.SimpleNamespace(**arguments))
"""


@pytest.fixture(scope="module")
def copies(tiny_run):
    """The same by a process of two devices, and a training in half precision there."""
    jobs_of_it = [
        vars(tiny_run.arguments("copies", **EXACT, distribution="mirrored")),
        vars(tiny_run.arguments("half", **{**EXACT, "epochs": 12}, distribution="mirrored", precision="mixed_float16")),
    ]
    ran = subprocess.run(
        [sys.executable, "-c", COPIES],
        input=json.dumps(jobs_of_it),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return tiny_run.folder / "copies", tiny_run.folder / "half"


class TestTwoDevices:
    """Copies of the network in one process."""

    def test_have_the_losses_of_one(self, copies, alone):
        np.testing.assert_allclose(losses(copies[0]), losses(alone), rtol=1e-4)
        assert (record(copies[0])["replicas"], record(alone)["replicas"]) == (2, 1)

    def test_export_the_model_of_one(self, copies, alone, tiny_run, as_example):
        rows = tf.constant([as_example(row) for row in tiny_run.rows["eval"]])
        scores = [
            tf.saved_model.load(str(folder / "model")).signatures["evaluation"](inputs=rows)["scores"].numpy()
            for folder in (copies[0], alone)
        ]
        np.testing.assert_allclose(*scores, atol=1e-3)

    def test_learn_in_half_precision(self, copies):
        half = losses(copies[1])
        assert np.isfinite(half).all()
        assert half[-1] < 0.9 * half[0]


class TestShares:
    """Of the train split in one file, and in four."""

    @pytest.fixture
    def files(self, tiny_run, tmp_path):
        rows = tiny_run.rows["train"]
        for number in range(4):
            with tf.io.TFRecordWriter(str(tmp_path / f"part-{number}.gz"), "GZIP") as writer:
                for record in tf.data.TFRecordDataset(str(tiny_run.folder / "train.gz"), "GZIP").shard(4, number):
                    writer.write(record.numpy())
        assert len(rows) % 4
        return {"one file": [str(tiny_run.folder / "train.gz")], "four files": [str(tmp_path / "part-*.gz")]}

    @pytest.mark.parametrize("name", ["one file", "four files"])
    @pytest.mark.parametrize("readers", [2, 3])
    def test_are_the_split_and_no_row_twice(self, tiny_run, files, name, readers):
        columns = Columns.of(schema_file.parse(tiny_run.schema_text), tiny_run.text, tiny_run.label)
        read = [
            sorted(
                price
                for pool in examples.transformed_pools(files[name], columns, identity, 0, True, Share(readers, index))
                for price in pool["price"].numpy().tolist()
            )
            for index in range(readers)
        ]
        expected = sorted(np.float32(row["price"]) for row in tiny_run.rows["train"])
        assert sorted(price for share in read for price in share) == expected
        # The last row of the train split is a copy of the first, but for its label.
        assert sum(len(set(share)) for share in read) <= len(set(expected)) + 1
        assert max(map(len, read)) - min(map(len, read)) <= (1 if name == "one file" or readers == 3 else 2)


def identity(features):
    return {"price": features["price"].values, "label": tf.zeros([tf.size(features["price"].values)], tf.int64)}


class TestOneMachine:
    def test_has_the_losses_that_it_has_without_a_strategy(self, alone, tiny_run):
        plain = losses(tiny_run.train("plain", **EXACT))
        np.testing.assert_allclose(losses(alone), plain, rtol=1e-4)

    def test_counts_are_its_own(self):
        counts = np.array([1, 2])
        distribution = Distribution(DistributionOptions())
        assert distribution.total(counts) is counts
        assert not distribution.is_distributed

    def test_a_step_has_as_many_rows_for_each_replica(self):
        distribution = Distribution(DistributionOptions())
        distribution.replicas = 3
        assert distribution.batch_of_replica(255) == 85
        with pytest.raises(UsageError, match="on all 3 replicas together.*received 256, the nearest is 255"):
            distribution.batch_of_replica(256)
