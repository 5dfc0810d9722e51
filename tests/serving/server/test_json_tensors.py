import json
import math

import numpy as np
import pytest

from serving.messages import (
    ClassificationRequest,
    ClassificationResult,
    DataType,
    GetModelStatusResponse,
    ModelSpec,
    RegressionResult,
    SignatureDefMap,
    TensorInfo,
)
from serving.server import json_tensors
from serving.server.errors import ServingError, StatusCode
from serving.server.json_tensors import PredictDocument
from serving.tensors import Tensor


def infos(**dtypes):
    return {name: TensorInfo(dtype=DataType.Value(f"DT_{dtype}")) for name, dtype in dtypes.items()}


def read(text, **dtypes):
    body = text if isinstance(text, bytes) else text.encode()
    return PredictDocument.parse(body).tensors(infos(**(dtypes or {"x": "FLOAT"})))


def refusal(text, **dtypes):
    with pytest.raises(ServingError) as caught:
        read(text, **dtypes)
    assert caught.value.code == StatusCode.INVALID_ARGUMENT
    return caught.value.message


def row_refusal(text, **dtypes):
    return refusal(f'{{"instances": {text}}}', **dtypes)


class TestRows:
    def test_a_single_input_needs_no_name(self):
        tensor = read('{"instances": [[1, 2.5], [3, 4]]}')["x"]
        assert tensor.array.tolist() == [[1, 2.5], [3, 4]]
        assert (tensor.dtype, tensor.array.dtype) == (DataType.DT_FLOAT, np.float32)

    def test_a_single_input_may_have_its_name(self):
        assert read('{"instances": [{"x": [1]}, {"x": [2]}]}')["x"].array.tolist() == [[1], [2]]

    def test_several_inputs_with_rows_of_different_order(self):
        found = read('{"instances": [{"a": 1, "b": ["u", "v"]}, {"b": ["w", "z"], "a": 2}]}', a="INT64", b="STRING")
        assert found["a"].array.tolist() == [1, 2]
        assert found["b"].array.tolist() == [[b"u", b"v"], [b"w", b"z"]]

    def test_base64_rows(self):
        rows = '[{"b64": "aGVsbG8="}, {"b64": "d29ybGQ"}]'
        assert read(f'{{"instances": {rows}}}', x="STRING")["x"].array.tolist() == [b"hello", b"world"]

    def test_empty_lists_have_a_shape(self):
        assert read('{"instances": [[], []]}')["x"].shape == (2, 0)

    def test_names_the_signature(self):
        assert PredictDocument.parse(b'{"signature_name": "s", "instances": [1]}').signature == "s"
        assert PredictDocument.parse(b'{"instances": [1]}').signature == ""

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            ("[[1,2],[3,4],[5,6,7]]", "Failed to process element: 2 of 'instances' list. "
             "Error: INVALID_ARGUMENT: Expecting tensor size: 2 but got: 3"),
            ("[[1,2],[3,4],[[5,6]]]", "Failed to process element: 2 of 'instances' list. "
             "Error: INVALID_ARGUMENT: Expecting shape [2] but got: [1,2]"),
            ("[[[1],[2,3]]]", "Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
            ("[[[1],2]]", "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
            ("[[1,[2]]]", "Encountered list at unexpected level: 1 expected < 1"),
            ('[[1],["a"]]', 'JSON Value: "a" Type: String is not of expected type: float'),
            ("[[1],[null]]", "JSON Value: null Type: Null is not of expected type: float"),
            ("[true]", "JSON Value: true Type: True is not of expected type: float"),
            ("[[1],{}]", "Expecting value/list but got object at item 1 of input list"),
            ('[{"x":1},[1]]', "Expecting object but got list at item 1 of input list"),
            ('[{"x":1},{"y":1}]', "Failed to process element: 1 key: y of 'instances' list. "
             "Error: INVALID_ARGUMENT: JSON object: does not have named input: y"),
            ("[{}]", "Failed to process element: 0 of 'instances' list. JSON object: {} keys must be equal to: x"),
            ("[16777217]", "Cannot convert JSON value: 16777217 to float without loss of precision."),
            ("[1e39]", "Cannot convert JSON value: 1e+39 to float without loss of precision."),
            ("[1e999]", "JSON Parse error: Number too big to be stored in double."),
            ("[]", "No values in 'instances' array"),
            ("1", "Excepting 'instances' to be an list/array"),
        ],
    )  # fmt: skip
    def test_refusals(self, rows, message):
        assert message in row_refusal(rows)

    def test_several_inputs_need_names(self):
        assert row_refusal("[1]", a="FLOAT", b="FLOAT") == (
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per tensorinfo_map"
        )

    def test_a_bad_value_is_found_in_a_long_list(self):
        rows = json.dumps([[1.0] * 50] * 300 + [[1.0] * 49 + ["a"]])
        assert "element: 300 " in row_refusal(rows)


