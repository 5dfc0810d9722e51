"""The nodes of the benchmark `startup`: one that tells the time, and one that uses what must survive a fork."""

from __future__ import annotations

import os
import pathlib
import time

from tfx.dsl.components.base import base_executor

TOLD = "PARLANCE_BENCHMARK_TOLD"
"""Environment variable with the file that the time is written to."""


class TellsTheTime(base_executor.BaseExecutor):
    """User code of one line."""

    def Do(self, input_dict, output_dict, exec_properties) -> None:
        """See the base class."""
        pathlib.Path(os.environ[TOLD]).write_text(repr(time.time()))


class Computes(base_executor.BaseExecutor):
    """Runs a tf.function, trains with Keras, runs a Beam pipeline, multiplies matrices and answers a gRPC call."""

    def Do(self, input_dict, output_dict, exec_properties) -> None:
        """See the base class.

        Raises:
          ArithmeticError: Something came out wrong.
        """
        for work in (_tensorflow, _keras, _beam, _numpy, _grpc):
            if not work():
                raise ArithmeticError(work.__name__)


def _tensorflow() -> bool:
    import tensorflow as tf

    @tf.function
    def total(numbers):
        return tf.reduce_sum(tf.map_fn(lambda number: number * 2, numbers, parallel_iterations=4))

    data = tf.data.Dataset.range(1000).map(lambda number: number + 1, num_parallel_calls=2).batch(100)
    return int(total(tf.range(100))) == 9900 and sum(int(tf.reduce_sum(batch)) for batch in data) == 500_500


def _keras() -> bool:
    import keras
    import numpy as np

    model = keras.Sequential([keras.layers.Dense(8, activation="relu"), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    history = model.fit(np.ones((256, 4)), np.ones((256, 1)), epochs=2, verbose=0)
    return len(history.history["loss"]) == 2


def _beam() -> bool:
    import apache_beam as beam

    runner = "apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner"
    with beam.Pipeline(runner=runner) as pipeline:
        numbers = pipeline | beam.Create(range(1000)) | beam.Map(lambda number: (number % 10, 1)) | beam.CombinePerKey(sum)
        # A wrong count is a division by zero, which fails the pipeline.
        _ = numbers | beam.Map(lambda pair: 1 / (pair[1] == 100))
    return True


def _numpy() -> bool:
    import numpy as np

    return bool(np.allclose(np.ones((500, 500)) @ np.ones((500, 500)), 500))


def _grpc() -> bool:
    from concurrent import futures

    import grpc

    handler = grpc.method_handlers_generic_handler("echo", {"Say": grpc.unary_unary_rpc_method_handler(lambda said, _: said)})
    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        said = channel.unary_unary("/echo/Say")(b"hello", timeout=30)
    server.stop(None)
    return said == b"hello"
