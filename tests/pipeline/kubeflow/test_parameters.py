"""Runtime parameters: a run with one is the run of the pipeline file with that setting."""

import json

import pytest
from ml_metadata.proto import metadata_store_pb2

from components.errors import UsageError

pytestmark = pytest.mark.tensorflow

GATES = """kubeflow.parameters={thresholds: {setting: evaluation.gates, default: easy, choices: {
  strict: [{metric: precision, min: 0.95, class: billing}], easy: [{metric: accuracy, min: 0.5}]}}}"""


def compile_pipeline(config):
    from pipeline import dag

    return dag.compile_pipeline(config, "/parlance", metadata_store_pb2.ConnectionConfig())


def bind(config):
    from pipeline.kubeflow import parameters

    return parameters.bind(compile_pipeline, config)


def substituted(config, **values):
    from pipeline.kubeflow import parameters

    bound = bind(config)
    run = parameters.substitute(bound.pipeline, values)
    return bound.pipeline, run


def assert_same_nodes(one, other):
    for left, right in zip(one.nodes, other.nodes, strict=True):
        assert left.SerializeToString(deterministic=True) == right.SerializeToString(deterministic=True)


class TestARunWithAParameter:
    """Every byte that decides about the cache is as if the setting stood in the pipeline file."""

    @pytest.mark.parametrize(
        ("parameter", "setting", "text"),
        [
            ("epochs", "model.epochs", "3"),
            ("rate", "model.learning_rate", "0.00001"),
            ("rate", "model.learning_rate", "2"),
            ("rate", "model.learning_rate", ""),
            ("smoothing", "model.label_smoothing", "0.25"),
            ("words", "model.encoder.words", "[1, 2, 3]"),
            ("lengths", "evaluation.length_slices", "False"),
            ("buckets", "model.encoder.buckets", "2048"),
            ("quarantined", "validation.max_quarantined", "0.5"),
            ("sample", "data.sample", "0.25"),
            ("contact", "release.card.contact", 'Zoë "the" cat'),
            ("gates", "evaluation.gates", '[{"metric": "recall", "min": 0.5, "class": "billing"}]'),
            ("gate", "evaluation.gates.0.above_majority", "0.2"),
        ],
    )
    def test_is_the_run_of_the_file_with_that_setting(self, tickets, parameter, setting, text):
        declared = f"kubeflow.parameters={{{parameter}: {setting}}}"
        pipeline, run = substituted(tickets("model.encoder=ngrams", declared), **{parameter: text})
        spelled = json.dumps(text) if parameter == "contact" else text or "null"
        expected = tickets("model.encoder=ngrams", declared, f"{setting}={spelled}")
        assert run == expected
        assert_same_nodes(pipeline, compile_pipeline(expected))

    def test_without_values_is_the_run_of_the_file(self, tickets):
        pipeline, run = substituted(tickets())
        assert_same_nodes(pipeline, compile_pipeline(tickets()))
        assert run == tickets()

    def test_another_path_is_split_again_where_the_step_runs(self, tickets):
        pipeline, _ = substituted(tickets(), data_path="/parlance/new/part-*/rows.csv")
        assert_same_nodes(pipeline, compile_pipeline(tickets("data.source.path=/parlance/new/part-*/rows.csv")))

    def test_a_path_inside_a_package_is_found_where_the_step_runs(self, tickets):
        pipeline, _ = substituted(tickets(), data_path="package:pytest/__init__.py")
        properties = pipeline.nodes[1].pipeline_node.parameters.parameters
        assert properties["input_base"].field_value.string_value.endswith("site-packages/pytest")

    def test_a_relative_path_starts_at_the_volume(self, tickets):
        _, run = substituted(tickets("data.source.path=data/a.csv"), data_path="data/b.csv")
        assert run.data.source.path == "/parlance/data/b.csv"

    def test_a_span_is_chosen(self, tickets):
        pipeline, run = substituted(tickets("data.source.path='/parlance/span-{SPAN}/*.csv'"), span="7")
        assert run.data.source.span == 7
        assert_same_nodes(pipeline, compile_pipeline(run))

    def test_a_span_of_a_database_is_chosen(self, tickets):
        source = "data.source={type: sql, url: 'sqlite:////parlance/t.db', table: t, incremental: {column: id}}"
        pipeline, run = substituted(tickets(source), span="7")
        assert run.data.source.incremental.span == 7
        assert_same_nodes(pipeline, compile_pipeline(run))

    def test_a_choice_stands_for_its_value(self, tickets):
        pipeline, run = substituted(tickets(GATES), thresholds="strict")
        assert run.evaluation.gates[0].min == 0.95
        assert_same_nodes(pipeline, compile_pipeline(run))

    def test_one_node_is_enough(self, tickets):
        from pipeline.kubeflow import parameters, step_argument

        bound = bind(tickets())
        assert bound.used["Trainer"] == ("epochs", "sample")
        trainer = step_argument.unpack(step_argument.pack(bound.pipeline, "Trainer"))
        parameters.substitute(trainer, {"epochs": "3"})
        [expected] = [
            node.pipeline_node
            for node in compile_pipeline(tickets("model.epochs=3")).nodes
            if node.pipeline_node.node_info.id == "Trainer"
        ]
        assert trainer.nodes[0].pipeline_node.parameters == expected.parameters