class TestColumns:
    def test_a_single_input_needs_no_name(self):
        assert read('{"inputs": [[1], [2]]}')["x"].array.tolist() == [[1], [2]]
        assert read('{"inputs": 1}')["x"].shape == ()
        assert read('{"inputs": {"b64": "AA=="}}', x="STRING")["x"].array.tolist() == b"\0"

    def test_several_inputs_of_different_rows(self):
        found = read('{"inputs": {"a": [[1, 2, 3]], "b": "t", "more": 0}}', a="INT32", b="STRING")
        assert (found["a"].shape, found["b"].array.tolist()) == ((1, 3), b"t")

    def test_a_missing_input(self):
        assert refusal('{"inputs": {"y": 1}}') == "Missing named input: x in 'inputs' object."

    def test_several_inputs_need_names(self):
        assert "inputs is a plain value/list" in refusal('{"inputs": [1]}', a="FLOAT", b="FLOAT")


class TestTypes:
    def test_nan_and_infinity_are_bare_words(self):
        values = read('{"instances": [NaN, Infinity, -Infinity]}')["x"].array.tolist()
        assert math.isnan(values[0])
        assert values[1:] == [math.inf, -math.inf]

    @pytest.mark.parametrize("dtype", ["INT32", "INT64", "UINT8", "UINT64"])
    def test_numbers_with_a_point_are_no_integers(self, dtype):
        shown = f"JSON Value: 1.0 Type: Number is not of expected type: {dtype.lower()}"
        assert shown in row_refusal("[1.0]", x=dtype)

    @pytest.mark.parametrize(
        ("dtype", "good", "bad"),
        [("INT32", 2**31 - 1, 2**31), ("INT64", -(2**63), 2**63), ("UINT32", 2**32 - 1, -1), ("UINT64", 2**64 - 1, 2**64)],
    )
    def test_ranges(self, dtype, good, bad):
        assert read(f'{{"instances": [{good}]}}', x=dtype)["x"].array.tolist() == [good]
        assert "is not of expected type" in row_refusal(f"[{bad}]", x=dtype)

    def test_narrow_integers_wrap(self):
        assert read('{"instances": [300, -1]}', x="UINT8")["x"].array.tolist() == [44, 255]

    def test_exact_integers_of_doubles(self):
        assert read(f'{{"instances": [{2**53 - 1}, 0.5]}}', x="DOUBLE")["x"].array.tolist() == [2**53 - 1, 0.5]
        assert "to double without loss of precision" in row_refusal(f"[{2**53 + 1}]", x="DOUBLE")

    def test_booleans(self):
        assert read('{"instances": [true, false]}', x="BOOL")["x"].array.tolist() == [True, False]
        assert "Type: Number is not of expected type: bool" in row_refusal("[1]", x="BOOL")

    def test_strings(self):
        assert read('{"instances": ["\\u00e9", ""]}', x="STRING")["x"].array.tolist() == ["é".encode(), b""]
        assert "JSON Value: 1 Type: Number is not of expected type: string" in row_refusal("[1]", x="STRING")
        assert "Unable to base64 decode" in row_refusal('[{"b64": "a?=="}]', x="STRING")
        assert "not formatted correctly for base64 data" in row_refusal('[["a", {"b65": ""}]]', x="STRING")

    def test_types_that_json_does_not_carry(self):
        with pytest.raises(ServingError) as caught:
            read('{"inputs": [1]}', x="COMPLEX64")
        assert caught.value.code == StatusCode.UNIMPLEMENTED
        assert caught.value.message == "Conversion of JSON Value: 1 to type: complex64"


