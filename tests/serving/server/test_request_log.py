import contextlib
import errno
import logging
import os
import subprocess
import sys
import threading
import time

import pytest

from serving import tfrecords
from serving.messages import (
    ClassificationRequest,
    ClassificationResponse,
    DataType,
    Example,
    MultiInferenceRequest,
    MultiInferenceResponse,
    PredictionLog,
    PredictRequest,
    PredictResponse,
    RegressionRequest,
    RegressionResponse,
    SequenceExample,
)
from serving.server import request_log
from serving.server.errors import StatusCode
from serving.server.flags import FlagError, parse_flags
from serving.server.request_log import RequestLog, RequestLogOptions, finished_files, latency_seconds
from serving.tensors import Tensor, to_proto


def request_of(*texts, content=False):
    request = PredictRequest()
    request.model_spec.name = "m"
    request.model_spec.version_label = "stable"
    request.inputs["text"].CopyFrom(to_proto(Tensor.of(list(texts), DataType.DT_STRING)))
    request.inputs["number"].CopyFrom(to_proto(Tensor.of([1.5] * len(texts))))
    if content:
        tensor = request.inputs["text"]
        tensor.tensor_content = b"".join(bytes([len(text)]) for text in texts) + "".join(texts).encode()
        tensor.ClearField("string_val")
    return request


def response_of(*texts):
    response = PredictResponse()
    response.model_spec.name, response.model_spec.signature_name = "m", "serving_default"
    response.model_spec.version.value = 7
    response.outputs["echo"].CopyFrom(to_proto(Tensor.of(list(texts), DataType.DT_STRING)))
    return response


@pytest.fixture
def start(tmp_path):
    logs = []

    def with_options(redact=None, observe=None, **options):
        settings = RequestLogOptions(tmp_path / "log", **({"sampling_rate": 1.0} | options))
        log = RequestLog(settings, **({"redact": redact} if redact else {}), observe=observe)
        log.start()
        logs.append(log)
        return log

    yield with_options
    for log in logs:
        log.close()


def logged(log):
    """The records of a log, which ends."""
    log.close()
    directory = log._options.directory
    assert not list(directory.glob("*.partial"))
    return [PredictionLog.FromString(record) for file in finished_files(directory) for record in tfrecords.complete_records(file)]


def record(log, *texts, seconds=0.0025):
    log.record(request_of(*texts), response_of(*texts), seconds=seconds, origin="GRPC")


def strings(features):
    return {name: list(feature.bytes_list.value) for name, feature in features.feature.items()}


class TestRecords:
    def test_hold_request_answer_version_and_latency(self, start):
        before = int(time.time())
        log = start(sampling_rate=0.25, tags=("serve", "cpu"))
        record(log, "turn on the light")
        (found,) = logged(log)
        assert found.predict_log.request == request_of("turn on the light")
        assert found.predict_log.response == response_of("turn on the light")
        metadata = found.log_metadata
        assert (metadata.model_spec.name, metadata.model_spec.version.value) == ("m", 7)
        assert metadata.model_spec.signature_name == "serving_default"
        assert metadata.sampling_config.sampling_rate == 0.25
        assert list(metadata.saved_model_tags) == ["serve", "cpu"]
        assert before <= metadata.timestamp_secs <= time.time()
        assert metadata.request_origin == "GRPC latency_us=2500"
        assert latency_seconds(found) == 0.0025

    def test_a_log_of_others_has_no_latency(self):
        assert latency_seconds(PredictionLog()) is None

    def test_what_was_logged_stays_as_it_was(self, start):
        request, response = request_of("ann@example.org"), response_of("ann@example.org")
        log = start()
        log.record(request, response, seconds=0, origin="REST")
        assert b"ann@" not in logged(log)[0].SerializeToString()
        assert (request, response) == (request_of("ann@example.org"), response_of("ann@example.org"))

    def test_every_kind_of_request(self, start):
        log = start()
        for request, response in (
            (ClassificationRequest(), ClassificationResponse()),
            (RegressionRequest(), RegressionResponse()),
        ):
            response.model_spec.version.value = 7
            log.record(request, response, seconds=0, origin="GRPC")
        response = MultiInferenceResponse()
        response.results.add().model_spec.version.value = 7
        log.record(MultiInferenceRequest(), response, seconds=0, origin="GRPC")
        found = logged(log)
        assert [entry.WhichOneof("log_type") for entry in found] == ["classify_log", "regress_log", "multi_inference_log"]
        assert [entry.log_metadata.model_spec.version.value for entry in found] == [7, 7, 7]

    def test_samples(self, tmp_path):
        numbers = iter([0.0, 0.249, 0.25, 0.9])
        log = RequestLog(RequestLogOptions(tmp_path, sampling_rate=0.25), choose=lambda: next(numbers))
        assert [log.samples() for _ in range(4)] == [True, True, False, False]
        assert not RequestLog(RequestLogOptions(tmp_path, sampling_rate=0)).samples()

    @pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
    def test_rates_are_shares(self, tmp_path, rate):
        with pytest.raises(ValueError, match="sampling rate"):
            RequestLogOptions(tmp_path, sampling_rate=rate)


