"""The command `parlance serve`: every released model below a root, over gRPC and REST.

Each folder <root>/serving/<name>/ with a version in it is a model, and its newest version is served. Where
<root>/serving/models.config lists the model (`parlance release` writes that file, a text ModelServerConfig with versions and labels),
it says instead what is served. File and folders are looked at every second, so what a run or a rollout changes needs no restart.
"""

from __future__ import annotations

import argparse
import logging
import pathlib
import sys
import tempfile
from typing import Any

from components.errors import UsageError

GRPC_PORT, REST_PORT = 8500, 8501
_RELEASES = "serving"
_FLAGS = (
    # A copy that is not complete yet is tried again soon, and one model's load does not hold up another's.
    "--num_load_threads=2",
    "--load_retry_interval_micros=1000000",
    "--file_system_poll_wait_seconds=1",
    # When the server starts, no version is loaded that the labels in models.config could point to.
    "--allow_version_labels_for_unavailable_models",
)
_METRICS = "prometheus_config { enable: true }\n"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declares the arguments of the command, but for --root."""
    command.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 answers other machines (default: %(default)s)"
    )
    command.add_argument("--port", type=int, default=GRPC_PORT, metavar="N", help="port for gRPC (default: %(default)s)")
    command.add_argument(
        "--rest-api-port",
        "--rest_api_port",
        type=int,
        default=REST_PORT,
        metavar="N",
        help="port for REST, 0 for none (default: %(default)s)",
    )
    command.add_argument(
        "flags", nargs="*", metavar="FLAG", help="after --, flags of tensorflow_model_server, e.g. -- --enable_batching"
    )


def run(options: argparse.Namespace) -> int:
    """Serves until it is interrupted. Returns 0, or 3 where the server could not start.

    Raises:
      UsageError: There is nothing to serve, or a flag is wrong.
    """
    from serving.server import polling

    polling.in_the_thread_that_waits()
    from serving.server import flags, server
    from serving.server.errors import ServingError

    folder = (pathlib.Path(options.root) / _RELEASES).resolve()
    try:
        served = model_config(folder).model_config_list.config
    except ServingError as error:
        raise UsageError(f"What is served is written in {folder}, which cannot be read: {error.message}") from error
    if not served:
        raise UsageError(
            f"Serving needs a released model in {folder}/<name>/<version>; there is none. `parlance run` releases one"
        )
    with tempfile.TemporaryDirectory(prefix="parlance-serve-") as temporary:
        monitoring = pathlib.Path(temporary) / "monitoring.config"
        monitoring.write_text(_METRICS)
        arguments = [
            f"--host={options.host}",
            f"--port={options.port}",
            f"--rest_api_port={options.rest_api_port}",
            *_FLAGS,
            *([f"--monitoring_config_file={monitoring}"] if options.rest_api_port else []),
            # Only so that the flags are complete: `model_config` says what is served.
            f"--model_base_path={folder}",
        ]
        try:
            parsed, warnings = flags.parse_flags([*arguments, *options.flags])
        except flags.FlagError as error:
            raise UsageError(str(error)) from error
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
        for warning in warnings:
            logging.getLogger(__name__).warning("%s", warning)
        # A configuration of the user's own is served as it stands.
        own = parsed.model_config_file
        return 3 if server.run(parsed, read_model_config=None if own else lambda: model_config(folder)) else 0


def model_config(folder: pathlib.Path) -> Any:
    """Returns what is served of a folder of releases, as a ModelServerConfig: its models.config, and the newest version of others.

    Raises:
      ServingError: models.config or the folder cannot be read, or the file cannot be parsed.
    """
    from components.release import release_folder
    from serving.messages import ModelServerConfig
    from serving.server import config as config_module
    from serving.server.errors import ServingError, StatusCode

    config = ModelServerConfig()
    try:
        config = config_module.read_text_proto(folder / release_folder.CONFIG, ModelServerConfig)
    except ServingError as error:
        if error.code != StatusCode.NOT_FOUND:
            raise
    listed = {model.name for model in config.model_config_list.config}
    try:
        released = release_folder.released_models(folder)
    except OSError as error:
        raise ServingError(StatusCode.UNAVAILABLE, f"{folder}; {error.strerror}") from error
    for name in released:
        if name not in listed:
            config.model_config_list.config.add(name=name, base_path=str(folder / name), model_platform=config_module.PLATFORM)
    return config
