"""The command line of the server: tensorflow_model_server's flags, written as that binary takes them.

    options, warnings = parse_flags(["--rest_api_port=8501", "--model_base_path=/models/intents", "--enable_batching"])

All 48 flags of tensorflow_model_server 2.19 and 2.20 are known, so that its command lines work here. `--flag=value` is the only way
to give a value; a boolean one also stands alone. What this server differs in:

* An unknown flag is refused, with the nearest known one; the stock server says so and starts.
* Flags without a meaning here (GPUs, XLA, ...) are accepted, with a warning that says why.
* `--use_alts_credentials` is refused: a server that someone believes to be encrypted must not start in plain text. So is one port
  for both gRPC and REST, where the stock server drops REST.
* `--host` is ours. The stock server listens on all addresses, being meant for a container whose borders are guarded. This one runs
  on laptops and in CI, so it answers this machine only unless told otherwise: `--host=0.0.0.0` exposes it.
* `--rest_api_max_body_mib` and `--request_log_*` are ours, too. The stock server takes bodies of any size, and has no request log.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
from collections.abc import Sequence
from typing import Any, Literal


class FlagError(ValueError):
    """The command line is wrong; the message says what and how to put it right."""


def _flag(default: Any, meaning: str, *, ignored: str = "", ours: bool = False) -> Any:
    """A field of `ServerOptions` that is a flag of the same name.

    Args:
        default: Its value where it is not given.
        meaning: What it does, for the help text.
        ignored: Why it has no meaning here; "" if it has one.
        ours: The stock server does not have it.
    """
    return dataclasses.field(default=default, metadata={"meaning": meaning, "ignored": ignored, "ours": ours})


_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_CPUS = len(os.sched_getaffinity(0))
_NO_GPU = "models run on the CPU"
_NO_XLA = "models run as TensorFlow compiled them, without XLA"
_NO_TPU = "there are no TPUs"


@dataclasses.dataclass(frozen=True, slots=True)
class ServerOptions:
    """What the command line says; each field is the flag of its name, `saved_model_tags` and the like as they were written."""

    host: str = _flag("127.0.0.1", "Address to listen on, for gRPC and REST. 0.0.0.0 answers other machines, too.", ours=True)
    port: int = _flag(8500, "TCP port for gRPC; 0 for none.")
    grpc_socket_path: str = _flag("", "Path of a unix socket for gRPC, besides the port.")
    rest_api_port: int = _flag(0, "TCP port for REST; 0 for none.")
    rest_api_num_threads: int = _flag(4 * _CPUS, "Threads that answer REST requests.")
    rest_api_timeout_in_ms: int = _flag(30000, "Milliseconds after which a REST request fails.")
    rest_api_max_body_mib: int = _flag(64, "Largest body of a REST request, in MiB.", ours=True)
    rest_api_enable_cors_support: bool = _flag(False, "Send CORS headers in REST responses.")
    enable_batching: bool = _flag(False, "Run requests in batches.")
    allow_version_labels_for_unavailable_models: bool = _flag(
        False, "Let a label that is not in use point to a version that does not serve yet."
    )
    batching_parameters_file: str = _flag("", "Text file of BatchingParameters.")
    enable_per_model_batching_parameters: bool = _flag(False, "Take batching parameters from the model's batching_params.pbtxt.")
    model_config_file: str = _flag(
        "", "Text file of ModelServerConfig. With it, --model_name and --model_base_path mean nothing."
    )
    model_config_file_poll_wait_seconds: int = _flag(
        0, "Seconds between two readings of the model config file; 0 to read it once."
    )
    model_name: str = _flag("default", "Name of the one model.")
    model_base_path: str = _flag("", "Directory of the one model's version directories.")
    num_load_threads: int = _flag(0, "Threads that load models; 0 for the one that also unloads them.")
    num_unload_threads: int = _flag(0, "Threads that unload models; 0 for the one that also loads them.")
    max_num_load_retries: int = _flag(5, "How often a failed load is repeated.")
    load_retry_interval_micros: int = _flag(60_000_000, "Microseconds between two loads of the same version; negative for none.")
    file_system_poll_wait_seconds: int = _flag(
        1, "Seconds between two looks for new versions; 0 for one look, negative for none."
    )
    flush_filesystem_caches: bool = _flag(
        True, "Give file system caches back after loading.", ignored="the operating system manages its caches"
    )
    tensorflow_session_parallelism: int = _flag(0, "Threads for running a model, within an op and between ops; 0 for all CPUs.")
    tensorflow_session_config_file: str = _flag(
        "", "Text file of ConfigProto.", ignored="set the numbers of threads with --tensorflow_*_op_parallelism"
    )
    tensorflow_intra_op_parallelism: int = _flag(0, "Threads within an op; 0 for all CPUs.")
    tensorflow_inter_op_parallelism: int = _flag(0, "Ops that run at the same time; 0 for as many as CPUs.")
    use_alts_credentials: bool = _flag(False, "Use Google ALTS credentials; refused here.")
    ssl_config_file: str = _flag("", "Text file of SSLConfig: TLS for gRPC.")
    platform_config_file: str = _flag("", "Text file of PlatformConfigMap.", ignored="there is one platform, tensorflow")
    per_process_gpu_memory_fraction: float = _flag(0.0, "Share of the GPU's memory to take.", ignored=_NO_GPU)
    saved_model_tags: str = _flag("serve", "Tags of the graph to load, separated by commas.")
    grpc_channel_arguments: str = _flag("", "Arguments for the gRPC server: key=value, separated by commas.")
    grpc_max_threads: int = _flag(4 * _CPUS, "Most threads that answer gRPC requests.")
    enable_model_warmup: bool = _flag(True, "Run a model's warm-up requests before it serves.")
    num_request_iterations_for_warmup: int = _flag(0, "How often each warm-up request runs; 0 for once.")
    version: bool = _flag(False, "Show the version and stop.")
    monitoring_config_file: str = _flag("", "Text file of MonitoringConfig: metrics on the REST port.")
    remove_unused_fields_from_bundle_metagraph: bool = _flag(
        True, "Keep only what is needed of a model's description.", ignored="only signatures are kept in any case"
    )
    prefer_tflite_model: bool = _flag(False, "Serve model.tflite where a version has one.")
    num_tflite_pools: int = _flag(_CPUS, "Pools of TensorFlow Lite interpreters, for each model.")
    num_tflite_interpreters_per_pool: int = _flag(1, "TensorFlow Lite interpreters in a pool.")
    enable_signature_method_name_check: bool = _flag(False, "Check the method name of a signature that classifies or regresses.")
    xla_cpu_compilation_enabled: bool = _flag(False, "Compile with XLA for the CPU.", ignored=_NO_XLA)
    xla_gpu_compilation_enabled: bool = _flag(False, "Compile with XLA for the GPU.", ignored=_NO_XLA)
    enable_profiler: bool = _flag(True, "Offer the profiler service.")
    thread_pool_factory_config_file: str = _flag("", "Text file of ThreadPoolConfig.", ignored="there is one thread pool")
    mixed_precision: str = _flag("", "Mode of mixed precision.", ignored="models run in the precision they were exported with")
    skip_initialize_tpu: bool = _flag(False, "Do not initialize TPUs.", ignored=_NO_TPU)
    enable_grpc_healthcheck_service: bool = _flag(False, "Offer gRPC's health service.")
    enable_serialization_as_tensor_content: bool = _flag(False, "Answer with tensor_content instead of typed fields.")

    request_log_dir: str = _flag(
        "", "Directory for the log of sampled requests, personal data removed; empty for no log.", ours=True
    )
    request_log_sampling_rate: float = _flag(0.01, "Share of the requests to log, 0 to 1.", ours=True)
    request_log_max_mib: int = _flag(256, "Size of all request log files together, in MiB; the oldest go first.", ours=True)
    request_log_file_seconds: int = _flag(3600, "Age at which a request log file is finished.", ours=True)

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of the graph to load."""
        return tuple(self.saved_model_tags.split(","))

    @property
    def intra_op_threads(self) -> int:
        """Threads within an op, 0 for all CPUs; `--tensorflow_session_parallelism` sets both this and the threads between ops."""
        separately = self.tensorflow_intra_op_parallelism > 0 or self.tensorflow_inter_op_parallelism > 0
        return self.tensorflow_intra_op_parallelism if separately else self.tensorflow_session_parallelism

    @property
    def inter_op_threads(self) -> int:
        """Threads between ops, 0 for as many as CPUs."""
        separately = self.tensorflow_intra_op_parallelism > 0 or self.tensorflow_inter_op_parallelism > 0
        return self.tensorflow_inter_op_parallelism if separately else self.tensorflow_session_parallelism

    @property
    def channel_arguments(self) -> list[tuple[str, int | str]]:
        """The arguments for the gRPC server: numbers where they read as int32, else texts."""
        return [_channel_argument(argument) for argument in self.grpc_channel_arguments.split(",") if argument]


