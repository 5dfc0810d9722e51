import random

import pyarrow as pa
import pytest
from tensorflow_metadata.proto.v0 import schema_pb2

from components.profiling import curate
from components.profiling.profile import Profiler
from components.profiling.roles import Wishes, assign
from pipeline.config import PipelineConfig

ROWS = 2000
RANDOM = random.Random(7)
WORDS = ["please", "open", "close", "the", "door", "order", "account", "refund", "my", "ticket", "now", "cancel"]


def _draw(*values):
    return [RANDOM.choice(values) for _ in range(ROWS)]


MESSAGES = [" ".join(RANDOM.choices(WORDS, k=6)) for _ in range(ROWS)]
TABLE = {
    "text": MESSAGES,
    "queue": _draw(" a", "b", "c"),
    "language": _draw("de", "en", ""),
    "domain": _draw("x", "y"),
    "turn": _draw(*range(40)),
}


def _curate(columns, label="queue", rejected=0, **wishes):
    profiler = Profiler()
    profiler.add(pa.RecordBatch.from_pydict(columns), rejected)
    profile = profiler.finish()
    roles = assign(profile, Wishes(label=label, **wishes))
    source = {"type": "csv", "path": "tickets.csv"}
    values = curate.pipeline_values(profile, roles, name="tickets", source=source, schema_path="s.pbtxt", derive={})
    PipelineConfig.model_validate(values)
    return curate.schema(profile, roles), values


def _feature(schema, name):
    return next(feature for feature in schema.feature if feature.name == name)


class TestSchema:
    def test_lists_label_text_inputs_and_what_is_only_there_in_training(self):
        schema, _ = _curate(TABLE)

        assert [feature.name for feature in schema.feature] == ["queue", "text", "language", "turn", "domain"]
        assert [feature.name for feature in schema.feature if "SERVING" in feature.not_in_environment] == ["queue", "domain"]
        assert list(schema.default_environment) == ["TRAINING", "SERVING"]

    def test_types_follow_the_encoding(self):
        columns = {
            "queue": TABLE["queue"], "fare": [RANDOM.random() for _ in range(ROWS)], "area": _draw(*range(90)), "miles": TABLE["turn"],
            "company": _draw("x", "y"),
        }  # fmt: skip
        schema, _ = _curate(columns)
        types = {feature.name: schema_pb2.FeatureType.Name(feature.type) for feature in schema.feature}

        assert types == {"queue": "BYTES", "fare": "FLOAT", "area": "INT", "miles": "INT", "company": "BYTES"}
        assert _feature(schema, "area").int_domain.is_categorical
        assert not _feature(schema, "miles").int_domain.is_categorical

    def test_demands_what_is_always_there_and_gives_the_rest_slack(self):
        schema, _ = _curate(TABLE)

        assert _feature(schema, "text").presence.min_fraction == 1
        assert 0.2 < _feature(schema, "language").presence.min_fraction < 0.4

    def test_presence_holds_in_the_emptiest_split(self):
        split = _draw("train", "test")
        columns = {**TABLE, "split": split, "language": ["de" if part == "train" else None for part in split]}
        schema, _ = _curate({**columns, "language": ["de", "en"] * 10 + columns["language"][20:]})

        assert _feature(schema, "language").presence.min_fraction < 0.1

    def test_domains_are_those_of_small_sets_and_tolerate_a_few_new_values(self):
        schema, _ = _curate({**TABLE, "city": [f"c{index % 400}" for index in range(ROWS)]}, segments=("language", "city"))

        assert list(_feature(schema, "queue").string_domain.value) == ["a", "b", "c"]
        assert _feature(schema, "queue").distribution_constraints.min_domain_mass == 0.95
        assert list(_feature(schema, "language").string_domain.value) == ["de", "en"]
        assert not _feature(schema, "city").HasField("string_domain")
        assert not _feature(schema, "text").HasField("string_domain")

    def test_domains_name_no_personal_data(self):
        team = ["ann@example.org" if index % 50 == 0 else "blue" if index % 2 else "1234567" for index in range(ROWS)]
        agent = ["ann@example.org" if index % 2 else "bob@example.org" for index in range(ROWS)]
        schema, _ = _curate({**TABLE, "team": team, "agent": agent}, segments=("team", "agent"))

        assert list(_feature(schema, "team").string_domain.value) == ["1234567", "blue"]
        assert not _feature(schema, "agent").HasField("string_domain")
        assert "example.org" not in str(schema)

    def test_stores_what_splits_the_rows_out_of_the_models_reach(self):
        group = [f"u{index // 5}" for index in range(ROWS)]
        seconds = [1_600_000_000 + index for index in range(ROWS)]
        schema, values = _curate({**TABLE, "user_id": group, "sent_at": seconds}, group="user_id", timestamp="sent_at")

        assert list(_feature(schema, "user_id").not_in_environment) == ["SERVING"]
        assert "sent_at" not in {feature.name for feature in schema.feature}
        assert values["data"]["split"]["by"] == "group"

    def test_keeps_seconds_whole_and_dates_as_text(self):
        seconds = [1_600_000_000 + index for index in range(ROWS)]
        dates = [f"2024-01-01T10:{index % 60:02}:00Z" for index in range(ROWS)]

        for times, kind in ((seconds, schema_pb2.INT), (dates, schema_pb2.BYTES)):
            schema, _ = _curate({**TABLE, "sent_at": times}, timestamp="sent_at")
            assert _feature(schema, "sent_at").type == kind


