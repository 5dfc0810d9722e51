import pytest

from serving.messages import Feature, Int64List, PredictRequest, TensorProto, wire


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**63])
def test_varints_come_back(value):
    assert wire.read_varint(b"x" + wire.varint(value) + b"y", 1) == (value, 1 + len(wire.varint(value)))


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 11])
def test_a_varint_without_an_end_is_refused(data):
    with pytest.raises(ValueError, match="within a varint"):
        wire.read_varint(data, 0)


@pytest.mark.parametrize("buffer", [bytes, memoryview])
def test_a_field_is_found_among_fields_of_all_kinds(buffer):
    proto = TensorProto(dtype=1, float_val=[1, 2], double_val=[3], string_val=[b"a", b"bc"], tensor_content=b"x" * 300)
    # A double and a float that are not packed: newer fields of other wire types.
    message = proto.SerializeToString() + b"\x99\x06" + b"8" * 8 + b"\x9d\x06" + b"4" * 4
    assert [bytes(payload) for payload in wire.length_delimited(buffer(message), 8)] == [b"a", b"bc"]
    assert [bytes(payload) for payload in wire.length_delimited(buffer(message), 4)] == [b"x" * 300]
    assert list(wire.length_delimited(buffer(message), 9)) == []


def test_fields_put_together_are_a_message():
    feature = Feature(int64_list=Int64List(value=[1, 2, 3]))
    assert Feature.FromString(wire.field(3, wire.field(1, b"\x01\x02\x03"))) == feature
    assert PredictRequest.FromString(wire.field(3, b"scores") + wire.field(3, b"label")).output_filter == ["scores", "label"]
