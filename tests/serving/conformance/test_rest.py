"""The REST interface: paths, JSON, status codes and texts."""

import gzip
import http.client
import json
import math
import socket

import pytest

PREDICT = "/v1/models/half_plus_two:predict"


@pytest.fixture
def ask(server):
    """Asks over REST: verb, path, body and headers in; status, headers and body out."""

    def once(verb, path, body=None, **headers):
        link = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=20)
        link.request(verb, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = link.getresponse()
        answer = response.status, response.headers, response.read()
        link.close()
        return answer

    return once


@pytest.fixture
def predict(ask):
    """Predicts with a document; returns status and document."""

    def once(document, path=PREDICT):
        status, _, body = ask("POST", path, document if isinstance(document, str) else json.dumps(document))
        return status, json.loads(body)

    return once


class TestPredict:
    def test_rows(self, predict):
        assert predict({"instances": [1.0, 2, 5.0]}) == (200, {"predictions": [2.5, 3.0, 4.5]})
        assert predict({"instances": [{"x": 1.0}]}) == (200, {"predictions": [2.5]})

    def test_columns(self, predict):
        assert predict({"inputs": [1.0, 2.0]}) == (200, {"outputs": [2.5, 3.0]})
        assert predict({"inputs": {"x": [[1.0], [2.0]]}}) == (200, {"outputs": [[2.5], [3.0]]})
        assert predict({"signature_name": "serving_default", "inputs": 1}) == (200, {"outputs": 2.5})

    def test_the_layout_of_an_answer(self, ask):
        status, headers, body = ask("POST", PREDICT, '{"instances": [1.0, 2.0]}')
        assert (status, headers["Content-Type"]) == (200, "application/json")
        assert body == b'{\n    "predictions": [2.5, 3.0\n    ]\n}'

    def test_several_outputs_are_objects(self, predict):
        status, answer = predict({"instances": ["ab", "c"]}, "/v1/models/text:predict")
        assert status == 200
        assert answer["predictions"][0] == {"same": "ab", "twice": "abab", "bytes": 2, "id": -1}
        status, answer = predict({"inputs": ["ab", "c"]}, "/v1/models/text:predict")
        assert answer["outputs"]["bytes"] == [2, 1]

    def test_several_inputs(self, predict):
        rows = {"signature_name": "product", "instances": [{"a": [1, 2], "b": [1, 0]}, {"a": [3, 4], "b": [0, 1]}]}
        assert predict(rows, "/v1/models/text:predict") == (200, {"predictions": [[1.0, 2.0], [3.0, 4.0]]})

    def test_words_for_what_numbers_cannot_say(self, predict):
        status, answer = predict('{"instances": [NaN, Infinity, -Infinity]}')
        assert math.isnan(answer["predictions"][0])
        assert answer["predictions"][1:] == [math.inf, -math.inf]

    @pytest.mark.parametrize(("signature", "values"), [
        ("float", [0.1, 1e-7, 16777215]), ("double", [0.1, 1 / 3]), ("int32", [-(2**31), 7]), ("int64", [2**63 - 1]),
        ("uint8", [255]), ("uint32", [2**32 - 1]), ("uint64", [2**64 - 1]), ("bool", [True, False]), ("string", ["é", ""]),
    ])  # fmt: skip
    def test_types_come_back(self, predict, signature, values):
        assert predict({"signature_name": signature, "instances": values}, "/v1/models/echo:predict") == (
            200,
            {"predictions": values},
        )

    def test_base64(self, predict):
        status, answer = predict({"instances": [{"b64": "YWI="}]}, "/v1/models/text:predict")
        assert (status, answer["predictions"][0]["same"]) == (200, "ab")

    def test_versions(self, predict):
        assert predict({"instances": [1]}, "/v1/models/half_plus_two/versions/1:predict")[0] == 200
        status, answer = predict({"instances": [1]}, "/v1/models/half_plus_two/versions/7:predict")
        assert (status, answer) == (404, {"error": "Servable not found for request: Specific(half_plus_two, 7)"})

    def test_gzipped_requests(self, ask):
        status, _, body = ask("POST", PREDICT, gzip.compress(b'{"instances": [1]}'), Content_Encoding="gzip")
        assert (status, json.loads(body)) == (200, {"predictions": [2.5]})

    @pytest.mark.parametrize(("document", "status", "message"), [
        ({"signature_name": "z", "instances": [1]}, 400, 'Serving signature name: "z" not found in signature def'),
        ("", 400, "JSON Parse error: The document is empty"),
        ("{", 400, "JSON Parse error: Missing a name for object member."),
        ({}, 400, "Missing 'inputs' or 'instances' key"),
        ({"instances": []}, 400, "No values in 'instances' array"),
        ({"instances": [[1], [2, 3]]}, 400, "Expecting tensor size: 1 but got: 2"),
        ({"instances": ["a"]}, 400, 'JSON Value: "a" Type: String is not of expected type: float'),
        ({"instances": [{"y": 1}]}, 400, "JSON object: does not have named input: y"),
        ({"inputs": {"y": 1}}, 400, "Missing named input: x in 'inputs' object."),
        ({"instances": [1], "inputs": [1]}, 400, "expecting only one of 'inputs' or 'instances' keys to exist"),
    ])  # fmt: skip
    def test_refusals(self, predict, document, status, message):
        found, answer = predict(document)
        assert found == status
        assert message in answer["error"]

    def test_what_the_model_refuses(self, predict):
        document = {"signature_name": "product", "inputs": {"a": [[1, 2]], "b": [[1, 2]]}}
        status, answer = predict(document, "/v1/models/text:predict")
        assert status == 400
        assert "Matrix size-incompatible: In[0]: [1,2], In[1]: [1,2]" in answer["error"]

    def test_an_unknown_model(self, predict):
        assert predict({"instances": [1]}, "/v1/models/none:predict") == (
            404,
            {"error": "Servable not found for request: Latest(none)"},
        )


class TestExamples:
    def test_classify(self, predict):
        document = {"signature_name": "classify_x_to_y", "examples": [{"x": 2.0}, {"x": 3.0}]}
        assert predict(document, "/v1/models/examples:classify") == (200, {"results": [[["", 3.0]], [["", 3.5]]]})

    def test_regress_with_a_context(self, predict):
        document = {"signature_name": "regress_x_to_y", "context": {"x": 2.0}, "examples": [{}, {"x": 4.0}]}
        assert predict(document, "/v1/models/examples:regress") == (200, {"results": [3.0, 4.0]})

    def test_integers_are_no_floats(self, predict):
        document = {"signature_name": "regress_x_to_y", "examples": [{"x": 2}]}
        status, answer = predict(document, "/v1/models/examples:regress")
        assert status == 400
        assert "Data types don't match. Data type: int64 but expected type: float" in answer["error"]

    def test_an_unknown_signature(self, predict):
        document = {"signature_name": "z", "examples": [{"x": 2.0}]}
        assert predict(document, "/v1/models/examples:regress") == (400, {"error": "No signature was found with the name: z"})


class TestModels:
    def test_status(self, ask):
        shown = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        for path in ("/v1/models/half_plus_two", "/v1/models/half_plus_two/versions/1"):
            status, _, body = ask("GET", path)
            assert (status, json.loads(body)) == (200, {"model_version_status": [shown]})

    def test_status_of_what_is_not_there(self, ask):
        status, _, body = ask("GET", "/v1/models/none")
        assert (status, json.loads(body)) == (404, {"error": "Could not find any versions of model none"})
        status, _, body = ask("GET", "/v1/models/half_plus_two/versions/7")
        assert (status, json.loads(body)) == (404, {"error": "Could not find version 7 of model half_plus_two"})

    def test_metadata(self, ask):
        status, _, body = ask("GET", "/v1/models/half_plus_two/metadata")
        answer = json.loads(body)
        assert (status, answer["model_spec"]) == (200, {"name": "half_plus_two", "signature_name": "", "version": "1"})
        signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
        assert signature["method_name"] == "tensorflow/serving/predict"
        assert signature["inputs"]["x"]["dtype"] == "DT_FLOAT"
        assert signature["inputs"]["x"]["tensor_shape"] == {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}


class TestPaths:
    def test_anything_else_is_malformed(self, ask):
        status, headers, body = ask("GET", "/v1/foo")
        assert (status, headers["Content-Type"]) == (400, "application/json")
        assert json.loads(body) == {"error": "Malformed request: GET /v1/foo"}

    def test_case_does_not_matter(self, predict):
        assert predict({"instances": [1]}, "/V1/MODELS/half_plus_two:predict")[0] == 200

    def test_outside_of_v1_there_is_a_page_for_people(self, ask):
        status, headers, body = ask("GET", "/foo")
        assert (status, headers["Content-Type"]) == (404, "text/html")
        assert b"Not Found" in body

    def test_metrics(self, ask, predict):
        predict({"instances": [1]})
        status, _, body = ask("GET", "/monitoring/prometheus/metrics")
        assert status == 200
        assert b':tensorflow:serving:request_count{model_name="half_plus_two",status="OK"}' in body
        assert b'API="predict",entrypoint="REST"' in body

    def test_no_cors_without_its_flag(self, ask):
        status, headers, _ = ask("OPTIONS", PREDICT, Origin="https://example.org")
        assert (status, headers["Access-Control-Allow-Origin"]) == (400, None)


class TestConnections:
    def test_stay_open_and_take_pipelined_and_chunked_requests(self, server):
        body = b'{"instances": [1]}'
        plain = b"POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s" % (PREDICT.encode(), len(body), body)
        chunked = b"POST %s HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" % PREDICT.encode()
        chunked += b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        received = b""
        with socket.create_connection(("127.0.0.1", server.rest_port), timeout=20) as link:
            link.sendall(plain + chunked + plain)
            while received.count(b"predictions") < 3:
                data = link.recv(65536)
                assert data
                received += data
        assert received.count(b" 200 OK") == 3

    @pytest.mark.usefixtures("embedded_only")
    def test_hostile_bodies_get_a_status(self, server, predict):
        for body in ("[" * 500_000, '{"instances": ' + "[" * 500 + "]" * 500 + "}", '{"instances": [1e999]}'):
            assert predict(body)[0] == 400
        with socket.create_connection(("127.0.0.1", server.rest_port), timeout=20) as link:
            link.sendall(b"POST %s HTTP/1.1\r\nContent-Length: 200000000\r\n\r\n" % PREDICT.encode())
            assert link.recv(100).startswith(b"HTTP/1.1 413 ")
        assert predict({"instances": [1]})[0] == 200


def test_cors_with_its_flag(serve, push):
    server = serve("--rest_api_enable_cors_support", model_name="m", model_base_path=push("half_plus_two", 1))
    link = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=20)
    for origin, status in (("https://example.org", 200), ("null", 400)):
        link.request("OPTIONS", "/v1/models/m:predict", headers={"Origin": origin})
        response = link.getresponse()
        response.read()
        assert response.status == status
        assert response.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.usefixtures("embedded_only")
def test_the_request_log_warms_up_the_next_version(serve, push, tmp_path):
    base = push("half_plus_two", 1)
    directory = tmp_path / "requests"
    flags = {"request_log_dir": directory, "request_log_sampling_rate": 1}
    server = serve(model_name="m", model_base_path=base, **flags)
    server.client.y("m")
    link = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=20)
    link.request("POST", "/v1/models/m:predict", '{"instances": [1]}')
    assert link.getresponse().status == 200
    link.close()
    server.terminate()
    assert server.ended()[0] == 0
    (file,) = directory.glob("*.tfrecord")
    again = serve(model_name="m", model_base_path=push("half_plus_two", 2, warm_up=file.read_bytes()))
    assert again.client.states("m")[2] == "AVAILABLE"
    assert "Number of warmup records read: 2" in again.said()