class TestRedaction:
    @pytest.mark.parametrize("content", [False, True])
    def test_of_string_tensors(self, start, content):
        log = start()
        log.record(request_of("call +49 30 1234567", "light", content=content), response_of("a@b.org"), seconds=0, origin="GRPC")
        (found,) = logged(log)
        assert list(found.predict_log.request.inputs["text"].string_val) == [b"call [phone]", b"light"]
        assert not found.predict_log.request.inputs["text"].tensor_content
        assert list(found.predict_log.response.outputs["echo"].string_val) == [b"[email]"]
        assert list(found.predict_log.request.inputs["number"].double_val) == [1.5, 1.5]

    def test_of_text_that_is_not_utf_8(self, start):
        log = start()
        request = request_of("x")
        request.inputs["text"].string_val[0] = b"\xff a@b.org \xfe"
        log.record(request, response_of("x"), seconds=0, origin="GRPC")
        assert logged(log)[0].predict_log.request.inputs["text"].string_val[0] == b"\xff [email] \xfe"

    def test_of_serialized_examples_in_string_tensors(self, start):
        example = Example()
        example.features.feature["text"].bytes_list.value.append(b"I am a@b.org")
        example.features.feature["age"].int64_list.value.append(3)
        sequence = SequenceExample()
        sequence.context.feature["who"].bytes_list.value.append(b"a@b.org")
        sequence.feature_lists.feature_list["said"].feature.add().bytes_list.value.append(b"from 10.0.0.1")
        request = request_of("x", "y", "z")
        request.inputs["text"].string_val[:] = [example.SerializeToString(), sequence.SerializeToString(), b"\n a@b.org"]
        log = start()
        log.record(request, response_of("x"), seconds=0, origin="GRPC")
        first, second, third = logged(log)[0].predict_log.request.inputs["text"].string_val
        found = Example.FromString(first)
        assert strings(found.features) == {"text": [b"I am [email]"], "age": []}
        assert found.features.feature["age"].int64_list.value == [3]
        found = SequenceExample.FromString(second)
        assert strings(found.context) == {"who": [b"[email]"]}
        assert found.feature_lists.feature_list["said"].feature[0].bytes_list.value == [b"from [ip]"]
        assert third == b"\n [email]"

    def test_of_examples_and_classes(self, start):
        request, response = ClassificationRequest(), ClassificationResponse()
        listed = request.input.example_list_with_context
        listed.context.features.feature["who"].bytes_list.value.append(b"a@b.org")
        listed.examples.add().features.feature["text"].bytes_list.value.append(b"to a@b.org")
        response.result.classifications.add().classes.add(label="mail a@b.org", score=1)
        log = start()
        log.record(request, response, seconds=0, origin="GRPC")
        content = logged(log)[0].classify_log
        assert strings(content.request.input.example_list_with_context.context.features) == {"who": [b"[email]"]}
        assert strings(content.request.input.example_list_with_context.examples[0].features) == {"text": [b"to [email]"]}
        assert content.response.result.classifications[0].classes[0].label == "mail [email]"

    def test_of_clients_and_what_is_not_known(self, start):
        request = PredictRequest.FromString(request_of("x").SerializeToString() + b"\xc2\x3e\x07a@b.org")
        request.client_id = b"ann"
        log = start()
        log.record(request, response_of("x"), seconds=0, origin="GRPC")
        content = logged(log)[0].SerializeToString()
        assert b"a@b.org" not in content
        assert b"ann" not in content

    def test_first_by_the_rules_of_the_model_that_answered(self, start):
        asked = []

        def redact_as(model, version):
            asked.append((model, version))
            return lambda text: text.replace("Ann", "[person]")

        log = start()
        log.redact_as(redact_as)
        record(log, "Ann a@b.org")
        (found,) = logged(log)
        assert list(found.predict_log.request.inputs["text"].string_val) == [b"[person] [email]"]
        assert asked == [("m", 7)]

    def test_a_redactor_that_fails_keeps_the_record_out(self, start, caplog):
        def redact(text):
            if "bad" in text:
                raise RuntimeError(text)
            return text.upper()

        seen = []
        log = start(redact=redact, observe=lambda *seen_now: seen.append(seen_now))
        with caplog.at_level(logging.ERROR):
            record(log, "bad secret")
            record(log, "good")
            (found,) = logged(log)
        assert list(found.predict_log.request.inputs["text"].string_val) == [b"GOOD"]
        assert seen == [("m", StatusCode.INTERNAL), ("m", StatusCode.OK)]
        assert "secret" not in caplog.text


