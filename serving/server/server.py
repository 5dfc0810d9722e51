"""Puts the server together, starts and stops it.

    server = ModelServer(options)
    server.start()              # returns when all models serve and the ports are open
    ...
    server.stop()

The order of the start is part of the contract: ports open only after every initial model is loaded, so a connection that succeeds means
a server that answers. Stopping goes the other way round: no more requests are accepted, accepted ones are finished, models unload.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import signal
import socket
import sys
import threading
import time
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from serving.messages import BatchingParameters, ModelServerConfig, MonitoringConfig
from serving.server import batching, config, flags, grpc_api, tls
from serving.server.errors import ServingError, StatusCode
from serving.server.flags import ServerOptions
from serving.server.grpc_server import Behaviour, GrpcServer, StreamBehaviour
from serving.server.health import Health
from serving.server.http_server import HttpLimits, HttpServer
from serving.server.manager import ManagerOptions, ServableManager
from serving.server.metrics import Metrics
from serving.server.request_log import from_flags as request_log_from_flags
from serving.server.rest_api import DEFAULT_METRICS_PATH, RestApi
from serving.server.runtime import LoadedModel, LoadOptions, Runtime, TensorFlowRuntime
from serving.server.servable import ServableOptions
from serving.server.tflite import LiteRuntime
from serving.server.warmup import WarmUpOptions

# How long accepted requests may take after the signal to stop: what Kubernetes grants a pod, less a bit.
DRAIN_SECONDS = 25.0
# So long new requests are refused politely before grpc stops and cancels what is on its way: clients have gone elsewhere by then.
_REFUSING_SECONDS = 0.3
# Requests that wait for Python's lock get it sooner than every 5 ms, the default; measured: a load in the background costs the p99 of
# requests 0.2 ms instead of 3.5 ms.
_SWITCH_INTERVAL = 0.0005
# More threads than that make small models slower: they compete for Python's lock.
_WORKERS_PER_CPU = 2
# A thread waits with every request in a batch.
_WORKERS_WITH_BATCHING = 64
_CONFIG_POLL_SECONDS = 1.0
_FAILED, _DONE = 255, 0
_LOOPBACK = ("127.0.0.1", "::1", "localhost")

logger = logging.getLogger(__name__)


class ModelServer:
    """A server of models; see the module's description.

    Attributes:
        manager: Its models.
        metrics: What it counts.
        port: The TCP port of gRPC; 0 for none.
        rest_api_port: The TCP port of REST; 0 for none.
    """

    def __init__(
        self,
        options: ServerOptions,
        runtime: Runtime | None = None,
        request_log: grpc_api.RequestLogger | None = None,
        read_model_config: Callable[[], Any] | None = None,
    ):
        """A server that does not run yet.

        Args:
            options: What the command line says.
            runtime: What runs models; None for the installed TensorFlow.
            request_log: Given the successful requests that it samples; None for the one that the options ask for, if they do.
            read_model_config: Returns the ModelServerConfig to serve, and is asked again every second; None for what the options say.

        Raises:
            ServingError: A file that the options name is wrong, or a port is taken.
        """
        self._options = options
        self._read_model_config = read_model_config
        self._config = _model_config(options) if read_model_config is None else read_model_config()
        # Before models load, as that takes long.
        self._credentials = tls.server_credentials(pathlib.Path(options.ssl_config_file)) if options.ssl_config_file else None
        metrics_path = _metrics_path(options)
        for port in (options.port, options.rest_api_port):
            if port:
                _check_free(options.host, port)
        self.metrics = Metrics()
        self._own_log = request_log_from_flags(options, self.metrics.observe_logged) if request_log is None else None
        request_log = request_log or self._own_log
        self._batch_scheduler, wrap = _batching(options, self.metrics)
        self.manager = ServableManager(runtime or _runtime(options), _manager_options(options, wrap), self.metrics)
        if self._own_log is not None:
            self._own_log.redact_as(self._redaction_of)
        self._admission = grpc_api.Admission()
        self._health = Health() if options.enable_grpc_healthcheck_service else None
        services = grpc_api.Services(self._health, options.enable_profiler and options.host in _LOOPBACK)
        methods = grpc_api.methods(self.manager, self.metrics, services, request_log, self._admission)
        self._grpc = _grpc_server(options, methods, grpc_api.streams(services))
        self._rest: HttpServer | None = None
        if options.rest_api_port:
            api = RestApi(
                self.manager,
                self.metrics,
                timeout_seconds=options.rest_api_timeout_in_ms / 1000 or None,
                cors=options.rest_api_enable_cors_support,
                metrics_path=metrics_path,
                request_log=request_log,
            )
            limits = HttpLimits(body_bytes=options.rest_api_max_body_mib << 20)
            threads = options.rest_api_num_threads
            self._rest = HttpServer(api.handle, options.host, options.rest_api_port, threads=threads, limits=limits)
        self.port = self.rest_api_port = 0

    def _redaction_of(self, model: str, version: int) -> Callable[[str], str] | None:
        """What a version removes from the texts it is asked about."""
        redactor = self.manager.redactor(model, version)
        return None if redactor is None else redactor.text

    def start(self, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Loads the models, then opens the ports.

        Args:
            cancelled: Asked now and then; True ends the waiting for models.

        Raises:
            ServingError: A model does not load, a port is taken, or the start was cancelled (CANCELLED).
        """
        options = self._options
        if self._own_log is not None:
            try:
                self._own_log.start()
            except OSError as error:
                raise ServingError(
                    StatusCode.UNAVAILABLE, f"Cannot write a request log to {options.request_log_dir}: {error.strerror}"
                ) from error
        self.manager.start(self._config)
        self.manager.wait_until_available(cancelled=cancelled)
        if options.port:
            self.port = self._listen(f"{_bracketed(options.host)}:{options.port}")
        if options.grpc_socket_path:
            self._listen(f"unix:{options.grpc_socket_path}")
        self._grpc.start()
        if self._rest is not None:
            try:
                self._rest.start()
            except OSError as error:
                raise _port_taken(options.host, options.rest_api_port, error) from error
            self.rest_api_port = self._rest.port
        if self._read_model_config is not None:
            self.manager.watch(self._read_model_config, _CONFIG_POLL_SECONDS)
        elif options.model_config_file and options.model_config_file_poll_wait_seconds > 0:
            self.manager.watch(lambda: _model_config(options), options.model_config_file_poll_wait_seconds)

    def stop(self, timeout: float = DRAIN_SECONDS) -> bool:
        """Accepts no more requests, finishes accepted ones, unloads the models.

        Args:
            timeout: Seconds after which requests still in progress are given up.

        Returns:
            Whether there were none.
        """
        self._admission.open = False
        if self._health is not None:
            self._health.stop()
        if self.port or self._options.grpc_socket_path:
            time.sleep(min(_REFUSING_SECONDS, timeout))
        stopped = self._grpc.stop(timeout)
        finished = self._rest.drain(timeout) if self._rest is not None and self.rest_api_port else True
        stopped.wait()
        if self._own_log is not None:
            self._own_log.close()
        finished = self.manager.drain_and_stop(timeout) and finished
        if self._batch_scheduler is not None and finished:
            self._batch_scheduler.stop()
        return finished

    def _listen(self, address: str) -> int:
        port = self._grpc.add_port(address, self._credentials)
        if not port:
            raise ServingError(StatusCode.INVALID_ARGUMENT, f"Failed to BuildAndStart gRPC server: cannot listen on {address}")
        return port


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until it is told to stop by SIGTERM or SIGINT.

    Args:
        arguments: The command line, without the program's name; None for the process's own.

    Returns:
        0 after a stop that lost no request; 255 where the server could not start, or lost some.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if "--help" in arguments:
        sys.stdout.write(flags.usage("python -m serving.server"))
        return _DONE
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname).1s %(name)s] %(message)s", stream=sys.stderr)
    try:
        options, warnings = flags.parse_flags(arguments)
    except flags.FlagError as error:
        sys.stderr.write(f"{error}\n")
        return _FAILED
    for warning in warnings:
        logger.warning("%s", warning)
    if options.version:
        sys.stdout.write(f"TensorFlow Library: {TensorFlowRuntime.load_library().version}\n")
        return _DONE
    return run(options)


