import json

import pytest

from components.errors import UsageError
from components.training.cluster import Cluster


def config(cluster, kind, index):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


TWO = {"worker": ["a:1", "b:1"]}
WITH_CHIEF = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}


class TestMembers:
    @pytest.mark.parametrize(
        ("cluster", "kind", "index", "expected"),
        [
            (TWO, "worker", 0, Cluster(2, 0)),
            (TWO, "worker", 1, Cluster(2, 1)),
            (WITH_CHIEF, "chief", 0, Cluster(3, 0)),
            (WITH_CHIEF, "worker", 0, Cluster(3, 1)),
            (WITH_CHIEF, "worker", 1, Cluster(3, 2)),
        ],
    )
    def test_are_counted_from_the_chief(self, cluster, kind, index, expected):
        found = Cluster.of(config(cluster, kind, index))
        assert found == expected
        assert found.is_chief == (expected.index == 0)


class TestMistakes:
    @pytest.mark.parametrize(
        ("environment", "message"),
        [
            ({}, "needs the variable TF_CONFIG on each of them, e.g. {"),
            ({"TF_CONFIG": "not JSON"}, "does not name a cluster and a task; received 'not JSON'"),
            ({"TF_CONFIG": "[]"}, "does not name a cluster and a task"),
            ({"TF_CONFIG": '{"cluster": {"worker": ["a:1"]}}'}, "does not name a cluster and a task"),
            (config({"worker": ["a:1"], "ps": ["b:1"]}, "worker", 0), r"has `chief` and `worker` only; received \['ps'\]"),
            (config({"chief": ["a:1", "b:1"]}, "chief", 0), "has one chief; received 2"),
            (config(TWO, "worker", 2), "the task 'worker' 2 is not in the cluster"),
            (config(TWO, "worker", "0"), "the task 'worker' '0' is not in the cluster"),
            (config(TWO, "chief", 0), "the task 'chief' 0 is not in the cluster"),
        ],
    )
    def test_say_what_to_write(self, environment, message):
        with pytest.raises(UsageError, match=message):
            Cluster.of(environment)