def parse_flags(arguments: Sequence[str]) -> tuple[ServerOptions, list[str]]:
    """Reads a command line.

    Args:
        arguments: The words after the program's name.

    Returns:
        The options, and warnings about flags that were given but mean nothing here.

    Raises:
        FlagError: A word is no flag, a flag is unknown, or a value is wrong; or flags contradict each other.
    """
    fields = {field.name: field for field in dataclasses.fields(ServerOptions)}
    given: dict[str, Any] = {}
    warnings: list[str] = []
    for argument in arguments:
        name, has_value, text = argument.removeprefix("--").partition("=")
        if not argument.startswith("--"):
            raise FlagError(f"Unknown argument: {argument}. Flags are written --name=value.")
        field = fields.get(name)
        if field is None:
            close = difflib.get_close_matches(name, fields, n=1)
            nearest = f"; did you mean --{close[0]}?" if close else "; --help lists all flags."
            raise FlagError(f"Unknown flag: --{name}{nearest}")
        given[name] = _value(name, type(field.default), text if has_value else None)
        if field.metadata["ignored"]:
            warnings.append(f"--{name} has no effect here: {field.metadata['ignored']}.")
    options = ServerOptions(**given)
    if not options.version:
        _check(options, given)
    return options, warnings


def usage(program: str) -> str:
    """The help text."""
    lines = [f"usage: {program} --model_base_path=DIRECTORY [--model_name=NAME] [--rest_api_port=PORT] [flags]", "", "Flags:"]
    for field in dataclasses.fields(ServerOptions):
        default = str(field.default).lower() if isinstance(field.default, bool) else repr(field.default).replace("'", '"')
        note = f" (accepted without effect: {field.metadata['ignored']})" if field.metadata["ignored"] else ""
        lines.append(f"  --{field.name}={default}")
        lines.append(f"      {field.metadata['meaning']}{note}")
    return "\n".join(lines) + "\n"


