"""Where ML Metadata is, as one argument of a container."""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Mapping

from ml_metadata.proto import metadata_store_pb2

from components.errors import UsageError
from pipeline.kubeflow.options import METADATA_PASSWORD

_FORMS = "mysql://USER@HOST:PORT/DATABASE or sqlite:///PATH"
_MYSQL_PORT = 3306


def parse(url: str, environment: Mapping[str, str] = os.environ) -> metadata_store_pb2.ConnectionConfig:
    """Returns how to connect to ML Metadata.

    Args:
      url: `mysql://USER@HOST:PORT/DATABASE`, for MariaDB too, or `sqlite:///PATH` for tests.
      environment: Where the password is, in PARLANCE_METADATA_PASSWORD.

    Raises:
      UsageError: The address has another form, or holds the password itself.
    """
    parsed = urllib.parse.urlsplit(url)
    if parsed.password is not None:
        raise UsageError(
            f"The address of ML Metadata must not hold a password, because arguments are seen by everybody who sees the run. "
            f"Give it in the environment variable {METADATA_PASSWORD}"
        )
    config = metadata_store_pb2.ConnectionConfig()
    path = urllib.parse.unquote(parsed.path[1:])
    if parsed.scheme == "sqlite" and not parsed.netloc and path:
        config.sqlite.filename_uri = f"/{path.lstrip('/')}"
        config.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        return config
    if parsed.scheme == "mysql" and parsed.hostname and parsed.username and path and "/" not in path:
        config.mysql.host = parsed.hostname
        config.mysql.port = parsed.port or _MYSQL_PORT
        config.mysql.database = path
        config.mysql.user = urllib.parse.unquote(parsed.username)
        config.mysql.password = environment.get(METADATA_PASSWORD, "")
        return config
    reason = ". PostgreSQL is not an option: cached outputs get mixed up on it" if parsed.scheme.startswith("postgres") else ""
    raise UsageError(f"The address of ML Metadata is {_FORMS}; received {url!r}{reason}")
