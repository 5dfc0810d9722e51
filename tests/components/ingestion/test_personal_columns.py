"""Personal data that a source wrote into columns that are no text."""

import collections
import json

import pyarrow as pa
import pytest

from components.ingestion import ingest, tfrecord
from components.ingestion.language import DETECTED
from components.privacy.options import PrivacyOptions

ROWS = 240
COLUMNS = {
    "text": [f"message {number} about nothing" for number in range(ROWS)],
    "label": ["yes", "no"] * (ROWS // 2),
    "team": ["blue", "red", "green"] * (ROWS // 3),
    "chat": [f"030 5550 {1000 + number // 6}" for number in range(ROWS)],
}
GERMAN, ENGLISH = "Schalte bitte das Licht in der Küche ein", "Please turn on the light in the kitchen"


@pytest.fixture
def ingested(write_rows, make_options, make_schema, tmp_path):
    """Ingests COLUMNS with some replaced; returns the summary, and the stored columns by split."""

    def ingest_rows(replaced=None, domains=None, columns=None, key=None, **settings):
        table = {**COLUMNS, **(replaced or {})}
        schema = make_schema(**dict.fromkeys(table, "BYTES"))
        for feature in schema.feature:
            if feature.name in (domains or {}):
                feature.string_domain.value.extend(domains[feature.name])
        privacy = PrivacyOptions(redact=["patterns"], columns=columns, key=key)
        options = make_options(write_rows("parquet", **table), **settings)
        output, aside = tmp_path / "out", tmp_path / "quarantine"
        summary = ingest.ingest(options, schema, None, str(output), str(aside), privacy)
        return summary, {split: stored(output / f"Split-{split}") for split in ("train", "eval", "test")}

    return ingest_rows


def stored(folder):
    blocks = [block.rows for file in sorted(folder.glob("*.gz")) for block in tfrecord.read(file)]
    table = pa.concat_tables([pa.Table.from_batches([rows]) for rows in blocks], promote_options="default")
    return {name: table[name].cast(pa.string()).to_pylist() for name in table.schema.names}


class TestColumnsThatAreNoText:
    def test_are_looked_at_by_default(self, ingested):
        summary, splits = ingested({"team": ["blue", "ann@example.org"] * (ROWS // 2)}, segments=["team"])
        assert summary["segments"]["team"] == {"blue": ROWS // 2, "[email]": ROWS // 2}
        assert summary["privacy"]["entities"]["email"]["columns"] == {"team": ROWS // 2}
        assert {value for columns in splits.values() for value in columns["team"]} == {"blue", "[email]"}
        assert "example" not in json.dumps(summary)

    def test_values_that_the_schema_lists_stay(self, ingested):
        team = ["asp.net", "node.org"] * (ROWS // 2)
        summary, _ = ingested({"team": team}, {"team": ["asp.net"]}, segments=["team"])
        assert summary["segments"]["team"] == {"asp.net": ROWS // 2, "[url]": ROWS // 2}

    def test_are_left_alone_where_columns_are_named(self, ingested):
        summary, _ = ingested({"team": ["blue", "ann@example.org"] * (ROWS // 2)}, columns=["text"], segments=["team"])
        assert summary["segments"]["team"] == {"blue": ROWS // 2, "ann@example.org": ROWS // 2}
        assert summary["privacy"]["entities"] == {}


class TestGroups:
    @pytest.mark.parametrize("key", [None, "env:PARLANCE_TEST_KEY"])
    def test_rows_of_one_group_share_a_pseudonym_and_a_split(self, key, ingested, monkeypatch):
        monkeypatch.setenv("PARLANCE_TEST_KEY", "0123456789abcdef")
        _, splits = ingested(key=key, group="chat", split={"by": "group", "eval": 0.2, "test": 0.2})
        chats = collections.Counter(chat for columns in splits.values() for chat in columns["chat"])
        assert len(chats) == ROWS // 6
        assert set(chats.values()) == {6}
        assert all(chat.startswith("[id:") for chat in chats)
        assert not any(
            set(splits[one]["chat"]) & set(splits[other]["chat"]) for one, other in (("train", "eval"), ("train", "test"))
        )

    def test_the_split_is_drawn_by_what_was_there(self, ingested):
        _, redacted = ingested(group="chat", split={"by": "group", "eval": 0.2, "test": 0.2})
        _, plain = ingested(group="chat", split={"by": "group", "eval": 0.2, "test": 0.2}, columns=["text"])
        assert {split: len(columns["chat"]) for split, columns in redacted.items()} == {
            split: len(columns["chat"]) for split, columns in plain.items()
        }


class TestLabels:
    LABELS = ["yes", "no", "yes", "write to ann@example.org"] * (ROWS // 4)
    REASON = "label: looks like personal data, and is not in the schema's domain"

    def test_rows_whose_label_is_personal_data_are_set_aside(self, ingested):
        summary, splits = ingested({"label": self.LABELS}, {"label": ["yes", "no"]})
        assert summary["quarantine_reasons"] == {self.REASON: ROWS // 4}
        assert {label for columns in splits.values() for label in columns["label"]} == {"yes", "no"}
        assert "example" not in json.dumps(summary)

    def test_labels_that_the_schema_lists_are_labels(self, ingested):
        labels = ["asp.net", "020 7946 0018"] * (ROWS // 2)
        summary, _ = ingested({"label": labels}, {"label": ["asp.net", "020 7946 0018"]})
        assert summary["quarantine_reasons"] == {}
        assert set(summary["labels"]["train"]) == set(labels)

    def test_a_missing_label_is_missing(self, ingested):
        summary, _ = ingested({"label": ["yes", "no", "no", None] * (ROWS // 4)})
        assert summary["quarantine_reasons"] == {"missing label": ROWS // 4}


class TestLanguages:
    @pytest.fixture(autouse=True)
    def _package(self):
        pytest.importorskip("py3langid", reason="the extra `language` is not installed")

    SAID = [f"{GERMAN}: 030 5550 1234", GERMAN, f"{ENGLISH}: ann@example.org", ENGLISH] * (ROWS // 4)
    TEXTS = [f"{number}: {said}" for number, said in enumerate(SAID)]

    def test_counts_by_detected_language_where_no_segment_says_it(self, ingested):
        summary, _ = ingested({"text": self.TEXTS}, segments=["team"], language={"languages": ["de", "en"]})
        entities = summary["privacy"]["entities"]
        assert entities["email"]["segments"][DETECTED] == {"en": ROWS // 4}
        assert entities["email"]["segments"].keys() == {"team", DETECTED}

    def test_not_where_one_does(self, ingested):
        summary, _ = ingested(
            {"text": self.TEXTS, "language": ["de", "de", "en", "en"] * (ROWS // 4)},
            segments=["language"],
            language={"column": "language", "languages": ["de", "en"], "fill": "check"},
        )
        assert summary["privacy"]["entities"]["email"]["segments"] == {"language": {"en": ROWS // 4}}

    def test_what_stands_in_the_column_of_languages_is_shown_as_it_is_stored(self, ingested):
        said = ["de", "ann@example.org", "en", "bob@example.org"] * (ROWS // 4)
        summary, _ = ingested(
            {"text": self.TEXTS, "language": said}, language={"column": "language", "languages": ["de", "en"], "fill": "check"}
        )
        assert summary["languages"]["beyond"] == {"[email]": ROWS // 2}
        assert "example" not in json.dumps(summary)
