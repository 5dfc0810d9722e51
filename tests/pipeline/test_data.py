"""The data of a run: what the manifest says, and the very examples back."""

import gzip
import json
import shutil
import sqlite3

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.ingestion import database, ingest, manifest, watermark
from components.ingestion.options import DataOptions
from components.privacy.options import PrivacyOptions
from components.validation import schema_file
from pipeline import cli, data
from serving import tfrecords
from tests.components.ingestion import fake_mongodb
from tests.components.ingestion.test_prediction_log import predicted
from tests.components.ingestion.test_tfrecord import example

RUN = "tickets-20261121-101500-3fa2"
SCHEMA = """
feature { name: "text" type: BYTES }
feature { name: "label" type: BYTES }
feature { name: "fare" type: FLOAT }
feature { name: "turn" type: INT }
feature { name: "empty" type: BYTES }
"""


def _table(rows=200):
    lines = [f"call a{n}@example.org on {n},{'ask' if n % 3 else 'tell'},{n / 7 if n % 5 else ''},{n % 4}," for n in range(rows)]
    return "\n".join(["text,label,fare,turn,empty", *lines]) + "\n"


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "tickets.csv"
    path.write_text(_table(), encoding="utf-8")
    return path


@pytest.fixture
def examples(tmp_path, source):
    """The examples of a run in `tmp_path / root`."""
    return _ingested(tmp_path, {"type": "csv", "path": "tickets.csv"}, SCHEMA, [str(source)])


def _ingested(tmp_path, source, schema, paths, **settings):
    """Does what ExampleGen does; returns the folder of the examples."""
    folder, run = tmp_path / "root" / "pipelines" / "examples" / "3", tmp_path / "root" / "runs" / RUN
    run.mkdir(parents=True)
    options = DataOptions.model_validate(
        {"source": source, "text": "text", "label": "label", "split": {"eval": 0.2, "test": 0.2}} | settings
    )
    privacy = PrivacyOptions(redact=["email"])
    quarantine = str(tmp_path / "quarantine")
    summary = ingest.ingest(options, schema_file.parse(schema), paths, str(folder), quarantine, privacy)
    paths = None if paths is None else tuple(paths)
    made = manifest.Manifest(options, privacy, schema, paths, None, manifest.versions(summary), "0.1")
    made.write(str(folder))
    written = json.loads((folder / manifest.FILE_NAME).read_text(encoding="utf-8"))
    (run / data.FILE_NAME).write_text(json.dumps({**written, "examples": str(folder)}), encoding="utf-8")
    (run / "run.json").write_text(json.dumps({"run_id": RUN, "state": "succeeded"}), encoding="utf-8")
    return folder


@pytest.fixture
def parlance(tmp_path, capsys):
    """Runs `parlance data` and returns exit code, output and errors."""

    def run(*arguments):
        code = cli.main(["data", *map(str, arguments), "--root", str(tmp_path / "root")])
        return code, *capsys.readouterr()

    return run


def _content(folder):
    return manifest.stored(folder, schema_file.parse(SCHEMA))


class TestShow:
    def test_source_rows_fingerprints_and_place(self, parlance, examples, source):
        code, shown, _ = parlance("show", "latest")
        assert code == 0
        lines = shown.splitlines()
        assert lines[0] == f"run      {RUN}"
        assert lines[1] == "source   type csv, path tickets.csv, window 1"
        assert lines[2] == f"read     {source}"
        assert [line.split()[0] for line in lines[3:6]] == ["train", "eval", "test"]
        assert sum(int(line.split()[1]) for line in lines[3:6]) == 200
        assert lines[6] == f"examples {examples}"

    def test_speaks_json_and_says_that_the_examples_are_gone(self, parlance, examples):
        assert json.loads(parlance("show", RUN, "--output", "json")[1])["examples_exist"]
        shutil.rmtree(examples)
        assert not json.loads(parlance("show", RUN, "--output", "json")[1])["examples_exist"]
        assert "(gone;" in parlance("show", RUN)[1]

    def test_a_run_without_manifest_says_so(self, parlance, examples, tmp_path):
        (tmp_path / "root" / "runs" / RUN / data.FILE_NAME).unlink()
        code, _, error = parlance("show", RUN)
        assert code == 2
        assert "has no manifest of its data" in error