class TestPipelineValues:
    def test_keep_the_order_of_the_documentation(self):
        _, values = _curate(TABLE)

        assert list(values) == ["name", "data", "schema", "privacy", "validation", "model", "evaluation", "release"]
        assert values["data"]["text"] == "text"
        assert values["data"]["segments"] == ["language", "domain"]
        assert values["data"]["enforce_schema"] is True

    def test_bare_numbers_are_removed_where_people_answer_with_them(self):
        def redacted(every):
            texts = [f"{4100 + index % 800}" if index % every == 0 else message for index, message in enumerate(MESSAGES)]
            return _curate({**TABLE, "text": texts}, text=("text",))[1]["privacy"]["redact"]

        assert redacted(50) == ["patterns", "number"]
        assert redacted(500) == ["patterns"]

    def test_small_tables_and_few_groups_get_larger_shares(self):
        groups = [f"u{index % 40}" for index in range(ROWS)]

        assert _curate(TABLE)[1]["data"]["split"] == {"by": "hash", "eval": 0.1, "test": 0.1}
        assert _curate({**TABLE, "user_id": groups})[1]["data"]["split"] == {"by": "group", "eval": 0.15, "test": 0.2}
        assert _curate({name: values[:500] for name, values in TABLE.items()})[1]["data"]["split"]["test"] == 0.2

    def test_tolerate_the_rows_this_table_is_known_to_lose(self):
        unlabelled = {**TABLE, "queue": ["" if index % 10 == 0 else "ab"[index % 2] for index in range(ROWS)]}

        assert _curate(TABLE)[1]["validation"] == {"max_quarantined": 0.05}
        assert _curate(unlabelled)[1]["validation"] == {"max_quarantined": 0.15}
        assert _curate(TABLE, rejected=ROWS)[1]["validation"] == {"max_quarantined": 0.55}


class TestGates:
    @pytest.mark.parametrize(
        ("classes", "metric", "margin", "weights"),
        [
            ({"a": 0.5, "b": 0.3, "c": 0.2}, "accuracy", 0.05, "none"),
            ({"a": 0.5, "b": 0.5}, "auc", 0.05, "none"),
            ({"a": 0.95, "b": 0.05}, "auc", 0.05, "balanced"),
            ({"a": 0.9, "b": 0.05, "c": 0.05}, "balanced_accuracy", 0.05, "balanced"),
            ({"a": 0.99, "b": 0.005, "c": 0.005}, "balanced_accuracy", 0.05, "none"),
        ],
    )
    def test_ask_for_what_the_classes_allow(self, classes, metric, margin, weights):
        queue = [name for name, share in classes.items() for _ in range(round(share * ROWS))]
        _, values = _curate({**TABLE, "queue": queue, "language": ["de"] * ROWS, "domain": ["x"] * ROWS})

        assert values["evaluation"]["gates"] == [
            {"metric": metric, "above_majority": margin},
            {"metric": metric, "max_drop": 0.02},
        ]
        assert values["model"]["class_weights"] == weights

    def test_let_no_slice_get_worse_where_there_are_segments(self):
        _, values = _curate(TABLE)

        assert values["evaluation"]["gates"][2] == {"metric": "accuracy", "max_drop": 0.05, "slices": "each"}

    def test_ask_little_of_a_table_that_tells_little(self):
        columns = {"queue": TABLE["queue"], "fare": [RANDOM.random() for _ in range(ROWS)]}
        _, values = _curate(columns)

        assert values["evaluation"]["gates"][0] == {"metric": "accuracy", "above_majority": 0.005}
