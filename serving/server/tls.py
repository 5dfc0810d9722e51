"""TLS for gRPC, from the file that tensorflow_model_server takes with --ssl_config_file.

The file is a text-format SSLConfig that holds keys and certificates themselves (PEM), not paths to them.
"""

from __future__ import annotations

import pathlib

import grpc

from serving.messages import SSLConfig
from serving.server import config
from serving.server.errors import ServingError, StatusCode


def server_credentials(file: pathlib.Path) -> grpc.ServerCredentials:
    """The credentials of a server.

    Raises:
        ServingError: The file cannot be read, a key or certificate is missing, or clients are to be verified by nobody.
    """
    ssl = config.read_text_proto(file, SSLConfig, secret=True)
    for field in ("server_key", "server_cert"):
        if not getattr(ssl, field).lstrip().startswith("-----BEGIN "):
            raise ServingError(
                StatusCode.INVALID_ARGUMENT, f"{file}: {field} must be a PEM text (not a path), beginning with -----BEGIN"
            )
    if ssl.client_verify and not ssl.custom_ca:
        raise ServingError(
            StatusCode.INVALID_ARGUMENT, f"{file}: client_verify needs custom_ca, the certificates that sign clients'"
        )
    return grpc.ssl_server_credentials(
        [(ssl.server_key.encode(), ssl.server_cert.encode())],
        root_certificates=ssl.custom_ca.encode() or None,
        require_client_auth=ssl.client_verify,
    )
