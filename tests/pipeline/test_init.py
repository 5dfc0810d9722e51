import json
import os
import pathlib
import subprocess
import sys

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from components.errors import EnvironmentFailure, UsageError
from components.ingestion.conform import check_roles
from components.validation import schema_file
from pipeline import config
from pipeline.init import init_pipeline

PROJECT = pathlib.Path(__file__).resolve().parents[2]
DATA = pathlib.Path(os.environ.get("PARLANCE_DATA", PROJECT.parent / "shared" / "data"))
ROWS = 600

COLUMNS = {
    "message": [f"please open ticket {index} for my door" for index in range(ROWS)],
    "queue": ["sales", "support", "billing"] * (ROWS // 3),
    "trip fare": [index % 70 + 0.5 for index in range(ROWS)],
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def tickets(here):
    pa_csv.write_csv(pa.table(COLUMNS), here / "tickets.csv")
    return "tickets.csv"


def _check_runnable(result):
    """Everything the pipeline checks before it reads a row."""
    loaded = config.load(result.pipeline_file)
    schema = schema_file.read(result.schema_file)
    check_roles(loaded.data, schema)
    return loaded, schema


class TestFiles:
    def test_are_written_below_the_working_directory(self, tickets):
        result = init_pipeline(tickets, label="queue")
        loaded, schema = _check_runnable(result)

        assert (str(result.pipeline_file), str(result.schema_file)) == ("tickets.yaml", "schemas/tickets/schema.pbtxt")
        assert (loaded.data.source.path, loaded.schema_path) == ("tickets.csv", "schemas/tickets/schema.pbtxt")
        assert loaded.data.text == ("message",)
        assert [feature.name for feature in schema_file.model_inputs(schema)] == ["message", "trip fare"]

    def test_say_where_the_table_is_from_where_they_are(self, tickets, here):
        loaded = config.load(init_pipeline(tickets, label="queue", directory="project").pipeline_file)

        assert (here / "project" / loaded.data.source.path).resolve() == here / "tickets.csv"

    def test_are_equal_when_written_again(self, tickets):
        first = init_pipeline(tickets, label="queue").pipeline_file.read_bytes()

        assert init_pipeline(tickets, label="queue").pipeline_file.read_bytes() == first

    @pytest.mark.parametrize("edited", ["tickets.yaml", "schemas/tickets/schema.pbtxt"])
    def test_are_not_overwritten_once_edited(self, tickets, edited):
        init_pipeline(tickets, label="queue")
        path = pathlib.Path(edited)
        path.write_text(path.read_text() + "# mine\n")

        with pytest.raises(UsageError, match="exists and differs; replace it with --force, or choose another --name"):
            init_pipeline(tickets, label="queue")
        assert path.read_text().endswith("# mine\n")

        init_pipeline(tickets, label="queue", force=True)
        assert not path.read_text().endswith("# mine\n")

    def test_need_a_place(self, tickets):
        pathlib.Path("schemas").write_text("a file in the way")

        with pytest.raises(EnvironmentFailure, match="schemas/tickets/schema.pbtxt cannot be written"):
            init_pipeline(tickets, label="queue")


class TestName:
    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            ("2024 Tickets (final).csv", "tickets_final"),
            ("banking77/data.csv", "banking"),
            ("文本.csv", "pipeline"),
        ],
    )
    def test_comes_from_the_path(self, here, path, expected):
        folder = here / "1"
        (folder / path).parent.mkdir(parents=True)
        pa_csv.write_csv(pa.table(COLUMNS), folder / path)

        assert init_pipeline(str(folder / path), label="queue").pipeline_file.stem == expected

    @pytest.mark.parametrize("name", ["Tickets", "1st", "a b", "../x", "a\n", ""])
    def test_is_one_a_folder_and_a_model_can_have(self, tickets, name):
        with pytest.raises(UsageError, match="A name starts with a lower-case letter"):
            init_pipeline(tickets, label="queue", name=name)


