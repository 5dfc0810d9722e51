"""The pipeline file."""

import pathlib

import pytest

from components.errors import UsageError
from pipeline import config

FILE = """
name: tickets
data:
  source: {type: csv, path: tickets.csv}
  text: text
  label: queue
  segments: [language, [language, channel]]
schema: schemas/tickets/schema.pbtxt
evaluation:
  gates: [{metric: accuracy, above_majority: 0.05}]
"""


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> pathlib.Path:
        path = tmp_path / "tickets.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


class TestLoad:
    def test_short_forms_grow_into_their_full_ones(self, write):
        loaded = config.load(write(FILE))
        assert loaded.data.text == ("text",)
        assert loaded.data.segments == (("language",), ("language", "channel"))
        assert loaded.model.encoder.name == "ngrams"

    def test_the_effective_configuration_is_a_pipeline_file_of_its_own(self, write):
        loaded = config.load(write(FILE))
        assert config.PipelineConfig.model_validate(loaded.effective()) == loaded

    def test_equal_files_have_equal_hashes_however_written(self, write):
        plain = config.load(write(FILE)).sha256()
        spelled_out = config.load(write(FILE.replace("text: text", "text: [text]") + "model: {encoder: {name: ngrams}}")).sha256()
        assert plain == spelled_out
        assert plain != config.load(write(FILE), ["model.seed=1"]).sha256()

    @pytest.mark.parametrize("path", sorted(config.CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
    def test_the_shipped_files_load(self, path):
        assert config.load(path).name == path.stem


class TestProblems:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (("label: queue", "label: queue\n  segmants: []"), "data.segmants: unknown key; did you mean 'segments'"),
            (("type: csv", "type: xml"), "csv"),
            (("evaluation:", "model: {xla: true}\nevaluation:"), r"model.xla: is for models that read no text; .*\['text'\]"),
            (("path: tickets.csv", "file: tickets.csv"), "did you mean|valid keys: path, span, type"),
            (("  label: queue\n", ""), "data.label: required, but missing"),
            (("name: tickets", "name: Tickets!"), "name:"),
            (("gates: [{metric: accuracy, above_majority: 0.05}]", "gates: []"), "evaluation.gates"),
            (("above_majority: 0.05", "above_majority: 0.05, min: 0.1"), "exactly one of"),
            (("metric: accuracy", "metric: accuracies"), "'accuracy'"),
            (("label: queue", "label: queue\n  label: other"), "duplicate key 'label'"),
            (("label: queue", "label: queue\n  split: {by: time}"), "data.timestamp must name the column"),
            (("label: queue", "label: queue\n  split: {by: group}"), "data.group must name the column"),
            (("label: queue", "label: queue\n  split: {by: column}"), "split.column"),
            (("name: tickets", "name: [unclosed"), "not a pipeline file"),
            (("path: tickets.csv", "path: 'env:NOT_SET_ANYWHERE'"), "NOT_SET_ANYWHERE is not set"),
        ],
    )
    def test_each_problem_says_where_and_what_to_do(self, write, change, message):
        with pytest.raises(UsageError, match=message):
            config.load(write(FILE.replace(*change)))

    def test_all_problems_are_listed_at_once(self, write):
        with pytest.raises(UsageError) as raised:
            config.load(write(FILE.replace("label: queue", "lable: queue").replace("name: tickets", "nome: tickets")))
        assert "lable" in str(raised.value)
        assert "nome" in str(raised.value)

    def test_a_missing_file_lists_the_shipped_ones(self, tmp_path):
        with pytest.raises(UsageError, match="intents.yaml"):
            config.load(tmp_path / "nothing.yaml")

    @pytest.mark.parametrize("text", ["", "- a\n- b", "just words"])
    def test_a_file_that_is_no_mapping(self, write, text):
        with pytest.raises(UsageError, match="top level must be a mapping"):
            config.load(write(text))


class TestEvaluation:
    """What gates and fairness name is what the data section declares."""

    @pytest.mark.parametrize(
        "rule",
        [
            "{metric: accuracy, min: 0.5, slices: {language: de}}",
            '{metric: accuracy, min: 0.5, slices: {channel: "*", language: de}}',
            '{metric: accuracy, min: 0.5, slices: {length(text): "*"}}',
            "{metric: accuracy, max_gap: 0.1}",
            '{metric: accuracy, max_gap: 0.1, slices: {language: "*"}}',
            "{metric: accuracy, max_drop: 0.1, slices: each}",
        ],
    )
    def test_rules_on_declared_segments_and_text_length_load(self, write, rule):
        config.load(write(FILE), [f"evaluation.gates=[{rule}]"])

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            (
                ["evaluation.gates=[{metric: accuracy, min: 0.5, slices: {langauge: de}}]"],
                r"evaluation.gates\[0\].slices: 'langauge' is no segment; did you mean 'language'",
            ),
            (
                ["evaluation.gates=[{metric: accuracy, min: 0.5, slices: {channel: app}}]"],
                r"'channel' is no segment; segments: language, language x channel, length\(text\)",
            ),
            (
                [
                    'evaluation.gates=[{metric: accuracy, min: 0.5, slices: {length(text): "*"}}]',
                    "evaluation.length_slices=false",
                ],
                r"'length\(text\)' is no segment",
            ),
            (
                ["evaluation.gates=[{metric: accuracy, min: 0.5, slices: each}]", "data.segments=[]"],
                r"each checks nothing, because data.segments names no segment$",
            ),
            (
                ["evaluation.gates=[{metric: accuracy, max_gap: 0.5}]", "data.segments=[[language, channel]]"],
                "each checks nothing, because data.segments names no segment of one column",
            ),
            (
                ["evaluation.fairness.segments=[languages]"],
                "fairness.segments: 'languages' is no segment of one column; did you mean",
            ),
            (["evaluation.weight=queue"], "evaluation.weight: 'queue' must be a numeric column"),
        ],
    )
    def test_others_do_not_and_are_told_the_nearest(self, write, settings, message):
        with pytest.raises(UsageError, match=message):
            config.load(write(FILE), settings)

    def test_all_problems_are_listed_at_once(self, write):
        with pytest.raises(UsageError) as raised:
            config.load(write(FILE), ["evaluation.fairness.segments=[region]", "evaluation.weight=text"])
        assert "region" in str(raised.value)
        assert "evaluation.weight" in str(raised.value)

    def test_a_metric_that_does_not_exist_is_told_where_it_stands(self, write):
        with pytest.raises(UsageError, match=r"evaluation.gates.0.metric: there is no metric 'acc'.*"):
            config.load(write(FILE), ["evaluation.gates.0.metric=acc"])


class TestOverrides:
    def test_reach_into_mappings_lists_and_stand_alone_choices(self, write):
        loaded = config.load(write(FILE), ["model.epochs=3", "evaluation.gates.0.metric=macro_f1", "data.text=[a, b]"])
        assert loaded.model.epochs == 3
        assert loaded.evaluation.gates[0].metric == "macro_f1"
        assert loaded.data.text == ("a", "b")

    def test_the_last_one_wins(self, write):
        assert config.load(write(FILE), ["model.epochs=3", "model.epochs=4"]).model.epochs == 4

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ("model.epochs", "KEY=VALUE"),
            ("model.epocs=3", "did you mean 'epochs'"),
            ("name.first=3", "single value"),
            ("evaluation.gates.7.metric=auc", "index below 1"),
            ("model.epochs=[", "not YAML"),
        ],
    )
    def test_mistakes(self, write, override, message):
        with pytest.raises(UsageError, match=message):
            config.load(write(FILE), [override])
