import time

import numpy as np
import pytest

from components.errors import UsageError
from components.ingestion import ingest, prediction_log, readers
from components.ingestion.options import DataOptions, PredictionLogSource
from serving import tfrecords
from serving.messages import DataType, Example, PredictionLog, PredictRequest, PredictResponse
from serving.server.request_log import RequestLog, RequestLogOptions
from serving.tensors import Tensor, to_proto


def about(log, model="intents", version=3, timestamp=1_700_000_000, origin="GRPC latency_us=2500"):
    """Adds what the server says of a request."""
    log.log_metadata.model_spec.name = model
    log.log_metadata.model_spec.version.value = version
    log.log_metadata.timestamp_secs = timestamp
    log.log_metadata.request_origin = origin
    return log


def predicted(inputs, model="intents", **outputs):
    log = about(PredictionLog(), model)
    log.predict_log.request.model_spec.name = model
    for messages, columns in ((log.predict_log.request.inputs, inputs), (log.predict_log.response.outputs, outputs)):
        for alias, values in columns.items():
            messages[alias].CopyFrom(to_proto(Tensor.of(values)))
    return log


def example(**features):
    built = Example()
    for name, value in features.items():
        values = value if isinstance(value, list) else [value]
        kind = {bytes: "bytes_list", int: "int64_list", float: "float_list"}[type(values[0])]
        getattr(built.features.feature[name], kind).value.extend(values)
    return built


@pytest.fixture
def write(tmp_path):
    """Writes a file of a log; records may be bytes."""

    def records(*logs, name="requests-1", torn=b""):
        path = tmp_path / f"{name}.tfrecord"
        contents = [log if isinstance(log, bytes) else log.SerializeToString() for log in logs]
        path.write_bytes(b"".join(map(tfrecords.framed, contents)) + torn)
        return path

    return records


def read(path, columns=None, **source):
    """All rows, the records they come from, the rejected records by reason, and what was skipped."""
    chunks = list(readers.read_batches(PredictionLogSource(type="prediction_log", path=str(path), **source), columns=columns))
    rejected, skipped = {}, {}
    for chunk in chunks:
        for entry in chunk.rejected:
            rejected.setdefault(entry.reason, []).extend(entry.positions.tolist())
        for what, count in chunk.skipped.items():
            skipped[what] = skipped.get(what, 0) + count
    rows = [row for chunk in chunks for row in chunk.rows.to_pylist()]
    return rows, [position for chunk in chunks for position in chunk.positions.tolist()], rejected, skipped


ABOUT = {"model_version": 3, "timestamp": 1_700_000_000, "latency_ms": 2.5}


class TestPredictRequests:
    def test_each_row_of_a_request_is_a_row_with_its_answer(self, write):
        asked = {"text": ["turn on", "größer"], "fare": np.float32([1.5, 2.5]), "n": [7, 8]}
        path = write(predicted(asked, label=["On", "Off"], score=np.float32([0.75, 0.5])))
        rows, positions, rejected, skipped = read(path)
        assert rows == [
            {"text": "turn on", "fare": 1.5, "n": 7, "label": "On", "score": 0.75, **ABOUT},
            {"text": "größer", "fare": 2.5, "n": 8, "label": "Off", "score": 0.5, **ABOUT},
        ]
        assert (positions, rejected, skipped) == ([1, 1], {}, {})

    def test_the_best_of_all_classes_is_the_label(self, write):
        path = write(predicted({"text": ["a"]}, classes=[["x", "y", "z"]], scores=np.float32([[0.25, 0.5, 0.25]])))
        assert [(row["label"], row["score"]) for row in read(path)[0]] == [("y", 0.5)]

    def test_a_model_without_labels_has_none(self, write):
        (row,) = read(write(predicted({"x": [1.0]}, y=[2.5])))[0]
        assert (row["x"], row["label"], row["score"]) == (1.0, None, None)

    def test_inputs_of_one_more_dimension_or_none(self, write):
        path = write(predicted({"text": [["a"], ["b"]], "k": 3, "vector": [[1.5, 2.0], [3.0, 4.0]]}, label=["x", "y"]))
        rows = read(path, columns=["text", "k", "vector"])[0]
        assert rows == [{"text": "a", "k": 3, "vector": "[1.5, 2.0]"}, {"text": "b", "k": 3, "vector": "[3.0, 4.0]"}]

    def test_what_models_take_for_absent_is(self, write):
        path = write(predicted({"text": ["", "b"], "fare": [float("nan"), 1.0], "n": [-(2**63), 1]}, label=["x", "y"]))
        assert read(path, columns=["text", "fare", "n"])[0] == [
            {"text": None, "fare": None, "n": None},
            {"text": "b", "fare": 1.0, "n": 1},
        ]

    def test_serialized_examples_are_their_features(self, write):
        examples = [example(text=b"a", n=[1, 2]).SerializeToString(), example(text=b"b", fare=0.5).SerializeToString()]
        path = write(predicted({"inputs": examples}, classes=[["x", "y"]] * 2, scores=[[0.9, 0.1], [0.2, 0.8]]))
        rows = read(path, columns=["text", "n", "fare", "label"])[0]
        assert rows == [
            {"text": "a", "n": "[1, 2]", "fare": None, "label": "x"},
            {"text": "b", "n": None, "fare": 0.5, "label": "y"},
        ]

    def test_an_input_called_like_a_column_of_the_log_comes_first(self, write):
        (row,) = read(write(predicted({"timestamp": [5]}, label=["x"])))[0]
        assert row["timestamp"] == 5

    def test_the_label_can_be_called_otherwise(self, write):
        (row,) = read(write(predicted({"text": ["a"]}, label=["x"])), label="intent")[0]
        assert row["intent"] == "x"
        assert "label" not in row


