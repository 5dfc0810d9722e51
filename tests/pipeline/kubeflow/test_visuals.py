import dataclasses
import html.parser
import json
import math

import pytest
from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2

from pipeline.kubeflow import options, visuals
from tests.components.reporting import runs

SECRET = "my card is in this message"


def entry(node_id, state="complete", **more):
    return {"id": node_id, "state": state, "seconds": 1.25, "summary": {}, "execution_id": 7, **more}


def evaluator(folder, report, state="complete"):
    """The outcome of an evaluation of a made-up run."""
    folder.mkdir(exist_ok=True)
    for name in ("metrics", "confusion", "verdict"):
        (folder / f"{name}.json").write_text(json.dumps(getattr(report, name)))
    return visuals.Outcome(
        node=entry("Evaluator", state, summary={"accuracy": 0.9, "blessed": True}),
        run_id="run-1",
        pipeline="intents",
        inputs={"model": ["/parlance/Trainer/model/6"]},
        outputs={"evaluation": ["/parlance/Evaluator/evaluation/7"]},
        files={"evaluation": [str(folder)]},
        peak_mib=812.4,
    )


def test_every_node_has_numbers_and_a_note():
    for node_id in options.NODES:
        assert {"metrics": visuals.METRICS, "summary": visuals.MARKDOWN}.items() <= visuals.outputs_of(node_id).items()
    assert set(visuals.OUTPUTS) <= set(options.NODES)


class TestMetrics:
    def test_are_key_numbers_time_memory_and_what_was_evaluated(self, tmp_path):
        report = runs.intents()
        numbers = visuals.metrics(evaluator(tmp_path, report))
        overall = report.metrics["candidate"]["slices"][0]["metrics"]
        assert numbers["accuracy"] == overall["accuracy"]
        assert numbers["baseline_accuracy"] == report.metrics["baseline"]["slices"][0]["metrics"]["accuracy"]
        assert numbers["seconds"] == 1.25
        assert numbers["peak_mib"] == 812
        assert numbers["tfx_execution_id"] == 7
        assert numbers["cached"] == 0

    @pytest.mark.parametrize("sample", [runs.taxi, runs.without_values, runs.other_labels])
    def test_are_finite_numbers_and_nothing_else(self, tmp_path, sample):
        numbers = visuals.metrics(evaluator(tmp_path, sample()))
        assert all(type(value) is float and math.isfinite(value) for value in numbers.values())

    def test_of_a_sample_have_its_share(self):
        assert visuals.metrics(visuals.Outcome(entry("StatisticsGen"), "r", "p", sample=0.1))["sample"] == 0.1

    def test_leave_out_text_and_name_without_spaces(self):
        outcome = visuals.Outcome(entry("SchemaImport", summary={"model inputs": 3, "baseline": "none yet"}), "r", "p")
        numbers = visuals.metrics(outcome)
        assert numbers["model_inputs"] == 3
        assert "baseline" not in numbers


class TestSummary:
    def test_of_an_evaluation_says_the_verdict_with_what_failed_first(self, tmp_path):
        report = runs.rejected_model()
        text = visuals.summary(evaluator(tmp_path, report))
        assert "### Rejected: the gate said no" in text
        rows = [line for line in text.splitlines() if line.startswith("| ") and "limit" not in line]
        verdicts = [row for row in rows if row.split(" | ")[0].strip("| ") in ("**failed**", "**warning**", "passed")]
        assert verdicts[0].startswith("| **failed** |")

    def test_says_where_the_artifacts_are(self, tmp_path):
        text = visuals.summary(evaluator(tmp_path, runs.intents()))
        assert "/parlance/Evaluator/evaluation/7" in text
        assert "| execution in ML Metadata | 7 |" in text

    def test_of_a_failure_quotes_the_error_line_by_line(self):
        text = visuals.summary(visuals.Outcome(entry("DataGate", "failed", error="first\nsecond"), "r", "p"))
        assert "> first\n> second\n" in text
        assert text.startswith("## DataGate: failed")

    def test_of_a_stopped_run_has_the_gates_findings(self):
        findings = [{"check": "quarantine", "severity": "error", "subject": "", "message": "too many rows", "observed": "9 %"}]
        text = visuals.summary(visuals.Outcome(entry("DataGate", "failed", error="no"), "r", "p", findings=findings))
        assert "| **failed** | quarantine |" in text
        assert "too many rows" in text

    def test_names_from_data_are_text_not_markup(self, tmp_path):
        report = runs.hostile()
        text = visuals.summary(evaluator(tmp_path, report))
        assert "<script" not in text
        assert "<img" not in text
        table = [line for line in text.splitlines() if line.startswith("|") and line.count("|") > 4]
        assert {line.count("|") for line in table} == {7}

    def test_of_a_sample_says_so_before_anything_else(self):
        text = visuals.summary(visuals.Outcome(entry("StatisticsGen"), "r", "p", sample=0.1))
        assert text.splitlines()[2] == "**10 % sample** of the rows"
        assert "sample" not in visuals.summary(visuals.Outcome(entry("StatisticsGen"), "r", "p"))

    def test_of_a_smoke_test_says_its_result(self, tmp_path):
        result = {"state": "failed", "summary": "wrong answers", "findings": []}
        (tmp_path / visuals.SMOKE_TEST).write_text(json.dumps(result))
        text = visuals.summary(visuals.Outcome(entry("InfraValidator"), "r", "p", files={"blessing": [str(tmp_path)]}))
        assert "### Smoke test: wrong answers" in text