class TestDocuments:
    @pytest.mark.parametrize(
        ("body", "message"),
        [
            (b"", "JSON Parse error: The document is empty"),
            (b"{", "JSON Parse error: Missing a name for object member. at offset: 1"),
            (b'{"a" 1}', "JSON Parse error: Missing a colon after a name of object member. at offset: 5"),
            (b'{"a": [1 2]}', "JSON Parse error: Missing a comma or ] after an array element. at offset: 9"),
            (b'{"a": 1 "b"}', "JSON Parse error: Missing a comma or } after an object member. at offset: 8"),
            (b'{"a": x}', "JSON Parse error: Invalid value. at offset: 6"),
            (b'{} {}', "JSON Parse error: The document root must not be followed by other values. at offset: 3"),
            (b'{"a": "\xff"}', "JSON Parse error: Invalid encoding in string. at offset: 7"),
            (b"[1]", "JSON Value: [\n    1\n] Is not object"),
            (b"{}", "Missing 'inputs' or 'instances' key"),
            (b'{"instances": [1], "inputs": 1}', "Not formatted correctly expecting only one of 'inputs' or 'instances' keys"),
            (b'{"signature_name": 5, "inputs": 1}', "'signature_name' key must be a string value."),
        ],
    )  # fmt: skip
    def test_refusals(self, body, message):
        assert message in refusal(body)

    @pytest.mark.parametrize("bomb", [b"[" * 200_000, b'{"a":' * 200_000, b'{"inputs":' + b"[" * 400 + b"]" * 400 + b"}"])
    def test_nesting_is_limited(self, bomb):
        refusal(bomb)

    def test_the_number_of_lists_is_limited(self, monkeypatch):
        monkeypatch.setattr(json_tensors, "MAX_CONTAINERS", 100)
        assert "More than 100 lists" in refusal(b'{"inputs": [' + b"[]," * 100 + b"[]]}")

    def test_numbers_of_thousands_of_digits(self):
        assert "Number too big" in row_refusal("[" + "1" * 5000 + "]")
        assert "Number too big" in row_refusal("[" + "1" * 400 + "]")

    def test_lone_surrogates(self):
        assert "surrogate pair" in row_refusal('["\\ud800"]', x="STRING")

    def test_quotes_are_bounded(self):
        message = refusal(b'{"instances": 1, "inputs": "' + b"a" * 100_000 + b'"}')
        assert len(message) < 1200
        assert "...TRUNCATED" in message

    def test_a_byte_order_mark_is_skipped(self):
        assert read(b'\xef\xbb\xbf{"inputs": 1}')["x"].array.tolist() == 1


class TestExamples:
    def test_types_follow_the_json(self):
        request = json_tensors.classification_request(
            b'{"signature_name": "s", "examples": [{"a": [1.5, NaN], "b": 2, "c": ["u", {"b64": "AA=="}], "d": [true, 3], "e": []}]}'
        )
        feature = request.input.example_list.examples[0].features.feature
        assert request.model_spec.signature_name == "s"
        assert feature["a"].float_list.value[0] == 1.5
        assert list(feature["b"].int64_list.value) == [2]
        assert list(feature["c"].bytes_list.value) == [b"u", b"\0"]
        assert list(feature["d"].int64_list.value) == [1, 3]
        assert feature["e"].WhichOneof("kind") is None

    def test_context(self):
        request = json_tensors.regression_request(b'{"context": {"q": "pizza"}, "examples": [{"a": 1}, {"a": 2}]}')
        listed = request.input.example_list_with_context
        assert listed.context.features.feature["q"].bytes_list.value == [b"pizza"]
        assert len(listed.examples) == 2

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ('{"context": {}}', "When method is classify, key 'examples' is expected and was not found"),
            ('{"context": []}', "Example must be JSON object but got JSON Array"),
            ('{"examples": {}}', "Expecting 'examples' value to be an list/array"),
            ('{"examples": []}', "'examples' value is an empty array"),
            ('{"examples": [1]}', "Example must be JSON object but got JSON Number"),
            ('{"examples": [{"n": [10, null]}]}', "Feature: n has element with unexpected JSON type: Null"),
            ('{"examples": [{"n": [10, 10.0]}]}', "Unexpected element type in feature: n expecting type: int64"),
            ('{"examples": [{"n": [[1]]}]}', "Feature: n has element with unexpected JSON type: Array"),
            ('{"examples": [{"n": 18446744073709551603}]}', "Feature: n has uint64 element. Only int64 is supported."),
            ('{"examples": [{"n": 1e300}]}', "to float without loss of precision."),
        ],
    )
    def test_refusals(self, body, message):
        with pytest.raises(ServingError, match=".*") as caught:
            json_tensors.classification_request(body.encode())
        assert message in caught.value.message

    def test_equals_what_a_grpc_client_sends(self):
        sent = ClassificationRequest()
        sent.input.example_list.examples.add().features.feature["x"].float_list.value.append(2.0)
        assert json_tensors.classification_request(b'{"examples": [{"x": 2.0}]}') == sent


