"""A model server that goes wrong in a chosen way: `python -m tests.components.release.faulty_server FAULT --port=... --rest_api_port=...`.

It takes tensorflow_model_server's flags and answers as fake_server does, but for the fault.
"""

import os
import signal
import sys
import threading
import time

import numpy as np

from serving import messages
from serving.tensors import Tensor
from tests.serving.client import fake_server


def _changed(model, output, change):
    """Makes a model change one of its outputs."""
    for name, (definition, compute) in model.signatures.items():
        if output in definition.outputs:
            model.signatures[name] = (definition, _with(compute, output, change))


def _with(compute, output, change):
    def answer(tensors):
        outputs = compute(tensors)
        return {**outputs, output: Tensor(outputs[output].dtype, change(outputs[output].array))}

    return answer


def _quoting(tensors):
    """Says in its log and in its answer what it was sent, as runtimes do."""
    [text] = tensors["text"].array.tolist()
    sys.stderr.write(f"cannot work on {text.decode()!r}, sent by ann@example.org\n")
    sys.stderr.flush()
    raise fake_server.Refusal("INVALID_ARGUMENT", f"Could not parse example input, value: '{text.decode()}'")


def main():
    """Serves until it is ended."""
    fault, *flags = sys.argv[1:]
    given = dict(flag.removeprefix("--").split("=", 1) for flag in flags)
    sys.stderr.write(f"starting as {given['model_name']}\n")
    sys.stderr.flush()
    if fault == "dies":
        sys.exit("cannot load the model of ann@example.org")
    if fault == "port is taken" or (fault == "port is taken once" and not os.path.exists(os.environ["FAULTY_SERVER_MARK"])):
        if fault == "port is taken once":
            open(os.environ["FAULTY_SERVER_MARK"], "w").close()
        sys.exit("Failed to start server. Error: Cannot listen on 127.0.0.1:1: Address already in use")
    if fault == "hangs":
        threading.Event().wait()
    state = fake_server.FakeServer()
    model = fake_server.intents()
    state.models = {given["model_name"]: {1: model}}
    if fault == "does not load":
        ended = messages.ModelVersionStatus(version=1, state=messages.ModelVersionStatus.END)
        ended.status.error_code = messages.Code.INTERNAL
        state.statuses = {given["model_name"]: [ended]}
    if fault == "slow":
        state.delay = 0.05
    if fault == "other scores":
        _changed(model, "scores", lambda scores: np.where(scores == 0.8, np.float32(0.79), scores))
    if fault == "other order of classes":
        _changed(model, "classes", lambda classes: classes[:, ::-1])
    if fault == "other best label":
        _changed(model, "label", lambda labels: np.array([b"stop"] * len(labels), object))
    if fault == "loses rows":
        _changed(model, "label", lambda labels: labels[:0])
    if fault == "quotes":
        model.signatures["serving_default"] = (model.signatures["serving_default"][0], _quoting)
    if fault == "dies when asked":
        model.signatures["serving_examples"] = (
            model.signatures["serving_examples"][0],
            lambda tensors: os.kill(os.getpid(), signal.SIGSEGV),
        )
    if fault == "falls silent":
        model.signatures["serving_examples"] = (model.signatures["serving_examples"][0], lambda tensors: time.sleep(60))
    taken = bytearray(300 << 20 if fault == "takes memory" else 1)
    taken[::4096] = b"x" * len(taken[::4096])  # memory that nobody wrote to is not taken
    if fault == "does not end":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with (
        fake_server.grpc_server(state, f"127.0.0.1:{given['port']}"),
        fake_server.rest_server(state, port=int(given["rest_api_port"])),
    ):
        while taken:
            time.sleep(1)


if __name__ == "__main__":
    main()