class TestQueue:
    def test_never_waits_and_counts_what_it_drops(self, start):
        held, entered, seen = threading.Event(), threading.Event(), []

        def redact(text):
            entered.set()
            held.wait(10)
            return text

        log = start(redact=redact, observe=lambda model, status: seen.append(status), queue_records=5)
        record(log, "first")
        assert entered.wait(10)
        started = time.monotonic()
        for number in range(20):
            record(log, str(number))
        assert time.monotonic() - started < 1
        assert seen == [StatusCode.RESOURCE_EXHAUSTED] * 15
        held.set()
        assert len(logged(log)) == 6

    def test_size_is_limited(self, start):
        seen = []
        log = start(observe=lambda model, status: seen.append(status), record_bytes=1000)
        record(log, "x" * 1000)
        record(log, "x")
        assert len(logged(log)) == 1
        assert sorted(seen) == [StatusCode.OK, StatusCode.RESOURCE_EXHAUSTED]

    def test_raises_nothing(self, start, caplog):
        log = start()
        log.record(None, None, seconds=0, origin="")
        assert "AttributeError" in caplog.text

    def test_after_the_end_requests_are_dropped(self, start):
        log = start()
        log.close()
        record(log, "late")
        assert logged(log) == []


def bytes_below(folder):
    """What the files of a folder take while a log renames and deletes them."""
    total = 0
    for file in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            total += file.stat().st_size
    return total


class TestFiles:
    def test_are_private(self, start, tmp_path):
        log = start()
        record(log, "x")
        logged(log)
        (file,) = finished_files(tmp_path / "log")
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.parent.stat().st_mode & 0o777 == 0o700

    def test_rotate_by_size_and_stay_below_the_limit(self, start, tmp_path):
        log = start(max_bytes=1 << 20, file_bytes=50_000)
        largest = 0
        for number in range(300):
            record(log, f"{number:05d}" + "x" * 5000)
            if number % 20 == 0:
                time.sleep(0.03)
                largest = max(largest, bytes_below(tmp_path / "log"))
        found = logged(log)
        files = finished_files(tmp_path / "log")
        assert max(file.stat().st_size for file in files) <= 50_000
        assert max(largest, sum(file.stat().st_size for file in files)) <= 1 << 20
        numbers = [int(entry.predict_log.request.inputs["text"].string_val[0][:5]) for entry in found]
        assert numbers == list(range(numbers[0], 300))  # the oldest went
        assert 0 < numbers[0] < 270

    def test_rotate_by_age(self, start, tmp_path):
        log = start(file_seconds=0.05)
        record(log, "x")
        deadline = time.monotonic() + 5
        while not finished_files(tmp_path / "log") and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(finished_files(tmp_path / "log")) == 1

    def test_a_crash_loses_no_complete_record(self, start, tmp_path):
        script = (
            "import os, pathlib, sys, time\n"
            "sys.path.insert(0, sys.argv[2])\n"
            "from tests.serving.server.test_request_log import record\n"
            "from serving.server.request_log import RequestLog, RequestLogOptions\n"
            "log = RequestLog(RequestLogOptions(pathlib.Path(sys.argv[1]), sampling_rate=1))\n"
            "log.start()\n"
            "[record(log, str(number)) for number in range(5)]\n"
            "path = pathlib.Path(sys.argv[1])\n"
            "while not any(file.stat().st_size > 500 for file in path.glob('*.partial')): time.sleep(0.01)\n"
            "time.sleep(0.2)\n"
            "os.kill(os.getpid(), 9)\n"
        )
        directory = tmp_path / "log"
        project = os.fspath(request_log.__file__).split("/serving/server/")[0]
        subprocess.run([sys.executable, "-c", script, str(directory), project], check=False, cwd=project, timeout=60)
        (partial,) = directory.glob("*.partial")
        with partial.open("ab") as file:
            file.write(tfrecords.framed(b"torn")[:-3])
        log = start()
        record(log, "after")
        texts = [entry.predict_log.request.inputs["text"].string_val[0] for entry in logged(log)]
        assert texts == [b"0", b"1", b"2", b"3", b"4", b"after"]

    def test_a_file_that_another_process_writes_is_left_alone(self, start, tmp_path):
        first = start()
        record(first, "first")
        deadline = time.monotonic() + 5
        while not list((tmp_path / "log").glob("*.partial")) and time.monotonic() < deadline:
            time.sleep(0.02)
        start().close()
        assert len(list((tmp_path / "log").glob("*.partial"))) == 1
        assert len(logged(first)) == 1