def run(
    options: ServerOptions,
    request_log: grpc_api.RequestLogger | None = None,
    read_model_config: Callable[[], Any] | None = None,
) -> int:
    """Serves until SIGTERM or SIGINT; for the main thread.

    Args:
        options, request_log, read_model_config: See `ModelServer`.

    Returns:
        The exit code, see `main`.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL)
    told = threading.Event()

    def stop(number: int, frame: types.FrameType | None) -> None:
        told.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    server = None
    try:
        server = ModelServer(options, request_log=request_log, read_model_config=read_model_config)
        server.start(told.is_set)
    except ServingError as error:
        if not told.is_set():
            # Upstream tells on stdout, and its logs say so on stderr; whoever looks at either one finds it.
            message = f"Failed to start server. Error: {error}\n"
            sys.stdout.write(message)
            sys.stdout.flush()
            sys.stderr.write(message)
        if server is not None:
            server.stop(0)
        return _DONE if told.is_set() else _FAILED
    _say_ready(server, options)
    # Not without a timeout: a signal interrupts a wait with one only.
    while not told.wait(1.0):
        pass
    logger.info("Stopping: finishing accepted requests.")
    finished = server.stop()
    logger.info("Stopped." if finished else "Stopped with requests unfinished.")
    return _DONE if finished else _FAILED


def _say_ready(server: ModelServer, options: ServerOptions) -> None:
    for port, what in ((server.port, "Running gRPC ModelServer"), (server.rest_api_port, "Exporting HTTP/REST API")):
        if port:
            logger.info("%s at %s:%d ...", what, options.host, port)
    if options.grpc_socket_path:
        logger.info("Running gRPC ModelServer at unix:%s ...", options.grpc_socket_path)


def _model_config(options: ServerOptions) -> Any:
    if options.model_config_file:
        return config.read_text_proto(pathlib.Path(options.model_config_file), ModelServerConfig)
    return config.single_model(options.model_name, options.model_base_path)


def _runtime(options: ServerOptions) -> Runtime:
    runtime = TensorFlowRuntime.load_library()
    if not options.prefer_tflite_model:
        return runtime
    return LiteRuntime(runtime, max(options.num_tflite_pools, 1) * max(options.num_tflite_interpreters_per_pool, 1))


def _metrics_path(options: ServerOptions) -> str | None:
    """Where REST answers with metrics; None for nowhere."""
    if not options.monitoring_config_file:
        return None
    settings = config.read_text_proto(pathlib.Path(options.monitoring_config_file), MonitoringConfig).prometheus_config
    return (settings.path or DEFAULT_METRICS_PATH) if settings.enable else None


def _manager_options(options: ServerOptions, wrap: Callable[[LoadedModel, pathlib.Path], LoadedModel] | None) -> ManagerOptions:
    return ManagerOptions(
        load=LoadOptions(tags=options.tags, intra_op_threads=options.intra_op_threads, inter_op_threads=options.inter_op_threads),
        servable=ServableOptions(options.enable_signature_method_name_check, options.enable_serialization_as_tensor_content),
        warm_up=WarmUpOptions(max(options.num_request_iterations_for_warmup, 1)) if options.enable_model_warmup else None,
        poll_seconds=options.file_system_poll_wait_seconds,
        load_threads=options.num_load_threads,
        unload_threads=options.num_unload_threads,
        max_load_retries=options.max_num_load_retries,
        load_retry_seconds=options.load_retry_interval_micros / 1e6,
        allow_labels_for_unavailable=options.allow_version_labels_for_unavailable_models,
        wrap=wrap,
    )


def _batching(
    options: ServerOptions, metrics: Metrics
) -> tuple[batching.BatchScheduler | None, Callable[[LoadedModel, pathlib.Path], LoadedModel] | None]:
    """What all models share to run batches, and what makes a model run in batches; None where they do not."""
    if not options.enable_batching:
        return None, None
    file = options.batching_parameters_file
    parameters = config.read_text_proto(pathlib.Path(file), BatchingParameters) if file else BatchingParameters()
    shared = batching.BatchScheduler(batching.BatchingOptions.of(parameters), metrics)

    def wrap(model: LoadedModel, path: pathlib.Path) -> LoadedModel:
        if not options.enable_per_model_batching_parameters:
            return batching.BatchingModel(model, shared)
        own = batching.per_model_options(path)
        # A version without parameters of its own is not batched at all.
        return model if own is None else batching.BatchingModel(model, batching.BatchScheduler(own, metrics), own_scheduler=True)

    return shared, wrap


def _grpc_server(options: ServerOptions, methods: Mapping[str, Behaviour], streams: Mapping[str, StreamBehaviour]) -> GrpcServer:
    cpus = len(os.sched_getaffinity(0))
    if options.enable_batching:
        workers, stay = max(options.grpc_max_threads, _WORKERS_WITH_BATCHING), grpc_api.INSTANT
    else:
        workers, stay = min(options.grpc_max_threads, _WORKERS_PER_CPU * cpus), grpc_api.INSTANT | grpc_api.COMPUTING
    given = dict(options.channel_arguments)
    defaults: dict[str, int | str] = {
        "grpc.max_receive_message_length": -1,
        "grpc.max_send_message_length": -1,
        # Two servers on one port would share its connections without a word.
        "grpc.so_reuseport": 0,
    }
    return GrpcServer(methods, streams, list((defaults | given).items()), workers, stay)


def _check_free(host: str, port: int) -> None:
    """Refuses a port that is taken; by binding and closing it, as nothing may listen yet."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with contextlib.closing(socket.socket(family, kind, protocol)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise _port_taken(host, port, error) from error


def _port_taken(host: str, port: int, error: OSError) -> ServingError:
    return ServingError(StatusCode.UNAVAILABLE, f"Cannot listen on {_bracketed(host)}:{port}: {error.strerror or error}")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
