"""The driver of file sources chooses the span that the pipeline file names."""

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


def resolve(folder, span):
    from tfx.proto import example_gen_pb2
    from tfx.utils import proto_utils

    from components.ingestion import component

    source = {"type": "csv", "path": str(folder / "span-{SPAN}" / "rows.csv"), "span": span}
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