class TestAnswers:
    def test_rows_look_like_upstreams(self):
        assert json_tensors.predictions({"y": Tensor.of(np.float32([1.5, 2]))}, rows=True) == (
            b'{\n    "predictions": [1.5, 2.0\n    ]\n}'
        )

    def test_columns_look_like_upstreams(self):
        assert json_tensors.predictions({"y": Tensor.of(np.int32([[1], [2]]))}, rows=False) == (
            b'{\n    "outputs": [\n        [\n            1\n        ],\n        [\n            2\n        ]\n    ]\n}'
        )

    def test_several_outputs(self):
        outputs = {"p%s": Tensor.of(np.float32([[0.25], [3]])), "n": Tensor.of([7, 8]), "s": Tensor.of(["a\n", '"'])}
        rows = json_tensors.predictions(outputs, rows=True)
        assert b'        {\n            "n": 7,\n            "p%s": [0.25],\n' in rows
        assert json.loads(rows) == {"predictions": [{"p%s": [0.25], "n": 7, "s": "a\n"}, {"p%s": [3.0], "n": 8, "s": '"'}]}
        columns = json.loads(json_tensors.predictions(outputs, rows=False))
        assert columns == {"outputs": {"p%s": [[0.25], [3.0]], "n": [7, 8], "s": ["a\n", '"']}}

    @pytest.mark.parametrize("rows", [True, False])
    def test_bytes_by_suffix(self, rows):
        outputs = {"image_bytes": Tensor.of([[b"\xff"], [b""]]), "flag": Tensor.of([True, False])}
        answer = json.loads(json_tensors.predictions(outputs, rows=rows))
        if rows:
            assert answer["predictions"][0] == {"image_bytes": [{"b64": "/w=="}], "flag": True}
        else:
            assert answer["outputs"]["image_bytes"] == [[{"b64": "/w=="}], [{"b64": ""}]]

    @pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0), (2, 3, 2), (1, 0, 2), (3, 1, 0)])
    @pytest.mark.parametrize("rows", [True, False])
    def test_shapes(self, shape, rows):
        array = np.arange(math.prod(shape)).reshape(shape)
        answer = json.loads(json_tensors.predictions({"y": Tensor.of(array)}, rows=rows))
        assert answer == {"predictions" if rows else "outputs": array.tolist()}

    def test_scalars_have_no_rows(self):
        assert json_tensors.predictions({"y": Tensor.of(3)}, rows=False) == b'{\n    "outputs": 3\n}'
        with pytest.raises(ServingError, match="Tensor name: y has no shape information "):
            json_tensors.predictions({"y": Tensor.of(3)}, rows=True)

    def test_different_numbers_of_rows(self):
        with pytest.raises(ServingError, match="Tensor name: b has inconsistent batch size: 1 expecting: 2"):
            json_tensors.predictions({"a": Tensor.of([1, 2]), "b": Tensor.of([1])}, rows=True)

    def test_types_that_json_does_not_carry(self):
        with pytest.raises(ServingError, match="Failed to write JSON value for tensor type: complex64"):
            json_tensors.predictions({"y": Tensor.of(np.complex64([1]))}, rows=False)

    def test_no_outputs(self):
        with pytest.raises(ServingError, match="Cannot convert empty tensor map to JSON"):
            json_tensors.predictions({}, rows=True)

    def test_text_that_is_not_utf_8_is_passed_on_as_it_is(self):
        assert b'"\xff"' in json_tensors.predictions({"y": Tensor.of([b"\xff"])}, rows=True)

    def test_classifications(self):
        result = ClassificationResult()
        for scores in ((0.2, 0.7), (1, float("nan"))):
            listed = result.classifications.add().classes
            listed.add(label="car", score=scores[0])
            listed.add(label="bike", score=scores[1])
        assert json_tensors.classifications(result) == (
            b'{\n    "results": [[["car", 0.2], ["bike", 0.7]], [["car", 1.0], ["bike", NaN]]\n    ]\n}'
        )

    def test_regressions(self):
        result = RegressionResult()
        result.regressions.add(value=0.2)
        result.regressions.add(value=3)
        assert json_tensors.regressions(result) == b'{\n    "results": [0.2, 3.0]\n}'

    def test_errors(self):
        assert json_tensors.error('say "no"') == b'{\n    "error": "say \\"no\\""\n}'

    def test_statuses(self):
        response = GetModelStatusResponse()
        status = response.model_version_status.add(version=123, state=30)
        status.status.SetInParent()
        expected = {"version": "123", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        assert json.loads(json_tensors.statuses(response)) == {"model_version_status": [expected]}

    def test_metadata_shows_default_values(self):
        spec = ModelSpec(name="m")
        spec.version.value = 3
        signatures = SignatureDefMap()
        info = signatures.signature_def["s"].inputs["x"]
        info.name, info.dtype = "x:0", DataType.DT_FLOAT
        info.tensor_shape.dim.add(size=-1)
        answer = json.loads(json_tensors.metadata(spec, signatures))
        assert answer["model_spec"] == {"name": "m", "signature_name": "", "version": "3"}
        shape = {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
        shown = answer["metadata"]["signature_def"]["signature_def"]["s"]
        assert shown["inputs"] == {"x": {"name": "x:0", "dtype": "DT_FLOAT", "tensor_shape": shape}}
        assert (shown["outputs"], shown["method_name"]) == ({}, "")


class TestDecimals:
    @pytest.mark.parametrize(
        ("number", "shown"),
        [
            (9000000, "9e+06"), (999999, "999999.0"), (0.5, "0.5"), (0.0003, "0.0003"), (0.00003, "3e-05"), (555557.5, "555557.5"),
            (0.2, "0.2"), (1 / 3, "0.333333343"), (16777216, "16777216.0"), (-0.0, "-0.0"), (1e-45, "1.4013e-45"),
            (3.4028234663852886e38, "3.40282347e+38"), (math.nan, "NaN"), (-math.inf, "-Infinity"),
        ],
    )  # fmt: skip
    def test_of_floats(self, number, shown):
        assert json_tensors.decimals(np.float32([number])) == [shown]
        assert json_tensors.decimals(np.float32([number] * 100)) == [shown] * 100

    @pytest.mark.parametrize(
        ("number", "shown"),
        [
            (0.2, "0.2"),
            (1 / 3, "0.33333333333333331"),
            (2.0**53, "9007199254740992.0"),
            (1e300, "1e+300"),
            (5e-324, "4.94066e-324"),
        ],
    )
    def test_of_doubles(self, number, shown):
        assert json_tensors.decimals(np.float64([number])) == [shown]
        assert json_tensors.decimals(np.float64([number] * 100)) == [shown] * 100

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_many_print_as_one_by_one(self, dtype):
        random = np.random.default_rng(7)
        bits = random.integers(0, 2**63, 4000, np.uint64)
        values = np.concatenate(
            [
                bits.astype(np.uint32).view(np.float32).astype(dtype) if dtype == np.float32 else bits.view(np.float64),
                random.integers(1, 10**6, 4000).astype(dtype) * dtype(10) ** random.integers(-30, 30, 4000).astype(dtype),
                random.integers(-(10**12), 10**12, 2000).astype(dtype),
            ]
        )
        singly = [json_tensors.decimals(values[place : place + 1])[0] for place in range(len(values))]
        assert json_tensors.decimals(values) == singly
        numbers = values[np.isfinite(values)]
        assert np.array(json_tensors.decimals(numbers), dtype).tolist() == numbers.tolist()

    def test_halves(self):
        assert b"[0.0999755859, 1.0" in json_tensors.predictions({"y": Tensor.of(np.float16([0.1, 1]))}, rows=True)


def test_whatever_comes_is_read_or_refused():
    random = np.random.default_rng(3)
    pieces = [
        *(b"[", b"]", b"{", b"}", b",", b":", b'"', b'"x"', b'"b64"', b'"instances"', b'"inputs"', b'"examples"', b'"context"'),
        *(
            b"1",
            b"1.5",
            b"-0",
            b"1e400",
            b"NaN",
            b"null",
            b"true",
            b'"\\ud800"',
            b'"\\u0000"',
            b"\xff",
            b"9" * 30,
            b" ",
            b'{"b64":"AA=="}',
        ),
    ]
    wholes = [b'{"instances": [{"x": 1}]}', b'{"inputs": [[1, 2]]}', b'{"examples": [{"x": [1, 2]}], "context": {"c": "d"}}']
    for number in range(6000):
        cut = wholes[number % 3]
        start, end = sorted(random.integers(0, len(cut) + 1, 2))
        filling = b"".join(pieces[place] for place in random.integers(0, len(pieces), random.integers(0, 6)))
        body = cut[:start] + filling + (cut[end:] if number % 2 else cut[start:])
        for dtype in ("FLOAT", "STRING", "INT32", "BOOL"):
            try:
                predicted = PredictDocument.parse(body).tensors(infos(x=dtype))
                json_tensors.predictions(predicted, rows=False)
            except ServingError as refused:
                json_tensors.error(refused.message)
        try:
            json_tensors.classification_request(body).SerializeToString()
        except ServingError as refused:
            json_tensors.error(refused.message)