class TestRequestsOfExamples:
    def test_classify(self, write):
        log = about(PredictionLog())
        log.classify_log.request.input.example_list.examples.extend([example(text=b"a"), example(text=b"b")])
        for scores in ((0.75, 0.25), (0.25, 0.5)):
            classes = log.classify_log.response.result.classifications.add().classes
            for label, score in zip(("x", "y"), scores, strict=True):
                classes.add(label=label, score=score)
        rows = read(write(log))[0]
        assert [(row["text"], row["label"], row["score"]) for row in rows] == [("a", "x", 0.75), ("b", "y", 0.5)]

    def test_regress_with_a_context(self, write):
        log = about(PredictionLog())
        given = log.regress_log.request.input.example_list_with_context
        given.context.CopyFrom(example(channel=b"web", n=1))
        given.examples.append(example(n=2))
        log.regress_log.response.result.regressions.add(value=1.5)
        (row,) = read(write(log))[0]
        assert (row["channel"], row["n"], row["label"], row["score"]) == ("web", 2, None, 1.5)

    def test_multi_inference_takes_the_task_that_classified(self, write):
        log = about(PredictionLog())
        log.multi_inference_log.request.input.example_list.examples.append(example(text=b"a"))
        log.multi_inference_log.response.results.add().regression_result.regressions.add(value=9.0)
        classified = log.multi_inference_log.response.results.add().classification_result.classifications.add()
        classified.classes.add(label="x", score=0.5)
        (row,) = read(write(log))[0]
        assert (row["label"], row["score"]) == ("x", 0.5)


