"""The data of a run: what the manifest says, and the very examples back."""

import json
import shutil

import pytest

from components.ingestion import ingest, manifest
from components.ingestion.options import DataOptions
from components.privacy.options import PrivacyOptions
from components.validation import schema_file
from pipeline import cli, data

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
    folder, run = tmp_path / "root" / "pipelines" / "examples" / "3", tmp_path / "root" / "runs" / RUN
    run.mkdir(parents=True)
    options = DataOptions.model_validate(
        {"source": {"type": "csv", "path": "tickets.csv"}, "text": "text", "label": "label", "split": {"eval": 0.2, "test": 0.2}}
    )
    privacy, schema = PrivacyOptions(redact=["email"]), schema_file.parse(SCHEMA)
    summary = ingest.ingest(options, schema, [str(source)], str(folder), str(tmp_path / "quarantine"), privacy)
    made = manifest.Manifest(options, privacy, SCHEMA, (str(source),), None, manifest.versions(summary), "0.1")
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


def test_a_manifest_round_trips(examples):
    values = json.loads((examples / manifest.FILE_NAME).read_text(encoding="utf-8"))
    assert manifest.Manifest.from_json(values).to_json() == values
