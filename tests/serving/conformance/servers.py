"""Servers in processes of their own, driven by tensorflow_model_server's flags, and a client that calls them with messages."""

from __future__ import annotations

import contextlib
import pathlib
import signal
import socket
import subprocess
import sys
import time

import grpc

from serving.messages import (
    ClassificationRequest,
    ClassificationResponse,
    Example,
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    GetModelStatusRequest,
    GetModelStatusResponse,
    Input,
    ModelSpec,
    ModelVersionStatus,
    MultiInferenceRequest,
    MultiInferenceResponse,
    PredictRequest,
    PredictResponse,
    RegressionRequest,
    RegressionResponse,
    ReloadConfigRequest,
    ReloadConfigResponse,
)
from serving.tensors import Tensor, from_proto, to_proto

PROJECT = pathlib.Path(__file__).resolve().parents[3]
EMBEDDED = (sys.executable, "-m", "serving.server")
START_SECONDS = 60.0
PREDICTION, MODELS = "/tensorflow.serving.PredictionService/", "/tensorflow.serving.ModelService/"


def free_port() -> int:
    """A port that nothing listens on now."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def spec(name, version=None, label=None, signature=""):
    """A ModelSpec."""
    built = ModelSpec(name=name, signature_name=signature)
    if version is not None:
        built.version.value = version
    if label is not None:
        built.version_label = label
    return built


def examples(*values):
    """An Input of tf.Examples with one float x each."""
    built = Input()
    for value in values:
        built.example_list.examples.append(example(x=[value]))
    return built


def example(**floats):
    """A tf.Example of float features."""
    built = Example()
    for name, values in floats.items():
        built.features.feature[name].float_list.value.extend(values)
    return built


def tensor(values, dtype=None):
    """A TensorProto."""
    return to_proto(Tensor.of(values, dtype))


class Client:
    """Calls the gRPC services of a server with messages."""

    def __init__(self, target, credentials=None, options=()):
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), *options]
        if credentials is None:
            self.channel = grpc.insecure_channel(target, options=options)
        else:
            self.channel = grpc.secure_channel(target, credentials, options=options)

    def call(self, method, request, response_type, timeout=20.0):
        """Calls a method by its full name; returns its response, or raises grpc.RpcError."""
        content = request if isinstance(request, bytes) else request.SerializeToString()
        answer = self.channel.unary_unary(method)(content, timeout=timeout)
        return answer if response_type is None else response_type.FromString(answer)

    def predict(self, model_spec, outputs=(), timeout=20.0, **inputs):
        """Predicts with TensorProtos by alias; returns the response."""
        request = PredictRequest(model_spec=model_spec, output_filter=outputs)
        for alias, value in inputs.items():
            request.inputs[alias].CopyFrom(value)
        return self.call(PREDICTION + "Predict", request, PredictResponse, timeout)

    def y(self, name, x=2.0, **choice):
        """The output y of a model for one x."""
        answer = self.predict(spec(name, **choice), x=tensor([x], 1))
        return from_proto(answer.outputs["y"]).array.item()

    def classify(self, model_spec, given):
        return self.call(
            PREDICTION + "Classify", ClassificationRequest(model_spec=model_spec, input=given), ClassificationResponse
        )

    def regress(self, model_spec, given):
        return self.call(PREDICTION + "Regress", RegressionRequest(model_spec=model_spec, input=given), RegressionResponse)

    def multi_inference(self, given, *tasks):
        """Infers with (ModelSpec, method name) pairs."""
        request = MultiInferenceRequest(input=given)
        for model_spec, method in tasks:
            request.tasks.add(model_spec=model_spec, method_name=f"tensorflow/serving/{method}")
        return self.call(PREDICTION + "MultiInference", request, MultiInferenceResponse)

    def metadata(self, model_spec, *fields):
        request = GetModelMetadataRequest(model_spec=model_spec, metadata_field=fields)
        return self.call(PREDICTION + "GetModelMetadata", request, GetModelMetadataResponse)

    def status(self, name, version=None):
        """ModelVersionStatus messages by version."""
        request = GetModelStatusRequest(model_spec=spec(name, version))
        answer = self.call(MODELS + "GetModelStatus", request, GetModelStatusResponse)
        return {status.version: status for status in answer.model_version_status}

    def states(self, name):
        """Names of states by version; empty for an unknown model."""
        try:
            return {version: ModelVersionStatus.State.Name(status.state) for version, status in self.status(name).items()}
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.NOT_FOUND:
                raise
            return {}

    def reload(self, config, timeout=20.0):
        request = ReloadConfigRequest(config=config)
        return self.call(MODELS + "HandleReloadConfigRequest", request, ReloadConfigResponse, timeout)

    def wait_for(self, name, wanted, timeout=20.0):
        """Waits until the states of some versions of a model are these."""
        eventually(lambda: wanted.items() <= self.states(name).items(), f"{name} {wanted}", timeout, lambda: self.states(name))


def eventually(holds, what, timeout=20.0, seen=lambda: ""):
    """Waits until something holds."""
    end = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < end, f"never came: {what}; last seen: {seen()}"
        time.sleep(0.02)


class ServerProcess:
    """A server.

    Attributes:
        port, rest_port: What it listens on.
        client: A client of its gRPC port.
    """

    def __init__(self, command, folder, *flags, **named):
        self.port, self.rest_port = free_port(), free_port()
        given = {"port": self.port, "rest_api_port": self.rest_port, "file_system_poll_wait_seconds": 1, **named}
        # gRPC first, then REST, so whoever waits for the first may come too early for the second.
        self._opened = [port for port in (given["port"], given["rest_api_port"]) if port]
        self.log = pathlib.Path(folder) / f"server-{self.port}.log"
        arguments = [*flags, *(f"--{name}={value}" for name, value in given.items() if value is not None)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([*command, *arguments], stdout=log, stderr=log, cwd=PROJECT)
        self.client = Client(f"127.0.0.1:{self.port}")

    def wait(self, target=None):
        """Waits until it listens; its ports open when it is ready."""
        end = time.monotonic() + START_SECONDS
        while True:
            assert self.process.poll() is None, self.said()
            with contextlib.suppress(OSError):
                if target is None:
                    for port in self._opened:
                        socket.create_connection(("127.0.0.1", port), 1.0).close()
                else:
                    link = socket.socket(socket.AF_UNIX)
                    link.connect(target)
                    link.close()
                return self
            assert time.monotonic() < end, self.said()
            time.sleep(0.02)

    def ended(self, timeout=START_SECONDS):
        """Waits until it ends; returns its exit code and what it said."""
        return self.process.wait(timeout), self.said()

    def said(self):
        return self.log.read_text(errors="replace")

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def close(self):
        self.client.channel.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def model_config(paths, **extra):
    """A model config file; `extra` has more text for a model by name."""
    return (
        "model_config_list {\n"
        + "".join(
            f'  config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow" {extra.get(name, "")} }}\n'
            for name, path in paths.items()
        )
        + "}\n"
    )