class TestFullDisk:
    def test_pauses_and_resumes(self, start, monkeypatch, caplog, tmp_path):
        full, write, torn = threading.Event(), os.write, []

        def write_some(descriptor, data):
            if not full.is_set():
                return write(descriptor, data)
            if torn:
                torn.clear()
                raise OSError(errno.ENOSPC, "No space left on device")
            torn.append(True)
            return write(descriptor, data[:20])

        monkeypatch.setattr(request_log.os, "write", write_some)
        seen = []
        log = start(observe=lambda model, status: seen.append(status), retry_seconds=0.2)

        def settle(count):
            deadline = time.monotonic() + 5
            while len(seen) < count and time.monotonic() < deadline:
                time.sleep(0.01)

        with caplog.at_level(logging.WARNING):
            record(log, "a")
            settle(1)
            full.set()
            for number in range(3):
                record(log, f"lost {number}")
            settle(4)
            time.sleep(0.3)
            record(log, "lost again")
            settle(5)
            full.clear()
            time.sleep(0.3)
            record(log, "b")
            texts = [entry.predict_log.request.inputs["text"].string_val[0] for entry in logged(log)]
        assert texts == [b"a", b"b"]
        assert seen == [StatusCode.OK, *[StatusCode.RESOURCE_EXHAUSTED] * 4, StatusCode.OK]
        assert caplog.text.count("No space left on device") == 1
        assert caplog.text.count("writing again") == 1

    def test_a_directory_that_went_is_made_again(self, start, tmp_path):
        log = start(retry_seconds=0.01)
        (tmp_path / "log").rmdir()
        record(log, "x")
        assert len(logged(log)) == 1


class TestFlags:
    def test_make_a_log(self, tmp_path):
        arguments = [f"--request_log_dir={tmp_path}", "--request_log_sampling_rate=0.5", "--request_log_max_mib=8"]
        options, _ = parse_flags(["--model_base_path=/m", *arguments])
        log = request_log.from_flags(options)
        assert log._options == RequestLogOptions(tmp_path, sampling_rate=0.5, max_bytes=8 << 20)

    @pytest.mark.parametrize("flag", ["sampling_rate=1.5", "sampling_rate=nan", "max_mib=0", "file_seconds=-1"])
    def test_are_in_range(self, flag):
        with pytest.raises(FlagError, match=f"--request_log_{flag.split('=')[0]} takes a "):
            parse_flags(["--model_base_path=/m", f"--request_log_{flag}"])

    def test_none_without_a_directory(self):
        options, _ = parse_flags(["--model_base_path=/m"])
        assert request_log.from_flags(options) is None


@pytest.mark.tensorflow
def test_tensorflow_serving_reads_it(start, tmp_path):
    log = start()
    for number in range(3):
        record(log, f"text {number}")
    logged(log)
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    files = [str(file) for file in finished_files(tmp_path / "log")]
    found = [prediction_log_pb2.PredictionLog.FromString(entry.numpy()) for entry in tf.data.TFRecordDataset(files)]
    texts = [tf.make_ndarray(entry.predict_log.request.inputs["text"]).tolist() for entry in found]
    assert texts == [[b"text 0"], [b"text 1"], [b"text 2"]]
    assert {entry.log_metadata.model_spec.version.value for entry in found} == {7}
    assert latency_seconds(found[0]) == 0.0025
