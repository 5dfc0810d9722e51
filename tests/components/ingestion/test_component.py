"""The drivers choose what to read: the span of files that the pipeline file names, the rows of a database since the last run."""

import contextlib
import json

import pytest

from components.errors import UsageError
from components.ingestion.options import DataOptions, FileSource

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def spans(tmp_path):
    for span in (1, 2, 10):
        (tmp_path / f"span-{span}").mkdir()
        (tmp_path / f"span-{span}" / "rows.csv").write_text(f"text,label\nspan {span},a\n")
    return tmp_path


def resolve(folder, span, window=1):
    from tfx.proto import example_gen_pb2
    from tfx.utils import proto_utils

    from components.ingestion import component

    source = {"type": "csv", "path": str(folder / "span-{SPAN}" / "rows.csv"), "span": span, "window": window}
    config = example_gen_pb2.Input(splits=[example_gen_pb2.Input.Split(name="all", pattern="span-{SPAN}/rows.csv")])
    properties = {
        "data": DataOptions.model_validate({"source": source, "label": "label"}).model_dump_json(),
        "input_base": str(folder),
        "input_config": proto_utils.proto_to_json(config),
    }
    return component.FileDriver(None).resolve_exec_properties(properties, None, None)


@pytest.mark.parametrize(("span", "chosen"), [(None, 10), (1, 1), (2, 2)])
def test_the_newest_unless_one_is_named(spans, span, chosen):
    resolved = resolve(spans, span)
    assert resolved["span"] == chosen
    assert json.loads(resolved["input_config"])["splits"][0]["pattern"] == f"span-{chosen}/rows.csv"
    assert "range_config" not in resolved


def test_a_span_that_is_not_there(spans):
    with pytest.raises(UsageError, match="data.source.path cannot be resolved"):
        resolve(spans, 3)


def test_a_span_needs_its_place_in_the_path():
    with pytest.raises(ValueError, match="source.path must say where {SPAN} is in it; received 'a.csv'"):
        FileSource(type="csv", path="a.csv", span=3)


@pytest.mark.parametrize(("span", "window", "chosen"), [(None, 2, [2, 10]), (2, 2, [1, 2]), (None, 9, [1, 2, 10]), (1, 3, [1])])
def test_a_window_is_the_newest_spans_that_there_are(spans, span, window, chosen):
    resolved = resolve(spans, span, window)
    assert resolved["span"] == chosen[-1]
    patterns = [split["pattern"] for split in json.loads(resolved["input_config"])["splits"]]
    assert patterns == [f"span-{number}/rows.csv" for number in chosen]


def test_a_changed_file_anywhere_in_the_window_is_seen(spans):
    before = resolve(spans, None, 2)["input_fingerprint"]
    (spans / "span-1" / "rows.csv").write_text("text,label\n")
    assert resolve(spans, None, 2)["input_fingerprint"] == before
    (spans / "span-2" / "rows.csv").write_text("text,label\n")
    assert resolve(spans, None, 2)["input_fingerprint"] != before


def test_a_window_needs_spans():
    with pytest.raises(ValueError, match="source.window reads several spans, so source.path must say where"):
        FileSource(type="csv", path="a.csv", window=2)


class Pipeline:
    """A node that ingests a table again and again: what TFX's launcher does before and after, with ML Metadata in a file."""

    def __init__(self, folder):
        from tfx.orchestration import metadata

        self.store = metadata.Metadata(metadata.sqlite_metadata_connection_config(str(folder / "metadata.db")))

    def drive(self, succeeds=True, **source):
        """Runs the driver and publishes what it said; returns the properties it chose."""
        from ml_metadata.proto import metadata_store_pb2
        from tfx.orchestration.portable import data_types
        from tfx.orchestration.portable.mlmd import context_lib
        from tfx.proto.orchestration import pipeline_pb2
        from tfx.types import standard_artifacts

        from components.ingestion import component

        source = {"type": "sql", "url": "sqlite:///t.db", "table": "t", **source}
        examples = standard_artifacts.Examples()
        info = data_types.ExecutionInfo(
            output_dict={"examples": [examples]},
            exec_properties={"data": DataOptions.model_validate({"source": source, "label": "label"}).model_dump_json()},
            pipeline_node=pipeline_pb2.PipelineNode(node_info={"id": "ExampleGen"}),
            pipeline_info=pipeline_pb2.PipelineInfo(id="tickets"),
        )
        output = component.DatabaseDriver(self.store).run(info)
        artifact = output.output_artifacts["examples"].artifacts[0]
        artifact.state = artifact.LIVE if succeeds else artifact.ABANDONED
        with self.store as connection:
            artifact.type_id = connection.store.put_artifact_type(examples.artifact_type)
            context = context_lib.register_context_if_not_exists(connection, "node", "tickets.ExampleGen")
            [artifact_id] = connection.store.put_artifacts([artifact])
            attribution = metadata_store_pb2.Attribution(artifact_id=artifact_id, context_id=context.id)
            connection.store.put_attributions_and_associations([attribution], [])
        return {name: value.string_value for name, value in output.exec_properties.items()}