class TestFiles:
    def test_records_of_other_models_are_skipped_and_counted(self, write):
        path = write(predicted({"text": ["a"]}, label=["x"]), *[predicted({"x": [1.0]}, model="other", y=[1.0])] * 2)
        rows, _, rejected, skipped = read(path, model="intents")
        assert [row["text"] for row in rows] == ["a"]
        assert (rejected, skipped) == ({}, {prediction_log.OTHER_MODELS: 2})

    @pytest.mark.parametrize("torn", [b"\x07", tfrecords.framed(b"x" * 40)[:-1], tfrecords.framed(b"x" * 40)[:-4] + b"damage"])
    def test_a_torn_end_is_counted_and_what_is_before_it_read(self, write, torn):
        path = write(predicted({"text": ["a"]}, label=["x"]), torn=torn)
        rows, _, rejected, _ = read(path)
        assert [row["text"] for row in rows] == ["a"]
        assert rejected == {prediction_log.TORN: [2]}

    def test_records_that_make_no_rows_are_set_aside_one_by_one(self, write):
        unreadable = predicted({"text": ["a"]}, label=["x"])
        unreadable.predict_log.request.inputs["text"].tensor_shape.dim[0].size = -1
        path = write(
            b"\xff",
            PredictionLog(),
            unreadable,
            predicted({"a": [1, 2], "b": [1]}, label=["x"]),
            predicted({"text": ["a", "b"]}, label=["x"]),
            predicted({"inputs": [b"\x00not one"]}, label=["x"]),
            predicted({"text": [b"\xff"]}, label=["x"]),
            predicted({"text": ["good"]}, label=["x"]),
        )
        rows, positions, rejected, _ = read(path)
        assert ([row["text"] for row in rows], positions) == (["good"], [8])
        assert rejected == {
            prediction_log.NO_RECORD: [1, 2],
            prediction_log.UNREADABLE: [3],
            prediction_log.UNEVEN: [4, 5],
            prediction_log.NO_EXAMPLE: [6],
            "text: invalid UTF-8": [7],
        }

    def test_memory_is_bounded_by_blocks(self, write, monkeypatch):
        monkeypatch.setattr(prediction_log, "_ROWS_PER_BLOCK", 10)
        path = write(*[predicted({"text": [str(number)] * 3}, label=["x"] * 3) for number in range(20)])
        source = PredictionLogSource(type="prediction_log", path=str(path))
        sizes = [len(chunk.positions) for chunk in readers.read_batches(source)]
        assert sizes == [12] * 5
        assert read(path)[1] == [number for number in range(1, 21) for _ in range(3)]

    def test_a_file_being_written_is_not_read(self, write, tmp_path):
        write(predicted({"text": ["a"]}, label=["x"]))
        (tmp_path / "requests-2.tfrecord.partial").write_bytes(b"half")
        assert len(read(tmp_path)[0]) == 1

    def test_a_log_whose_first_file_is_being_written_says_when_it_can_be_read(self, tmp_path):
        log = RequestLog(RequestLogOptions(tmp_path / "log", sampling_rate=1.0))
        log.start()
        try:
            log.record(PredictRequest(), PredictResponse(), seconds=0.002, origin="GRPC")
            for _ in range(100):
                if any((tmp_path / "log").iterdir()):
                    break
                time.sleep(0.1)
            with pytest.raises(UsageError, match="has finished no file of its request log .* --request_log_file_seconds"):
                read(tmp_path / "log")
        finally:
            log.close()

    def test_a_folder_without_a_log_is_an_error(self, tmp_path):
        (tmp_path / "table.csv").write_text("x\n1\n")
        with pytest.raises(UsageError, match=r"source.type is prediction_log, so files end in \.tfrecord"):
            read(tmp_path)


class TestIngestion:
    def test_what_a_server_logged_becomes_examples_with_its_answers_as_labels(self, tmp_path, make_schema):
        log = RequestLog(RequestLogOptions(tmp_path / "log", sampling_rate=1.0))
        log.start()
        for number in range(200):
            request, response = PredictRequest(), PredictResponse()
            request.model_spec.name = response.model_spec.name = "intents" if number % 4 else "other"
            request.inputs["text"].CopyFrom(to_proto(Tensor.of([f"message {number} of ann@example.org"])))
            response.outputs["label"].CopyFrom(to_proto(Tensor.of(["ask" if number % 3 else "tell"])))
            response.outputs["score"].CopyFrom(to_proto(Tensor.of([0.5], DataType.DT_FLOAT)))
            response.model_spec.version.value = 3
            log.record(request, response, seconds=0.002, origin="GRPC")
        log.close()
        options = DataOptions.model_validate(
            {
                "source": {"type": "prediction_log", "path": str(tmp_path / "log"), "model": "intents", "label": "intent"},
                "text": "text",
                "label": "intent",
                "split": {"eval": 0.2, "test": 0.2},
            }
        )
        schema = make_schema(text="BYTES", intent="BYTES", score="FLOAT", model_version="INT")
        summary = ingest.ingest(options, schema, None, str(tmp_path / "out"), str(tmp_path / "quarantine"))
        assert sum(summary["rows"].values()) == 150
        assert summary["rows"]["quarantined"] == 0
        assert sum(labels["ask"] for labels in summary["labels"].values()) == 100
        assert summary["notes"] == ["50 records of other models were skipped"]
        assert set(summary["ignored_columns"]) == {"timestamp", "latency_ms"}
        assert not summary["empty_columns"]
