"""The command `parlance serve`: every released model below a root, over gRPC and REST.

Each folder <root>/serving/<name>/ with a version in it is a model; its versions come and go as runs release them. Where
<root>/serving/models.config exists (a text ModelServerConfig with versions and labels), it says instead what is served, and is read
again whenever it changes.
"""

from __future__ import annotations

import argparse
import logging
import pathlib
import sys

from components.errors import UsageError

GRPC_PORT, REST_PORT = 8500, 8501
_RELEASES = "serving"
_CONFIG = "models.config"
# A copy that is not complete yet is tried again soon, and one model's load does not hold up another's.
_FLAGS = ("--num_load_threads=2", "--load_retry_interval_micros=1000000", "--file_system_poll_wait_seconds=1")


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
    from serving.server import flags, server

    folder = (pathlib.Path(options.root) / _RELEASES).resolve()
    config = folder / _CONFIG
    names = released_models(folder)
    if not config.exists() and not names:
        raise UsageError(
            f"Serving needs a released model in {folder}/<name>/<version>; there is none. `parlance run` releases one"
        )
    source = [f"--model_config_file={config}", "--model_config_file_poll_wait_seconds=1"] if config.exists() else []
    arguments = [f"--host={options.host}", f"--port={options.port}", f"--rest_api_port={options.rest_api_port}", *_FLAGS, *source]
    if not source:
        # Only so that the flags are complete: what is served is said below.
        arguments.append(f"--model_base_path={folder}")
    try:
        parsed, warnings = flags.parse_flags([*arguments, *options.flags])
    except flags.FlagError as error:
        raise UsageError(str(error)) from error
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    for warning in warnings:
        logging.getLogger(__name__).warning("%s", warning)
    return 3 if server.run(parsed, model_config=None if source else _model_config(folder, names)) else 0


def released_models(folder: pathlib.Path) -> list[str]:
    """The names of the folders that hold at least one version, sorted."""
    if not folder.is_dir():
        return []
    return sorted(
        model.name for model in folder.iterdir() if model.is_dir() and any(child.name.isdecimal() for child in model.iterdir())
    )


def _model_config(folder: pathlib.Path, names: list[str]) -> object:
    from serving.messages import ModelServerConfig

    config = ModelServerConfig()
    for name in names:
        config.model_config_list.config.add(name=name, base_path=str(folder / name), model_platform="tensorflow")
    return config
