import math
import time

import numpy as np
import pytest

from serving import tensors
from serving.messages import DataType, TensorProto
from serving.tensors import MalformedTensorProtoError, Tensor, from_proto, to_proto


def proto(dtype, shape=(), **fields):
    made = TensorProto(dtype=DataType.Value(f"DT_{dtype}"), **fields)
    made.tensor_shape.SetInParent()
    for size in shape:
        made.tensor_shape.dim.add().size = size
    return made


def values_of(dtype, count):
    """Values over the whole range of a type, beginning with the extremes."""
    generator = np.random.default_rng(7)
    storage = tensors.numpy_dtype(dtype)
    if storage.kind == "O":
        return np.array([b"\x00" * (i % 3) + b"x" * (i % 40) for i in range(count)] or [], dtype=object)
    if storage.kind == "b":
        return np.arange(count) % 3 == 0
    if storage.kind in "fc":
        values = generator.standard_normal(count).astype(storage)
        values[: min(count, 3)] = [np.nan, -np.inf, -0.0][: min(count, 3)]
        return values
    limits = np.iinfo(storage)
    values = generator.integers(limits.min, limits.max, count, dtype=storage, endpoint=True)
    values[: min(count, 3)] = [limits.min, limits.max, 0][: min(count, 3)]
    return values


class TestRoundTrip:
    @pytest.mark.parametrize("count", [0, 1, 5, 48, 49, 1000])
    @pytest.mark.parametrize("content", [False, True])
    @pytest.mark.parametrize("dtype", sorted(tensors._KINDS), ids=DataType.Name)
    def test_every_type_and_size_is_the_same_after_writing_and_reading(self, dtype, content, count):
        tensor = Tensor(dtype, values_of(dtype, count))
        read = from_proto(TensorProto.FromString(to_proto(tensor, content=content).SerializeToString()))
        assert (read.dtype, read.shape, read.array.dtype) == (dtype, (count,), tensor.array.dtype)
        assert read.array.tobytes() == tensor.array.tobytes() or read.array.tolist() == tensor.array.tolist()

    @pytest.mark.parametrize("shape", [(), (1,), (0, 3), (2, 3, 4), (10, 10)])
    def test_every_shape(self, shape):
        array = np.arange(math.prod(shape), dtype=np.int32).reshape(shape)
        written = to_proto(Tensor.of(array))
        assert written.HasField("tensor_shape")
        np.testing.assert_array_equal(from_proto(written).array, array)
        assert from_proto(written).shape == shape


class TestWriting:
    @pytest.mark.parametrize("count", [2, 100])
    def test_answers_use_typed_fields_and_requests_content(self, count):
        tensor = Tensor.of(np.ones(count, np.float32))
        assert list(to_proto(tensor).float_val) == [1.0] * count
        assert to_proto(tensor).tensor_content == b""
        assert to_proto(tensor, content=True).tensor_content == np.ones(count, np.float32).tobytes()

    def test_arrays_in_another_memory_order_are_written_row_by_row(self):
        transposed = np.arange(6, dtype=np.float32).reshape(2, 3).T
        assert list(to_proto(Tensor.of(transposed)).float_val) == [0, 3, 1, 4, 2, 5]
        assert from_proto(to_proto(Tensor.of(transposed), content=True)).array.tolist() == transposed.tolist()

    def test_resources_cannot_travel(self):
        with pytest.raises(TypeError, match="DT_RESOURCE"):
            to_proto(Tensor(DataType.DT_RESOURCE, np.zeros(1)))