class TestRestore:
    def test_examples_that_are_there_are_checked_and_left_alone(self, parlance, examples):
        before = {file: file.stat().st_mtime_ns for file in examples.rglob("*")}
        code, shown, _ = parlance("restore", RUN)
        assert code == 0
        assert "there already; every split has the fingerprint of the run" in shown
        assert {file: file.stat().st_mtime_ns for file in examples.rglob("*")} == before

    def test_a_copy_needs_no_source(self, parlance, examples, source, tmp_path):
        source.unlink()
        code, shown, _ = parlance("restore", RUN, "--to", tmp_path / "copy", "--output", "json")
        assert code == 0
        assert json.loads(shown)["how"].startswith("copied from")
        assert _content(tmp_path / "copy") == _content(examples)

    def test_examples_that_are_gone_are_ingested_again(self, parlance, examples):
        before = _content(examples)
        shutil.rmtree(examples)
        code, shown, _ = parlance("restore", RUN)
        assert code == 0
        assert "ingested again from the source" in shown
        assert _content(examples) == before
        assert (examples / manifest.FILE_NAME).exists()
        assert [entry.name for entry in examples.parent.iterdir()] == [examples.name]

    @pytest.mark.parametrize("damage", ["tear", "replace"])
    def test_damaged_examples_are_replaced(self, damage, parlance, examples):
        before = _content(examples)
        [shard] = (examples / "Split-train").glob("*.gz")
        [other] = (examples / "Split-test").glob("*.gz")
        shard.write_bytes(shard.read_bytes()[:-20] if damage == "tear" else other.read_bytes())
        assert _content(examples) != before
        assert "ingested again" in parlance("restore", RUN)[1]
        assert _content(examples) == before

    @pytest.mark.parametrize(
        ("table", "words"),
        [
            (_table(300), "rows then"),
            (_table().replace("on 0,tell", "on 0,ask"), "of other content"),
            (None, "cannot be ingested again as it was"),
        ],
    )
    def test_a_source_that_changed_is_an_error_that_leaves_nothing(self, table, words, parlance, examples, source, tmp_path):
        shutil.rmtree(examples)
        if table is None:
            source.unlink()
        else:
            source.write_text(table, encoding="utf-8")
        code, _, error = parlance("restore", RUN, "--to", tmp_path / "copy")
        assert code == 2
        assert words in error
        assert not (tmp_path / "copy").exists()

    def test_a_folder_with_something_in_it_is_refused(self, parlance, examples, tmp_path):
        (tmp_path / "copy").mkdir()
        (tmp_path / "copy" / "mine").touch()
        code, _, error = parlance("restore", RUN, "--to", tmp_path / "copy")
        assert code == 2
        assert "--to takes a new or empty folder" in error

    def test_an_empty_one_is_filled(self, parlance, examples, tmp_path):
        (tmp_path / "copy").mkdir()
        assert parlance("restore", RUN, "--to", tmp_path / "copy")[0] == 0
        assert _content(tmp_path / "copy") == _content(examples)

    def test_options_of_another_version_are_an_error(self, parlance, examples, tmp_path):
        file = tmp_path / "root" / "runs" / RUN / data.FILE_NAME
        values = json.loads(file.read_text(encoding="utf-8"))
        values["data"]["colour"] = "blue"
        file.write_text(json.dumps(values), encoding="utf-8")
        code, _, error = parlance("restore", RUN)
        assert code == 2
        assert "was made by 0.1" in error


ROWS = [
    {"id": n, "text": f"call a{n}@example.org on {n}", "label": "ask" if n % 3 else "tell", "fare": n / 8 if n % 5 else None}
    for n in range(200)
]
OF_ROWS = """
feature { name: "text" type: BYTES }
feature { name: "label" type: BYTES }
feature { name: "fare" type: FLOAT }
"""


class Jsonl:
    """A source: how it is written, `source`, `schema`, `paths` and further settings, and how it is changed.

    Each is one kind; `change` makes one text another.
    """

    schema, settings = OF_ROWS, {}
    extension = "jsonl"

    def __init__(self, folder, monkeypatch):
        self.path = folder / f"rows.{self.extension}"
        self.write(ROWS)
        self.source = {"type": self.extension, "path": self.path.name}
        self.paths = [str(self.path)]

    def write(self, rows):
        self.path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def change(self):
        self.write([{**ROWS[0], "text": "something else"}, *ROWS[1:]])


class Parquet(Jsonl):
    extension = "parquet"

    def write(self, rows):
        pq.write_table(pa.Table.from_pylist(rows), self.path)


class Tfrecord(Jsonl):
    extension = "tfrecord"

    def write(self, rows):
        examples = [
            example(text=row["text"].encode(), label=row["label"].encode(), fare=[] if row["fare"] is None else row["fare"])
            for row in rows
        ]
        self.path.write_bytes(gzip.compress(b"".join(map(tfrecords.framed, examples))))