class TestDatabaseDriver:
    SPANS = {"incremental": {"column": "id"}}

    @pytest.fixture
    def drive(self, table, tmp_path, monkeypatch):
        from components.ingestion import database

        monkeypatch.setattr(database, "opened", lambda source: contextlib.nullcontext(table))
        table.rows = [{"id": 1, "label": "a"}, {"id": 2, "label": "b"}]
        return Pipeline(tmp_path).drive

    def ids(self, table, chosen):
        from components.ingestion import watermark

        return [row["id"] for row in table.of(watermark.region(chosen["region"]))]

    def test_a_run_reads_what_arrived_since_the_last_one(self, drive, table):
        assert self.ids(table, drive(**self.SPANS)) == [1, 2]
        table.rows.append({"id": 3, "label": "a"})
        assert self.ids(table, drive(**self.SPANS)) == [3]

    def test_without_anything_new_it_chooses_the_same_as_before(self, drive):
        assert drive(**self.SPANS) == drive(**self.SPANS)

    def test_what_a_failed_run_should_have_read_is_in_the_next_span(self, drive, table):
        drive(**self.SPANS)
        table.rows.append({"id": 3, "label": "a"})
        assert self.ids(table, drive(succeeds=False, **self.SPANS)) == [3]
        table.rows.append({"id": 4, "label": "a"})
        assert self.ids(table, drive(**self.SPANS)) == [3, 4]

    def test_a_wider_window_goes_on_where_a_narrow_one_stopped(self, drive, table):
        drive(**self.SPANS)
        table.rows.append({"id": 3, "label": "a"})
        assert self.ids(table, drive(incremental={"column": "id", "window": 2}, partitions=2, key="id")) == [1, 2, 3]

    @pytest.mark.parametrize("other", [{"table": "u"}, {"incremental": {"column": "id", "start": 0}}, {"url": "sqlite:///u.db"}])
    def test_another_table_begins_anew(self, drive, table, other):
        drive(**self.SPANS)
        table.rows.append({"id": 3, "label": "a"})
        assert self.ids(table, drive(**self.SPANS | other)) == [1, 2, 3]

    def test_rows_that_disappeared_from_a_span_change_its_fingerprint(self, drive, table):
        before = drive(**self.SPANS)["source_fingerprint"]
        del table.rows[0]
        assert drive(**self.SPANS)["source_fingerprint"] != before

    def test_a_whole_table_is_read_again_unless_its_version_says_it_is_the_same(self, drive, table):
        assert drive()["source_fingerprint"] != drive()["source_fingerprint"]
        before = drive(version="id")["source_fingerprint"]
        assert drive(version="id")["source_fingerprint"] == before
        assert "region" not in drive(version="id")
        table.rows.append({"id": 2, "label": "a"})
        assert drive(version="id")["source_fingerprint"] != before


@pytest.mark.parametrize(("path", "span"), [("span-{SPAN}/rows.csv", 7), ("span-7/rows.csv", None)])
def test_examples_come_with_a_manifest_that_brings_them_back(path, span, tmp_path):
    from tfx.proto import example_gen_pb2
    from tfx.types import standard_artifacts
    from tfx.utils import proto_utils

    from components.ingestion import component, manifest
    from components.validation import schema_file

    (tmp_path / "span-7").mkdir()
    rows = "".join(f"message {number},{'ab'[number % 2]}\n" for number in range(100))
    (tmp_path / "span-7" / "rows.csv").write_text(f"text,label\n{rows}", encoding="utf-8")
    (tmp_path / "schema").mkdir()
    text = 'feature { name: "text" type: BYTES } feature { name: "label" type: BYTES }'
    (tmp_path / "schema" / schema_file.FILE_NAME).write_text(text, encoding="utf-8")
    schema, examples, quarantine = standard_artifacts.Schema(), standard_artifacts.Examples(), component.Quarantine()
    schema.uri, examples.uri, quarantine.uri = (str(tmp_path / name) for name in ("schema", "examples", "quarantine"))
    # TFX's driver says span 0 of a path without spans.
    examples.set_int_custom_property("span", span or 0)
    source = {"type": "csv", "path": str(tmp_path / path)}
    config = example_gen_pb2.Input(splits=[example_gen_pb2.Input.Split(name="all", pattern="span-7/rows.csv")])
    properties = {
        "data": DataOptions.model_validate({"source": source, "text": "text", "label": "label"}).model_dump_json(),
        "privacy": "{}",
        "input_base": str(tmp_path),
        "input_config": proto_utils.proto_to_json(config),
    }
    outputs = {"examples": [examples], "quarantine": [quarantine]}
    component.ExampleGenExecutor().Do({"schema": [schema]}, outputs, properties)
    written = manifest.Manifest.from_json(json.loads((tmp_path / "examples" / "manifest.json").read_text(encoding="utf-8")))
    assert written.span == span
    assert written.paths == (str(tmp_path / "span-7" / "rows.csv"),)
    assert manifest.stored(tmp_path / "examples", schema_file.parse(text)) == dict(written.splits)
    (tmp_path / "again").mkdir()
    manifest.ingest_again(written, tmp_path / "again")
    assert manifest.stored(tmp_path / "again", schema_file.parse(text)) == dict(written.splits)