class TestCodeOfTheImage:
    def test_results_of_other_code_than_the_package_was_compiled_with_have_a_cache_of_their_own(self, tickets, monkeypatch):
        from pipeline.kubeflow import parameters

        bound = bind(tickets())
        monkeypatch.setattr(parameters, "code_fingerprint", lambda: "other")
        parameters.substitute(bound.pipeline, {})
        plain = {node.pipeline_node.node_info.id: node.pipeline_node for node in compile_pipeline(tickets()).nodes}
        for node in bound.pipeline.nodes:
            added = set(node.pipeline_node.parameters.parameters) - set(
                plain[node.pipeline_node.node_info.id].parameters.parameters
            )
            assert added == (
                set()
                if node.pipeline_node.node_info.id in ("BaselineStatistics", "LatestBlessedModel")
                else {"parlance_image_code"}
            )


class TestDeclared:
    def test_what_schedules_vary_most_is_there_without_a_word(self, tickets):
        from pipeline.kubeflow import parameters

        assert list(parameters.declare(tickets())) == ["data_path", "epochs", "sample"]
        assert "span" in parameters.declare(tickets("data.source.path='/a/{SPAN}/b.csv'"))
        database = "data.source={type: sql, url: 'env:HOME', table: t}"
        assert list(parameters.declare(tickets(database))) == ["epochs", "sample"]
        generated = "data.source={type: home_assistant_intents, languages: [de], rows: 100}"
        assert list(parameters.declare(tickets(generated))) == ["epochs", "rows", "sample"]

    def test_null_drops_one(self, tickets):
        from pipeline.kubeflow import parameters

        assert list(parameters.declare(tickets("kubeflow.parameters.epochs=null"))) == ["data_path", "sample"]

    def test_the_first_node_hears_of_all_so_that_a_wrong_value_ends_the_run_at_once(self, tickets):
        bound = bind(tickets())
        assert bound.used["SchemaImport"] == ("data_path", "epochs", "sample")
        assert bound.used["StatisticsGen"] == ("sample",)  # which it shows

    def test_defaults_are_what_the_file_says(self, tickets):
        from pipeline.kubeflow import parameters

        declared = parameters.declare(tickets("kubeflow.parameters={w: model.encoder.words, rate: model.learning_rate}"))
        assert declared["epochs"].default == 10
        assert declared["w"].default == "[1, 2]"
        assert declared["rate"].default == ""

    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            (
                "kubeflow.parameters={x: model.epoch}",
                "kubeflow.parameters.x: there is no setting model.epoch; valid keys there: .*epochs",
            ),
            ("kubeflow.parameters={x: evaluation.gates.4.min}", "there is no setting evaluation.gates.4"),
            ("kubeflow.parameters={x: kubeflow.image}", "fixed when it is compiled"),
            ("kubeflow.parameters={x: beam.runner}", "fixed when it is compiled"),
            (GATES.replace("min: 0.95", "minimum: 0.95"), "thresholds.choices.strict the pipeline file does not describe"),
        ],
    )
    def test_mistakes(self, tickets, setting, message):
        from pipeline.kubeflow import parameters

        with pytest.raises(UsageError, match=message):
            parameters.declare(tickets(setting))

    def test_settings_with_consequences_are_refused_by_name(self, tickets):
        with pytest.raises(UsageError) as raised:
            bind(tickets("kubeflow.parameters={label: data.label, text: data.text, kind: data.source.type}"))
        assert "kubeflow.parameters.label: data.label decides about more than its own value" in str(raised.value)
        assert "kubeflow.parameters.text" in str(raised.value)
        assert "epochs" not in str(raised.value)


class TestWrongValues:
    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"epochs": "many"}, "With the runtime parameters epochs the pipeline file does not describe.*\n.*model.epochs"),
            ({"epochs": "0"}, "model.epochs"),
            ({"epoch": "3"}, "no runtime parameter 'epoch' here; parameters: data_path, epochs, sample, thresholds"),
            ({"sample": "0"}, "data.sample"),
            ({"thresholds": "lax"}, "thresholds is one of: strict, easy; received 'lax'"),
            ({"data_path": "s3://bucket/a.csv"}, "mount the bucket as a volume"),
        ],
    )
    def test_say_what_to_do(self, tickets, values, message):
        with pytest.raises(UsageError, match=message):
            substituted(tickets(GATES), **values)

    def test_a_pipeline_that_waits_for_nothing(self, tickets):
        from pipeline.kubeflow import parameters

        with pytest.raises(UsageError, match="not compiled for Kubeflow"):
            parameters.substitute(compile_pipeline(tickets()), {})

    def test_a_relative_path_without_a_volume(self, tickets):
        with pytest.raises(UsageError, match="there is no volume it could be relative to; received 'a.csv'"):
            bind(tickets("data.source.path=a.csv", "kubeflow.volume=null", "kubeflow.pipeline_root=gs://bucket"))