class TestClassification:
    METRICS = {"labels": ["off", "on"], "candidate": {}}

    def test_matrix_has_names_and_true_classes_as_rows(self):
        matrix = visuals.classification(self.METRICS, {"candidate": [[[0, 0, 5], [0, 1, 2], [1, 1, 7]]]})["confusionMatrix"]
        assert matrix["annotationSpecs"] == [{"displayName": "off"}, {"displayName": "on"}]
        assert matrix["rows"] == [{"row": [5, 2]}, {"row": [0, 7]}]

    def test_rows_without_a_known_class_have_a_class_of_their_own(self):
        matrix = visuals.classification(self.METRICS, {"candidate": [[[0, 0, 5], [2, 1, 3], [1, 2, 4]]]})["confusionMatrix"]
        assert matrix["annotationSpecs"][2] == {"displayName": "(unseen in training) (no usable scores)"}
        assert matrix["rows"] == [{"row": [5, 0, 0]}, {"row": [0, 0, 4]}, {"row": [0, 3, 0]}]

    def test_of_many_classes_those_without_mistakes_stand_together(self):
        n = visuals.MATRIX_CLASSES + 10
        cells = [[index, index, 10] for index in range(n)] + [[n - 1, n - 2, 6], [0, n - 1, 5]]
        matrix = visuals.classification({"labels": [f"c{i}" for i in range(n)], "candidate": {}}, {"candidate": [cells]})[
            "confusionMatrix"
        ]
        names = [spec["displayName"] for spec in matrix["annotationSpecs"]]
        assert len(names) == visuals.MATRIX_CLASSES
        assert {"c0", f"c{n - 1}", f"c{n - 2}", visuals.OTHERS} <= set(names)
        rows = [row["row"] for row in matrix["rows"]]
        assert {len(row) for row in rows} == {len(names)}
        assert sum(map(sum, rows)) == 10 * n + 11
        assert rows[names.index(f"c{n - 1}")][names.index(f"c{n - 2}")] == 6
        assert rows[-1][-1] == 10 * (n - visuals.MATRIX_CLASSES + 1)

    def test_two_classes_have_a_roc_curve_from_the_strictest_threshold_on(self):
        report = runs.taxi()
        curve = visuals.classification(report.metrics, report.confusion)["confidenceMetrics"]
        assert set(curve[0]) == {"confidenceThreshold", "recall", "falsePositiveRate"}
        thresholds = [point["confidenceThreshold"] for point in curve]
        assert thresholds == sorted(thresholds, reverse=True)
        recalls = [point["recall"] for point in curve]
        assert recalls == sorted(recalls)
        assert recalls[-1] == 1.0
        assert len(curve) <= visuals.CURVE_POINTS + 1

    def test_many_classes_have_none(self):
        report = runs.intents()
        assert "confidenceMetrics" not in visuals.classification(report.metrics, report.confusion)

    def test_there_is_none_without_an_evaluation(self):
        assert visuals.classification(None, None) == {}