def _value(name: str, kind: Any, text: str | None) -> bool | int | float | str:
    if kind is bool:
        if text is None or text == "true":
            return True
        if text == "false":
            return False
        raise FlagError(f"Couldn't interpret value {text} for flag {name}; write --{name}, --{name}=true or --{name}=false.")
    if text is None:
        raise FlagError(f"--{name} needs a value: --{name}=VALUE, in one word.")
    try:
        if kind is int:
            return _integer(text, 64 if name == "load_retry_interval_micros" or name.startswith("tensorflow_") else 32)
        return float(text) if kind is float else text
    except ValueError as error:
        expected = "a whole number that fits" if kind is int else "a number"
        raise FlagError(f"Couldn't interpret value {text} for flag {name}; it takes {expected}.") from error


def _integer(text: str, bits: Literal[32, 64]) -> int:
    value = int(text) if _INTEGER.fullmatch(text) else None
    if value is None or not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
        raise ValueError(f"{text} is no number of {bits} bits")
    return value


def _channel_argument(argument: str) -> tuple[str, int | str]:
    key, _, value = argument.partition("=")
    try:
        return key, _integer(value, 32)
    except ValueError:
        return key, value


def _check(options: ServerOptions, given: dict[str, Any]) -> None:
    """Refuses what contradicts itself, in upstream's words where it does so too."""
    for name in ("port", "rest_api_port"):
        if not 0 <= getattr(options, name) <= 65535:
            raise FlagError(f"--{name} takes 0 to 65535, got {getattr(options, name)}.")
    if options.port == 0 and not options.grpc_socket_path:
        raise FlagError("At least one of server_options.grpc_port or server_options.grpc_socket_path must be set.")
    if options.rest_api_port and options.rest_api_port == options.port:
        raise FlagError(f"--rest_api_port must differ from --port, both are {options.port}.")
    if not options.model_base_path and not options.model_config_file:
        raise FlagError("Both server_options.model_base_path and server_options.model_config_file are empty!")
    if options.batching_parameters_file and not options.enable_batching:
        raise FlagError("server_options.batching_parameters_file is set without setting server_options.enable_batching to true.")
    if (
        min(
            options.tensorflow_intra_op_parallelism,
            options.tensorflow_inter_op_parallelism,
            options.tensorflow_session_parallelism,
        )
        > 0
    ):
        raise FlagError(
            "Either configure server_options.tensorflow_session_parallelism or (server_options.tensorflow_intra_op_parallelism, "
            "server_options.tensorflow_inter_op_parallelism) separately. You cannot configure all."
        )
    if options.use_alts_credentials:
        raise FlagError("--use_alts_credentials is not supported; use --ssl_config_file for TLS.")
    if not 0 <= options.request_log_sampling_rate <= 1:
        raise FlagError(f"--request_log_sampling_rate takes a share from 0 to 1, got {options.request_log_sampling_rate}.")
    positive = ("rest_api_max_body_mib", "request_log_max_mib", "request_log_file_seconds")
    for name in ("rest_api_num_threads", "grpc_max_threads", *positive):
        if name in given and given[name] < 1:
            raise FlagError(f"--{name} takes a number above 0, got {given[name]}.")
