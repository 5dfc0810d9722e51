"""Versions come and go while the server answers: policies, labels, reload, warm-up, broken and vanishing directories."""

import shutil
import struct
import threading
import time

import grpc
import pytest
from google.protobuf import text_format

from serving.messages import (
    POOL,
    DataType,
    ModelServerConfig,
    ModelVersionStatus,
    PredictionLog,
    PredictRequest,
    ReloadConfigRequest,
)
from tests.serving.conformance.servers import MODELS, eventually, model_config, spec, tensor

ALL = "model_version_policy { all {} }"
FAST_RETRY = {"max_num_load_retries": 1, "load_retry_interval_micros": 100_000, "num_load_threads": 2}


def parsed(text):
    return text_format.Parse(text, ModelServerConfig(), descriptor_pool=POOL)


def tf_record(*messages):
    """A TFRecord file of messages."""
    return b"".join(
        struct.pack("<Q", len(content)) + checksum(struct.pack("<Q", len(content))) + content + checksum(content)
        for content in (message.SerializeToString() for message in messages)
    )


def checksum(content):
    """The masked CRC-32C of TFRecord files."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def predict_log(x):
    request = PredictRequest(model_spec=spec("model"))
    request.inputs["x"].CopyFrom(x)
    log = PredictionLog()
    log.predict_log.request.CopyFrom(request)
    return log


def test_a_new_version_takes_over_without_a_lost_request_and_the_old_one_unloads(serve, push):
    base = push("half_plus_two", 1)
    server = serve(model_name="model", model_base_path=base)
    answers, failures, stop = [], [], threading.Event()

    def caller():
        while not stop.is_set():
            try:
                answers.append(server.client.y("model"))
            except grpc.RpcError as error:
                failures.append(error.code())

    threads = [threading.Thread(target=caller) for _ in range(4)]
    for thread in threads:
        thread.start()
    push("reference_variables", 2)
    server.client.wait_for("model", {1: "END", 2: "AVAILABLE"})
    eventually(lambda: answers[-1] == 4.0, "answers of the new version")
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert set(answers) == {3.0, 4.0}

    # Where the only version left on disk is the old one, it comes back before the new one goes.
    shutil.rmtree(base / "2")
    server.client.wait_for("model", {1: "AVAILABLE", 2: "END"})
    assert server.client.y("model") == 3.0


def test_what_is_wrong_with_one_model_leaves_the_others_alone(serve, push, tmp_path):
    push("half_plus_two", 1)
    (tmp_path / "other").mkdir()
    push("half_plus_two", 1, "other")
    config = tmp_path / "models.config"
    config.write_text(model_config({"model": tmp_path / "model", "other": tmp_path / "other"}))
    server = serve(model_config_file=config, **FAST_RETRY)
    client = server.client

    # A copy that begins with the directory and ends with saved_model.pb, as some pushers do it: loading is tried again.
    (tmp_path / "model" / "2").mkdir()
    client.wait_for("model", {2: "LOADING"})
    shutil.copytree(tmp_path / "model" / "1", tmp_path / "model" / "2", dirs_exist_ok=True)
    client.wait_for("model", {1: "END", 2: "AVAILABLE"})

    # One that stays broken is given up, with a reason, and the old version goes on.
    corrupt = tmp_path / "corrupt"
    shutil.copytree(tmp_path / "model" / "2", corrupt)
    (corrupt / "saved_model.pb").write_bytes(b"\x00not a model\xff" * 100)
    corrupt.rename(tmp_path / "model" / "3")
    client.wait_for("model", {2: "AVAILABLE", 3: "END"})
    status = client.status("model", 3)[3].status
    assert status.error_code != 0
    assert status.error_message
    assert client.y("model") == client.y("other") == 3.0

    # A version whose directory vanishes serves on until its model has another one; without any version, the model goes.
    shutil.rmtree(tmp_path / "other" / "1")
    client.wait_for("other", {1: "END"})
    with pytest.raises(grpc.RpcError, match=r"Servable not found for request: Latest\(other\)"):
        client.y("other")
    assert client.y("model") == 3.0


def test_policies_labels_and_reload(serve, push, tmp_path):
    base = push("half_plus_two", 1)
    push("reference_variables", 2)
    push("half_plus_two", 1, "second")
    server = serve(model_config_file=_file(tmp_path, model_config({"model": base}, model=ALL)))
    client = server.client
    client.wait_for("model", {1: "AVAILABLE", 2: "AVAILABLE"})
    assert (client.y("model"), client.y("model", version=1), client.y("model", version=2)) == (4.0, 3.0, 4.0)

    labelled = f'{ALL} version_labels {{ key: "stable" value: 1 }} version_labels {{ key: "canary" value: 2 }}'
    answer = client.reload(parsed(model_config({"model": base, "second": tmp_path / "second"}, model=labelled)))
    assert answer.status.error_code == 0
    assert (client.y("model", label="stable"), client.y("model", label="canary"), client.y("second")) == (3.0, 4.0, 3.0)

    # A configuration that is refused changes nothing.
    both = {"model": base, "second": tmp_path / "second"}
    for text, code, said in (
        (
            model_config(both, model=f'{ALL} version_labels {{ key: "stable" value: 9 }}'),
            grpc.StatusCode.FAILED_PRECONDITION,
            "Request to assign label to version 9 of model model, which is not currently available for inference",
        ),
        (
            "model_config_list {" + 2 * 'config { name: "model" base_path: "/x" model_platform: "tensorflow" }' + "}",
            grpc.StatusCode.INVALID_ARGUMENT,
            "Illegal to list model model multiple times in config list",
        ),
        (
            'model_config_list { config { name: "model" base_path: "relative" model_platform: "tensorflow" } }',
            grpc.StatusCode.INVALID_ARGUMENT,
            "Expected model model to have an absolute path or URI; got base_path()=relative",
        ),
    ):
        with pytest.raises(grpc.RpcError) as raised:
            client.reload(parsed(text))
        assert (raised.value.code(), raised.value.details()) == (code, said)
        assert (client.y("model", label="stable"), client.y("second")) == (3.0, 3.0)

    with pytest.raises(grpc.RpcError) as raised:
        client.call(MODELS + "HandleReloadConfigRequest", ReloadConfigRequest(), None)
    assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT

    # A model whose versions never come keeps the call waiting, not the server.
    with pytest.raises(grpc.RpcError) as raised:
        client.reload(parsed(model_config({**both, "absent": tmp_path / "absent"}, model=labelled)), timeout=1.0)
    assert raised.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert client.y("model", label="canary") == 4.0

    # What is not in the configuration any more unloads.
    eventually(
        lambda: _reloads(client, model_config({"model": base}, model="model_version_policy { specific { versions: 1 } }")),
        "reload",
    )
    client.wait_for("second", {1: "END"})
    client.wait_for("model", {1: "AVAILABLE", 2: "END"})
    with pytest.raises(grpc.RpcError, match="Unrecognized servable version label: canary"):
        client.y("model", label="canary")


def test_a_config_file_that_is_watched(serve, push, tmp_path):
    base = push("half_plus_two", 1)
    push("reference_variables", 1, "second")
    file = _file(tmp_path, model_config({"model": base}))
    server = serve(model_config_file=file, model_config_file_poll_wait_seconds=1)
    _file(tmp_path, "model_config_list { config { name: ")
    time.sleep(1.5)
    assert server.client.y("model") == 3.0
    _file(tmp_path, model_config({"second": tmp_path / "second"}))
    server.client.wait_for("second", {1: "AVAILABLE"})
    server.client.wait_for("model", {1: "END"})


def test_warm_up_requests_run_before_a_version_serves_and_one_that_fails_fails_the_load(serve, push):
    good = tf_record(predict_log(tensor([1.0], DataType.DT_FLOAT)), PredictionLog())
    base = push("half_plus_two", 1, warm_up=good)
    server = serve(model_name="model", model_base_path=base, **FAST_RETRY)
    push("half_plus_two", 2, warm_up=tf_record(predict_log(tensor(["secret text"]))))
    server.client.wait_for("model", {1: "AVAILABLE", 2: "END"})
    assert server.client.status("model")[2].status.error_code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    push("half_plus_two", 3, warm_up=good[:-20])
    server.client.wait_for("model", {1: "AVAILABLE", 3: "END"})
    assert server.client.y("model", version=1) == 3.0
    assert "secret text" not in server.said()


def test_status_of_models(client):
    assert client.states("half_plus_two") == {1: "AVAILABLE"}
    assert client.status("half_plus_two", 1)[1].state == ModelVersionStatus.AVAILABLE
    for arguments, text in (
        (("absent",), "Could not find any versions of model absent"),
        (("half_plus_two", 7), "Could not find version 7 of model half_plus_two"),
    ):
        with pytest.raises(grpc.RpcError) as raised:
            client.status(*arguments)
        assert (raised.value.code(), raised.value.details()) == (grpc.StatusCode.NOT_FOUND, text)
    with pytest.raises(grpc.RpcError, match="Missing ModelSpec"):
        client.call(MODELS + "GetModelStatus", b"", None)


def _file(folder, text):
    file = folder / "models.config"
    written = folder / "models.config.new"
    written.write_text(text)
    written.rename(file)
    return file


def _reloads(client, text):
    """Whether a reload is accepted: not while another one is waiting."""
    try:
        return client.reload(parsed(text)).status.error_code == 0
    except grpc.RpcError:
        return False
