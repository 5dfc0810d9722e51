"""Whether a TensorFlow Serving of another version knows the ops of a SavedModel."""

import re

import pytest

from components.errors import EnvironmentFailure, UsageError
from components.findings import Severity
from components.release import op_check
from components.release.options import SmokeTestOptions
from serving.messages import SavedModel

TARGET = op_check.Target("2.20", frozenset({"AddV2", "PartitionedCall", "Placeholder"}), graph_def_version=2288, min_producer=5)


def graph(saved, *ops, **versions):
    """Adds a graph with a node of each op, and version numbers."""
    added = saved.meta_graphs.add().graph_def
    added.versions.producer = versions.get("producer", 2288)
    added.versions.min_consumer = versions.get("min_consumer", 0)
    added.versions.bad_consumers.extend(versions.get("bad_consumers", ()))
    for number, op in enumerate(ops):
        added.node.add(name=f"node_{number}", op=op)
    return added


def function(definition, name, *ops):
    added = definition.library.function.add()
    added.signature.name = name
    for number, op in enumerate(ops):
        added.node_def.add(name=f"{name}_{number}", op=op)


@pytest.fixture
def check(tmp_path):
    def check(saved):
        (tmp_path / "saved_model.pb").write_bytes(saved.SerializeToString())
        ops, version = op_check.check(tmp_path, TARGET)
        assert (ops.check, version.check) == (op_check.RULE_OPS, op_check.RULE_GRAPH)
        return ops, version

    return check


class TestOps:
    def test_that_are_all_known_pass(self, check):
        saved = SavedModel()
        function(graph(saved, "Placeholder", "PartitionedCall"), "body", "AddV2", "AddV2")
        ops, _ = check(saved)
        assert ops.severity is Severity.INFO
        assert ops.message == "TensorFlow Serving 2.20 knows all 3 ops of the model"

    @pytest.mark.parametrize("inside", [False, True], ids=["in the graph", "in a function"])
    def test_that_are_unknown_are_named_with_a_node(self, check, inside):
        saved = SavedModel()
        definition = graph(saved, "AddV2", *([] if inside else ["OpOfTomorrow"]))
        if inside:
            function(definition, "body", "OpOfTomorrow")
        ops, _ = check(saved)
        assert ops.severity is Severity.ERROR
        assert f"does not know 1 of the model's 2 ops: OpOfTomorrow (node {'body_0' if inside else 'node_1'})" in ops.message

    def test_of_every_graph_count(self, check):
        saved = SavedModel()
        graph(saved, "AddV2")
        graph(saved, "OpOfTomorrow")
        assert check(saved)[0].severity is Severity.ERROR

    def test_a_call_of_the_graphs_own_function_is_none(self, check):
        saved = SavedModel()
        function(graph(saved, "body"), "body", "AddV2")
        assert check(saved)[0].severity is Severity.INFO

    def test_that_are_many_are_counted(self, check):
        saved = SavedModel()
        graph(saved, *(f"Op{number}" for number in range(9)))
        assert check(saved)[0].message.count("(node ") == 5
        assert " and 4 more. " in check(saved)[0].message


class TestGraphVersion:
    @pytest.mark.parametrize(
        ("versions", "told"),
        [
            ({"producer": 2474}, None),
            ({"min_consumer": 2288}, None),
            ({"min_consumer": 2289}, "asks for a runtime that reads version 2289"),
            ({"producer": 4}, "it is of version 4, and the oldest that is read is 5"),
            ({"bad_consumers": [7, 2288]}, "names this very version"),
        ],
    )
    def test_is_held_against_what_the_runtime_reads(self, check, versions, told):
        saved = SavedModel()
        graph(saved, "AddV2", **versions)
        _, version = check(saved)
        assert (version.severity is Severity.ERROR) == (told is not None)
        assert (told or "takes the model's graph") in version.message


class TestUnreadable:
    @pytest.mark.parametrize("content", [None, b"\xff\xff\xff"], ids=["missing", "damaged"])
    def test_model_is_no_verdict_but_a_failure(self, tmp_path, content):
        if content is not None:
            (tmp_path / "saved_model.pb").write_bytes(content)
        with pytest.raises(EnvironmentFailure, match="must be a SavedModel"):
            op_check.check(tmp_path, TARGET)


class TestLists:
    def test_versions_are_in_the_order_of_numbers(self):
        assert op_check.versions() == ("2.19", "2.20")

    @pytest.mark.parametrize("version", op_check.versions())
    def test_each_says_where_it_is_from_and_is_sorted(self, version):
        text = (op_check._LISTS / f"{version}.txt").read_text()
        names = [line for line in text.splitlines() if not line.startswith("#")]
        assert names == sorted(set(names))
        assert re.search(rf"^# Origin: .*tensorflow-cpu {version}\.\d+ .*\n.*SHA-256 of the wheel: [0-9a-f]{{64}}\.$", text, re.M)
        known = op_check.target(version)
        assert known.ops == set(names)
        assert {"AddV2", "ParseExampleV2", "StatefulPartitionedCall", "LookupTableFindV2"} <= known.ops
        assert (known.graph_def_version, known.min_producer) > (2000, -1)

    def test_a_newer_one_knows_what_an_older_one_does(self):
        older, newer = (op_check.target(version) for version in op_check.versions())
        assert older.ops < newer.ops
        assert newer.ops - older.ops >= {"DecodeWebP"}
        assert older.graph_def_version < newer.graph_def_version

    def test_there_is_none_for_a_version_nobody_dumped(self):
        with pytest.raises(UsageError, match=r"received '1\.15'. Listed: 2\.19, 2\.20"):
            op_check.target("1.15")


class TestOption:
    @pytest.mark.parametrize("written", ["2.20", 2.2], ids=["quoted", "as the number that YAML makes of it"])
    def test_takes_a_listed_version(self, written):
        assert SmokeTestOptions(tf_serving=written).tf_serving == "2.20"

    def test_refuses_another_and_lists_those_there_are(self):
        with pytest.raises(ValueError, match=r"must be a version whose ops are listed: 2\.19, 2\.20; received '2\.50'"):
            SmokeTestOptions(tf_serving=2.5)
