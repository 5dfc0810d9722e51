"""The command `parlance schema`."""

import json

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import statistics_pb2

from pipeline import cli, results

SCHEMA = """\
# Curated by hand.
feature { name: "text" type: BYTES }
feature { name: "intent" type: BYTES string_domain { value: "refund" } not_in_environment: "SERVING" }  # what they want
"""
STATISTICS = """
datasets { num_examples: 100
  features { path { step: "text" } type: STRING string_stats { common_stats { num_non_missing: 100 } } }
  features { path { step: "intent" } type: STRING string_stats { common_stats { num_non_missing: 100 }
    rank_histogram { buckets { label: "refund" sample_count: 60 } buckets { label: "cancel" sample_count: 40 } } } }
}
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with a pipeline file, its schema, and one run that saw a new class; made the working directory."""
    (tmp_path / "schema.pbtxt").write_text(SCHEMA)
    (tmp_path / "t.yaml").write_text(
        "name: t\ndata: {source: {type: csv, path: t.csv}, text: text, label: intent}\nschema: schema.pbtxt\n"
        "model: {encoder: ngrams}\nevaluation: {gates: [{metric: accuracy, min: 0.5}]}\n"
    )
    statistics = tmp_path / "statistics" / "Split-train"
    statistics.mkdir(parents=True)
    proto = text_format.Parse(STATISTICS, statistics_pb2.DatasetFeatureStatisticsList())
    (statistics / "FeatureStats.pb").write_bytes(proto.SerializeToString())
    run = results.Results({"run_id": "t-1"}, {}, {("StatisticsGen", "statistics"): statistics.parent})
    monkeypatch.setattr(results, "every", lambda node, root, name: [run] if (node, name) == ("StatisticsGen", "t") else [])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_diff_lists_changes_and_exits_with_1(project, capsys):
    assert cli.main(["schema", "diff", "t.yaml"]) == 1
    shown = capsys.readouterr().out
    assert "intent/value=cancel  add the value 'cancel'  (40 rows)" in shown
    assert "parlance schema update t.yaml --accept ID" in shown


@pytest.mark.parametrize("which", [["--accept", "intent/value=cancel"], ["--all"]])
def test_update_writes_the_line_and_nothing_else(project, capsys, which):
    assert cli.main(["schema", "update", "t.yaml", *which]) == 0
    assert (project / "schema.pbtxt").read_text() == SCHEMA.replace('value: "refund"', 'value: "refund" value: "cancel"')
    assert "wrote 1 change to schema.pbtxt" in capsys.readouterr().out
    assert cli.main(["schema", "diff", "t.yaml"]) == 0
    assert "fits" in capsys.readouterr().out


def test_an_unknown_id_changes_nothing_and_names_the_nearest(project, capsys):
    assert cli.main(["schema", "update", "t.yaml", "--accept", "intent/value=cancle"]) == 2
    assert "did you mean 'intent/value=cancel'" in capsys.readouterr().err
    assert (project / "schema.pbtxt").read_text() == SCHEMA


def test_a_value_of_rows_that_were_set_aside_is_proposed(project, capsys, monkeypatch):
    [run] = results.every("StatisticsGen", "", "t")
    broken = {"rows": {"domain": 7}, "least": None, "most": None, "values": {"complain": 7}, "unnamed": 0, "elsewhere": {}}
    (project / "examples").mkdir()
    summary = {"rows": {"train": 100, "quarantined": 7}, "broken_rules": {"intent": broken}, "new_columns": ["colour"]}
    (project / "examples" / "summary.json").write_text(json.dumps(summary))
    run.artifacts["ExampleGen", "examples"] = project / "examples"
    assert cli.main(["schema", "diff", "t.yaml"]) == 1
    shown = capsys.readouterr().out
    assert "intent/value=complain  add the value 'complain'  (7 rows, 7 of them set aside)" in shown
    assert "! Column 'colour' of the table is not in the schema" in shown


def test_json(project, capsys):
    assert cli.main(["schema", "diff", "t.yaml", "--output", "json"]) == 1
    shown = json.loads(capsys.readouterr().out)
    assert [change["id"] for change in shown["changes"]] == ["intent/value=cancel"]
    assert (shown["run_id"], shown["accepted"]) == ("t-1", [])


def test_without_a_run_it_says_how_to_make_one(project, capsys, monkeypatch):
    monkeypatch.setattr(results, "every", lambda *_: [])
    assert cli.main(["schema", "diff", "t.yaml"]) == 2
    assert "`parlance run` makes one" in capsys.readouterr().err