class TestTables:
    @pytest.mark.parametrize("extension", ["csv", "jsonl", "parquet"])
    def test_of_every_format_give_the_same_roles(self, here, extension):
        path = here / f"tickets.{extension}"
        if extension == "csv":
            pa_csv.write_csv(pa.table(COLUMNS), path)
        elif extension == "parquet":
            pq.write_table(pa.table(COLUMNS), path)
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in pa.table(COLUMNS).to_pylist()))

        loaded, schema = _check_runnable(init_pipeline(str(path), label="queue"))

        assert loaded.data.source.type == extension
        assert [feature.name for feature in schema.feature] == ["queue", "message", "trip fare"]

    def test_may_be_a_folder_of_files(self, here):
        for part in "ab":
            pq.write_table(pa.table(COLUMNS), here / f"{part}.parquet")

        assert init_pipeline(str(here), label="queue", name="tickets").decisions[0] == "rows: 1,200"

    @pytest.mark.parametrize(
        "name", ["label", "inputs", "examples", "my fare.in €", '"', "it's", "1st", "a/b", "名前", "a: b", "- x", "# no"]
    )
    def test_may_have_odd_column_names(self, here, name):
        pa_csv.write_csv(pa.table({"queue": COLUMNS["queue"], name: COLUMNS["trip fare"]}), here / "odd.csv")

        _, schema = _check_runnable(init_pipeline("odd.csv", label="queue"))

        assert name in {feature.name for feature in schema_file.model_inputs(schema)}

    def test_may_have_an_odd_label(self, here):
        pa_csv.write_csv(pa.table({**COLUMNS, "the: 'label'": COLUMNS["queue"][::-1]}), here / "odd.csv")

        loaded, _ = _check_runnable(init_pipeline("odd.csv", label="the: 'label'", exclude=["queue"]))

        assert loaded.data.label == "the: 'label'"

    @pytest.mark.parametrize("name", ["  ", "a\nb"])
    def test_must_name_their_columns(self, here, name):
        pq.write_table(pa.table({**COLUMNS, name: COLUMNS["trip fare"]}), here / "odd.parquet")

        with pytest.raises(UsageError, match="Every column needs a name without control characters"):
            init_pipeline("odd.parquet", label="queue")

    @pytest.mark.parametrize(
        ("path", "content", "message"),
        [
            ("missing.csv", None, "There is no file at missing.csv"),
            ("missing", None, "There is no file at missing"),
            ("table.xlsx", "x", "format is told by its extension.*csv: .csv"),
            ("empty.csv", "", "is empty"),
            ("header.csv", "message,queue\n", "has no rows"),
            ("twice.csv", "a,a\n1,2\n", "repeats 'a'"),
        ],
    )
    def test_that_cannot_be_read_are_refused(self, here, path, content, message):
        if content is not None:
            (here / path).write_text(content)

        with pytest.raises(UsageError, match=message):
            init_pipeline(path, label="queue")

    def test_with_rows_that_cannot_be_read_say_so(self, here):
        rows = "".join(f"{message},{queue}\n" for message, queue in zip(COLUMNS["message"], COLUMNS["queue"], strict=True))
        (here / "tickets.csv").write_text("message,queue\n" + rows + "one,two,three\n")

        assert init_pipeline("tickets.csv", label="queue").warnings[0] == "1 rows cannot be read and will be set aside"


class TestDerive:
    def test_makes_a_label_and_keeps_its_source_from_the_model(self, tickets):
        loaded, schema = _check_runnable(init_pipeline(tickets, label="dear", derive=["dear=`trip fare` >= 35"]))

        assert loaded.data.derive == {"dear": "`trip fare` >= 35"}
        assert loaded.data.exclude == ("trip fare",)
        assert {"dear", "message"} <= {feature.name for feature in schema.feature}

    def test_sees_through_derived_columns(self, tickets):
        derive = ["double=`trip fare` * 2", "dear=double >= 70"]

        assert set(config.load(init_pipeline(tickets, label="dear", derive=derive).pipeline_file).data.exclude) == {
            "double",
            "trip fare",
        }

    @pytest.mark.parametrize(
        ("derive", "message"),
        [
            ("dear", "NAME=EXPRESSION"),
            ("=1", "NAME=EXPRESSION"),
            ("dear=fares > 1", "'fares'"),
            ("queue=`trip fare` > 1", "makes 'queue', but the table has it"),
        ],
    )
    def test_explains_what_it_takes(self, tickets, derive, message):
        with pytest.raises(UsageError, match=message):
            init_pipeline(tickets, label="queue", derive=[derive])


@pytest.mark.skipif(not DATA.is_dir(), reason=f"there is no {DATA}; set PARLANCE_DATA")
class TestRealTables:
    @pytest.mark.parametrize(
        ("path", "segments", "inputs", "split"),
        [
            ("clinc150/full", ["domain", "is_oos"], [], "column"),
            ("clinc150/oos_plus", ["domain", "is_oos"], [], "column"),
            ("banking77/data", [], [], "column"),
            ("multidogo/turn", ["domain"], ["turn"], "column"),
            ("ohf_intents_tests/data", ["language"], ["language"], "hash"),
            ("snips/data", [], [], "column"),
        ],
    )
    def test_get_the_roles_a_person_would_give(self, here, path, segments, inputs, split):
        loaded, schema = _check_runnable(init_pipeline(str(DATA / f"{path}.parquet"), label="label"))

        assert loaded.data.text == ("text",)
        assert [name for segment in loaded.data.segments for name in segment] == segments
        assert [feature.name for feature in schema_file.model_inputs(schema)] == ["text", *inputs]
        assert loaded.data.split.by == split


def test_imports_no_tensorflow(tickets, here):
    program = (
        "import sys; from pipeline.init import init_pipeline; init_pipeline('tickets.csv', label='queue');"
        "print([name for name in ('tensorflow', 'apache_beam', 'tfx') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
    )

    assert done.stdout.strip() == "[]"