class TestReading:
    """As TensorFlow's C++ reads; server/test_runtime.py compares the two."""

    def test_a_short_list_repeats_its_last_value(self):
        assert from_proto(proto("FLOAT", [4], float_val=[1, 2])).array.tolist() == [1, 2, 2, 2]
        assert from_proto(proto("STRING", [3], string_val=[b"a"])).array.tolist() == [b"a", b"a", b"a"]

    def test_no_values_are_zeros(self):
        assert from_proto(proto("INT64", [2])).array.tolist() == [0, 0]
        assert from_proto(proto("STRING", [2])).array.tolist() == [b"", b""]
        assert from_proto(proto("BOOL", [])).array.tolist() is False

    def test_surplus_values_are_ignored(self):
        assert from_proto(proto("FLOAT", [1], float_val=[1, 2, 3])).array.tolist() == [1]
        assert from_proto(proto("STRING", [1], string_val=[b"a", b"b"])).array.tolist() == [b"a"]
        assert from_proto(proto("FLOAT", [], float_val=range(100))).array.tolist() == 0

    def test_half_of_a_complex_number_is_ignored(self):
        assert from_proto(proto("COMPLEX64", [1], scomplex_val=[1, 2, 3])).array.tolist() == [1 + 2j]

    def test_strings_in_tensor_content(self):
        assert from_proto(proto("STRING", [2], tensor_content=b"\x01\x02abc")).array.tolist() == [b"a", b"bc"]

    @pytest.mark.parametrize(
        ("malformed", "message"),
        [
            (TensorProto(), "DT_INVALID"),
            (TensorProto(dtype=77), "type 77"),
            (proto("FLOAT_REF", []), "DT_FLOAT_REF"),
            (proto("FLOAT", [-1]), "not fully known"),
            (proto("FLOAT", [2], tensor_content=b"123"), "3 bytes, the shape needs 8"),
            (proto("STRING", [2], tensor_content=b"\x01\x05abc"), "tensor_content"),
            (proto("STRING", [2], tensor_content=b"\x01"), "ends within the lengths"),
            (proto("FLOAT", [2**40, 2**40]), "too many elements"),
            (proto("FLOAT", [10**12], float_val=[1]), "far more than the message carries"),
            (proto("STRING", [10**8]), "far more than the message carries"),
        ],
    )
    def test_what_is_no_tensor_is_refused_before_it_takes_memory(self, malformed, message):
        with pytest.raises(MalformedTensorProtoError, match=message):
            from_proto(malformed)

    @pytest.mark.parametrize("dtype", ["FLOAT", "INT64"])
    def test_large_typed_lists_are_read_fast(self, dtype):
        # Element by element this takes 100 ms.
        large = to_proto(Tensor.of(np.arange(2_000_000), DataType.Value(f"DT_{dtype}")))
        started = time.perf_counter()
        assert from_proto(large).array[-1] == 1_999_999
        assert time.perf_counter() - started < 1


class TestMaking:
    @pytest.mark.parametrize(
        ("values", "dtype", "shape"),
        [
            ("text", "STRING", ()),
            (b"bytes", "STRING", ()),
            (["a", b"b"], "STRING", (2,)),
            ([["a"], ["b"]], "STRING", (2, 1)),
            (np.array(["a", "b"]), "STRING", (2,)),
            (1, "INT64", ()),
            ([1.5], "DOUBLE", (1,)),
            (True, "BOOL", ()),
            (np.float16([1]), "HALF", (1,)),
            (np.array([1], ">i4"), "INT32", (1,)),
        ],
    )
    def test_the_type_follows_the_values(self, values, dtype, shape):
        made = Tensor.of(values)
        assert (DataType.Name(made.dtype), made.shape) == (f"DT_{dtype}", shape)
        assert from_proto(to_proto(made)).array.tolist() == made.array.tolist()

    def test_text_becomes_utf8_and_zero_bytes_stay(self):
        assert Tensor.of(["Grüße", b"a\x00"]).array.tolist() == ["Grüße".encode(), b"a\x00"]

    def test_integers_take_any_type_they_fit_into(self):
        assert Tensor.of([1, 255], DataType.DT_UINT8).array.tolist() == [1, 255]
        assert Tensor.of([1, 2], DataType.DT_FLOAT).array.dtype == np.float32

    @pytest.mark.parametrize(
        ("values", "dtype"),
        [([256], "UINT8"), ([-1], "UINT32"), ([1.5], "INT32"), ([1j], "FLOAT"), (["a"], "FLOAT"), ([1], "STRING")],
    )
    def test_values_that_would_change_are_refused(self, values, dtype):
        with pytest.raises(TypeError):
            Tensor.of(values, DataType.Value(f"DT_{dtype}"))

    def test_bfloat16_rounds_to_even_and_reads_as_float(self):
        made = Tensor.of([1.0, 1.00390625, 1.01171875, np.nan, -np.inf], DataType.DT_BFLOAT16)
        np.testing.assert_array_equal(made.numpy(), np.float32([1.0, 1.0, 1.015625, np.nan, -np.inf]))

    def test_bfloat16_of_another_library_is_taken_as_it_is(self):
        ml_dtypes = pytest.importorskip("ml_dtypes")
        made = Tensor.of(np.array([1.5], ml_dtypes.bfloat16))
        assert (made.dtype, made.numpy().tolist()) == (DataType.DT_BFLOAT16, [1.5])


@pytest.mark.parametrize("content", [False, True])
@pytest.mark.parametrize("dtype", sorted(tensors._KINDS))
def test_elements_as_a_runtime_has_them_are_the_tensor_of_their_array(dtype, content):
    made = Tensor(dtype, values_of(dtype, 6).reshape(2, 3))
    elements = made.array.ravel().tolist() if dtype == DataType.DT_STRING else made.array.tobytes()
    tensor = Tensor.of_elements(dtype, (2, 3), elements)
    assert tensors.serialized(tensor, content=content) == tensors.serialized(made, content=content)
    assert repr(tensor.floats()) == repr(made.floats())  # as text, since no NaN equals another
    assert (made.floats() is not None) == (made.array.dtype.kind == "f")
    np.testing.assert_array_equal(tensor.array, made.array)
    assert Tensor.of_elements(dtype, (0, 3), elements[:0]).array.shape == (0, 3)