class References(html.parser.HTMLParser):
    """What a page would fetch or lead to."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found += [value for name, value in attributes if name in ("src", "href") and not value.startswith("#")]


class TestReport:
    @pytest.mark.parametrize("sample", [runs.intents, runs.many_slices, runs.rejected_model])
    def test_of_an_evaluation_is_one_file_that_leads_nowhere(self, tmp_path, sample):
        page = visuals.of_node(evaluator(tmp_path, sample()))["report"].content
        assert 'id="confusion"' in page
        assert References(page).found == []
        assert "page of its own" not in page
        assert "a page each" not in page

    def test_of_a_sample_says_so(self, tmp_path):
        outcome = dataclasses.replace(evaluator(tmp_path, runs.intents()), sample=0.1)
        assert "10 % sample" in visuals.of_node(outcome)["report"].content.partition("<h1>")[0]

    def test_does_not_claim_that_the_run_is_over(self, tmp_path):
        page = visuals.of_node(evaluator(tmp_path, runs.intents()))["report"].content
        assert "made while the run was going on" in page
        assert "not pushed" not in page

    def test_of_statistics_shows_no_messages(self, tmp_path):
        statistics = statistics_pb2.DatasetFeatureStatisticsList()
        dataset = statistics.datasets.add(num_examples=50)
        for name, value in (("text", SECRET), ("language", "de")):
            feature = dataset.features.add(name=name, type=statistics_pb2.FeatureNameStatistics.STRING)
            feature.string_stats.common_stats.num_non_missing = 50
            feature.string_stats.unique = 1
            feature.string_stats.top_values.add(value=value, frequency=50)
        (tmp_path / "Split-train").mkdir()
        (tmp_path / "Split-train" / "FeatureStats.pb").write_bytes(statistics.SerializeToString())
        outcome = visuals.Outcome(entry("StatisticsGen"), "r", "p", files={"statistics": [str(tmp_path)]}, text_columns=["text"])
        made = visuals.of_node(outcome)
        assert "language" in made["report"].content
        assert not any(SECRET in visual.content for visual in made.values())

    def test_of_anomalies_says_column_and_kind_and_quotes_no_value(self, tmp_path):
        anomalies = anomalies_pb2.Anomalies()
        reason = anomalies.anomaly_info["text"].reason.add(type=anomalies_pb2.AnomalyInfo.ENUM_TYPE_UNEXPECTED_STRING_VALUES)
        reason.description = f"Examples contain values missing from the schema: {SECRET}"
        (tmp_path / "Split-train").mkdir()
        (tmp_path / "Split-train" / "SchemaDiff.pb").write_bytes(anomalies.SerializeToString())
        made = visuals.of_node(visuals.Outcome(entry("ExampleValidator"), "r", "p", files={"anomalies": [str(tmp_path)]}))
        for name in ("report", "summary"):
            assert "enum type unexpected string values" in made[name].content.replace("&#95;", "_")
            assert SECRET not in made[name].content

    def test_data_without_anomalies_has_a_report_too(self, tmp_path):
        (tmp_path / "Split-train").mkdir()
        (tmp_path / "Split-train" / "SchemaDiff.pb").write_bytes(anomalies_pb2.Anomalies().SerializeToString())
        made = visuals.of_node(visuals.Outcome(entry("ExampleValidator"), "r", "p", files={"anomalies": [str(tmp_path)]}))
        assert "The data fits the schema" in made["report"].content
        assert "None: the data fits the schema." in made["summary"].content

    def test_there_is_none_of_a_node_that_failed(self):
        made = visuals.of_node(visuals.Outcome(entry("Evaluator", "failed", error="disk full"), "r", "p"))
        assert set(made) == {"metrics", "summary"}


def test_artifacts_say_where_tfx_keeps_its_own(tmp_path):
    made = visuals.of_node(evaluator(tmp_path, runs.intents()))
    assert set(made) == set(visuals.outputs_of("Evaluator"))
    for name in ("summary", "report", "confusion"):
        assert made[name].metadata["tfx_execution_id"] == 7
        assert made[name].metadata["tfx_outputs"] == {"evaluation": ["/parlance/Evaluator/evaluation/7"]}
        assert None not in made[name].metadata.values()
    assert all(isinstance(value, float) for value in made["metrics"].metadata.values())


class TestWrite:
    def executor_input(self, folder, names=("metrics", "summary")):
        artifacts = {name: {"artifacts": [{"name": name, "uri": str(folder / name), "metadata": {}}]} for name in names}
        return {"outputs": {"artifacts": artifacts, "outputFile": str(folder / "out" / "executor_output.json")}}

    def test_files_and_the_message_about_them(self, tmp_path):
        made = {"summary": visuals.Visual("## text", {"tfx_node": "Trainer"}), "unasked": visuals.Visual("x", {})}
        visuals.write(made, self.executor_input(tmp_path))
        assert (tmp_path / "summary").read_text() == "## text"
        assert not (tmp_path / "unasked").exists()
        told = json.loads((tmp_path / "out" / "executor_output.json").read_text())
        assert told == {
            "artifacts": {
                "summary": {
                    "artifacts": [{"name": "summary", "uri": str(tmp_path / "summary"), "metadata": {"tfx_node": "Trainer"}}]
                }
            }
        }

    def test_the_message_is_written_without_any_artifact(self, tmp_path):
        visuals.write({}, self.executor_input(tmp_path))
        assert json.loads((tmp_path / "out" / "executor_output.json").read_text()) == {"artifacts": {}}

    def test_a_container_that_is_told_nothing_writes_nothing(self):
        visuals.write({"summary": visuals.Visual("text", {})}, {})


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("minio://mlpipeline/v2/artifacts/x", "/minio/mlpipeline/v2/artifacts/x"),
        ("gs://bucket/x", "/gcs/bucket/x"),
        ("s3://bucket/x", "/s3/bucket/x"),
        ("/tmp/x", "/tmp/x"),
    ],
)
def test_artifacts_are_where_kfps_launcher_mounts_its_store(uri, path):
    assert visuals.local_path(uri) == path