class PredictionLog(Tfrecord):
    def __init__(self, folder, monkeypatch):
        super().__init__(folder, monkeypatch)
        self.source["type"] = "prediction_log"

    def write(self, rows):
        requests = [
            predicted({"text": [row["text"].encode()], "fare": [row["fare"] or 0.0]}, label=[row["label"].encode()], score=[0.5])
            for row in rows
        ]
        self.path.write_bytes(b"".join(tfrecords.framed(request.SerializeToString()) for request in requests))


class Sql:
    """The second span of a table, which holds the rows after the first 50. Rows that arrive later are in neither."""

    schema, settings = OF_ROWS, {}

    def __init__(self, folder, monkeypatch):
        self.file = folder / "rows.sqlite"
        self.source = {
            "type": "sql",
            "url": f"sqlite:///{self.file}",
            "table": "tickets",
            "key": "id",
            "incremental": {"column": "id"},
        }
        with sqlite3.connect(self.file) as connection:
            connection.execute("CREATE TABLE tickets (id INTEGER PRIMARY KEY, text TEXT, label TEXT, fare REAL)")
        self.insert(ROWS[:50])
        first, _ = self.close([])
        self.insert(ROWS[50:])
        _, region = self.close([first])
        self.paths = [region.to_json()]
        self.insert([{**ROWS[0], "id": 1000}])

    def insert(self, rows):
        with sqlite3.connect(self.file) as connection:
            connection.executemany("INSERT INTO tickets VALUES (:id, :text, :label, :fare)", rows)

    def close(self, known):
        source = DataOptions.model_validate({"source": self.source, "label": "label"}).source
        with database.opened(source) as table:
            return watermark.resolve(table, source.incremental, known)

    def change(self):
        with sqlite3.connect(self.file) as connection:
            connection.execute("UPDATE tickets SET text = 'something else' WHERE id = 100")


class Mongodb:
    schema, settings = OF_ROWS, {}
    source = {"type": "mongodb", "url": "mongodb://memory/", "database": "support", "collection": "tickets"}
    paths = None

    def __init__(self, folder, monkeypatch):
        pytest.importorskip("pymongo", reason="needs the extra: pip install 'parlance-tfx[sources]'")
        from components.ingestion import mongodb

        self.client = fake_mongodb.Client("support", "tickets")
        monkeypatch.setattr(mongodb.pymongo, "MongoClient", lambda *arguments, **options: self.client)
        self.insert(ROWS)

    def insert(self, rows):
        self.client.collection.insert_many([{"_id": row["id"], **row} for row in rows])

    def change(self):
        self.insert([{**ROWS[0], "id": 1000}])


class HomeAssistantIntents:
    """Utterances sampled from a package; another seed stands for another version of it."""

    schema = "".join(f'feature {{ name: "{name}" type: BYTES }}\n' for name in ("text", "intent", "language", "template"))
    settings = {"label": "intent", "group": "template", "segments": ["language"]}
    source = {"type": "home_assistant_intents", "languages": ["de", "en"], "rows": 300}
    paths = None

    def __init__(self, folder, monkeypatch):
        self.folder = folder

    def change(self):
        file = self.folder / "root" / "runs" / RUN / data.FILE_NAME
        values = json.loads(file.read_text(encoding="utf-8"))
        values["data"]["source"]["seed"] = 1
        file.write_text(json.dumps(values), encoding="utf-8")


@pytest.mark.parametrize("kind", [Jsonl, Parquet, Tfrecord, PredictionLog, Sql, Mongodb, HomeAssistantIntents])
class TestEverySource:
    @pytest.fixture
    def restored(self, kind, tmp_path, monkeypatch, parlance):
        """A source, and a function that forgets the examples of its run and brings them back."""
        monkeypatch.chdir(tmp_path)
        source = kind(tmp_path, monkeypatch)
        folder = _ingested(tmp_path, source.source, source.schema, source.paths, **source.settings)
        before = manifest.stored(folder, schema_file.parse(source.schema))
        shutil.rmtree(folder)

        def restore():
            code, shown, error = parlance("restore", RUN)
            return code, shown + error, before, manifest.stored(folder, schema_file.parse(source.schema))

        return source, restore

    def test_examples_that_are_gone_are_ingested_again(self, restored):
        code, shown, before, after = restored[1]()
        assert (code, after) == (0, before), shown
        assert sum(version.rows for version in after.values()) >= 150
        assert "ingested again from the source" in shown

    def test_a_source_that_changed_is_refused(self, restored):
        source, restore = restored
        source.change()
        code, shown, _, after = restore()
        assert code == 2
        assert "The source holds other rows than those that were ingested" in shown
        assert not any(version.rows for version in after.values())


def test_a_manifest_round_trips(examples):
    values = json.loads((examples / manifest.FILE_NAME).read_text(encoding="utf-8"))
    assert manifest.Manifest.from_json(values).to_json() == values
