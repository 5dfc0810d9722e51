"""tf.Examples as tables, without TensorFlow."""

import gzip

import pytest

from components.errors import UsageError
from components.ingestion import ingest, readers, tfrecord
from components.ingestion.options import DataOptions, FileSource
from serving import tfrecords
from serving.messages import Example


def example(**features):
    built = Example()
    for name, value in features.items():
        values = value if isinstance(value, list) else [value]
        kind = {bytes: "bytes_list", int: "int64_list", float: "float_list"}[type(values[0])] if values else "bytes_list"
        getattr(built.features.feature[name], kind).value.extend(values)
    return built.SerializeToString()


@pytest.fixture
def write(tmp_path):
    def records(*examples, name="rows.tfrecord", compress=False, torn=0):
        content = b"".join(map(tfrecords.framed, examples))
        content = gzip.compress(content) if compress else content
        path = tmp_path / name
        path.write_bytes(content[: len(content) - torn])
        return path

    return records


def read(path, columns=None):
    return list(readers.read_batches(FileSource(type="tfrecord", path=str(path)), columns=columns))


ROWS = (example(text=b"one", n=3, x=0.5), example(text="zwölf".encode(), n=[], x=1.5), example(n=7))


class TestReading:
    @pytest.mark.parametrize(("name", "compress"), [("rows.tfrecord", False), ("rows.tfrecord", True), ("data-0.gz", True)])
    def test_features_are_columns(self, write, name, compress):
        [chunk] = read(write(*ROWS, name=name, compress=compress))
        assert chunk.rows.to_pydict() == {"text": ["one", "zwölf", None], "n": [3, None, 7], "x": [0.5, 1.5, None]}
        assert chunk.positions.tolist() == [1, 2, 3]
        assert set(chunk.columns) == {"text", "n", "x"}

    def test_several_values_are_json(self, write):
        [chunk] = read(write(example(a=[b"x", b"y"], n=[1, 2]), example(a=b"z", n=3), example(a=[])))
        assert chunk.rows.to_pydict() == {"a": ['["x", "y"]', "z", None], "n": ["[1, 2]", "3", None]}

    def test_features_of_several_types_are_text(self, write):
        [chunk] = read(write(example(a=b"x", n=[1, 2]), example(a=5, n=b"y"), example(a=[b"x", b"y"])))
        assert chunk.rows.to_pydict() == {"a": ["x", "5", '["x", "y"]'], "n": ["[1, 2]", "y", None]}

    def test_only_the_columns_asked_for(self, write):
        [chunk] = read(write(*ROWS), columns=["n", "absent"])
        assert chunk.rows.schema.names == ["n"]

    def test_what_is_no_example_is_set_aside(self, write):
        [chunk] = read(write(ROWS[0], b"\xff\xff", ROWS[2], example(text=b"\xff")))
        assert chunk.rows.column("n").to_pylist() == [3, 7]
        assert {entry.reason: entry.positions.tolist() for entry in chunk.rejected} == {
            "not a tf.Example": [2],
            "text: invalid UTF-8": [4],
        }

    def test_memory_is_bounded_by_blocks(self, write, monkeypatch):
        monkeypatch.setattr(tfrecord, "_RECORDS_PER_BLOCK", 2)
        assert [chunk.positions.tolist() for chunk in read(write(*ROWS))] == [[1, 2], [3]]

    def test_an_empty_file_has_no_rows(self, write):
        assert read(write()) == []


class TestDamage:
    @pytest.mark.parametrize("compress", [False, True])
    @pytest.mark.parametrize("torn", [1, 5, 20])
    def test_a_torn_file_is_an_error_that_names_it(self, write, compress, torn):
        path = write(*ROWS, compress=compress, torn=torn)
        with pytest.raises(UsageError, match=r"rows.tfrecord cannot be read as tfrecord: record \d is torn or damaged"):
            read(path)

    @pytest.mark.parametrize("place", [2, 9, 14, -1])
    def test_so_is_one_with_a_flipped_bit(self, write, place):
        path = write(*ROWS)
        content = bytearray(path.read_bytes())
        content[place] ^= 4
        path.write_bytes(content)
        with pytest.raises(UsageError, match=f"record {3 if place < 0 else 1} is torn"):
            read(path)


def test_what_ingestion_wrote_can_be_read_again(write_rows, make_options, make_schema, tmp_path):
    table = write_rows("csv", text=[f"message {row}" for row in range(200)], label=["a", "b"] * 100)
    schema = make_schema(text="BYTES", label="BYTES")
    first = ingest.ingest(make_options(table), schema, None, str(tmp_path / "out"), str(tmp_path / "bad"))
    source = {"type": "tfrecord", "path": str(tmp_path / "out" / "Split-*" / "*")}
    options = DataOptions.model_validate({"source": source, "text": "text", "label": "label"})
    again = ingest.ingest(options, schema, None, str(tmp_path / "out2"), str(tmp_path / "bad2"))
    assert again["fingerprint"] == first["fingerprint"]
