"""Where the API of Kubeflow Pipelines is, and as whom it is asked.

Named by arguments or by the environment; found in a pod; found through kubectl's configuration. What the SDK's own client has been told
counts too.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import kfp_server_api as api

from components.errors import UsageError

ENDPOINT = "PARLANCE_KFP_ENDPOINT"
NAMESPACE = "PARLANCE_KFP_NAMESPACE"
TOKEN_FILE = "PARLANCE_KFP_TOKEN_FILE"  # noqa: S105 - the variable's name
CA_FILE = "PARLANCE_KFP_CA_FILE"

# What the SDK's own client reads; somebody who has set that up need not say it again.
_SDK_ENDPOINT = "KF_PIPELINES_ENDPOINT"
_SDK_TOKEN_FILE = "KF_PIPELINES_SA_TOKEN_PATH"  # noqa: S105 - the variable's name
_SDK_CONTEXT = pathlib.Path("~/.config/kfp/context.json")
# Where the token is in a pod with a projected service account token of the audience pipelines.kubeflow.org.
_POD_TOKEN = "/var/run/secrets/kubeflow/pipelines/token"  # noqa: S105 - a path
# Where a stock installation of Kubeflow Pipelines has its API.
SYSTEM_NAMESPACE = "kubeflow"

AUTHENTICATION = (
    "Inside the cluster, mount a service account token of the audience pipelines.kubeflow.org at "
    f"{_POD_TOKEN}; elsewhere name a file that holds a token with --token-file (or {TOKEN_FILE}), forward a port "
    "(kubectl port-forward -n kubeflow svc/ml-pipeline 8888:8888) or leave --endpoint out to go through kubectl's configuration"
)


@dataclasses.dataclass(frozen=True)
class Connection:
    """How the API is reached.

    Attributes:
      endpoint: Its address, e.g. `http://localhost:8888`; None looks around (see `connect`).
      namespace: The user's namespace where Kubeflow is shared by several; empty for a Kubeflow Pipelines of one's own.
      token_file: A file with a bearer token, read again for every call because tokens are renewed.
      ca_file: Certificates the server's one is checked against.
    """

    endpoint: str | None = None
    namespace: str = ""
    token_file: str | None = None
    ca_file: str | None = None

    @staticmethod
    def of(
        endpoint: str | None = None,
        namespace: str | None = None,
        token_file: str | None = None,
        ca_file: str | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> Connection:
        """Returns what the arguments say, and where they do not, the environment."""
        return Connection(
            endpoint or environment.get(ENDPOINT) or environment.get(_SDK_ENDPOINT) or None,
            namespace or environment.get(NAMESPACE, ""),
            token_file or environment.get(TOKEN_FILE) or None,
            ca_file or environment.get(CA_FILE) or None,
        )


def open_client(connection: Connection) -> tuple[api.ApiClient, str]:
    """Returns the generated client of an API, and the user's namespace there.

    Without an endpoint it is the API of the cluster this runs in, or of the cluster of kubectl's current context, in the namespace
    `kubeflow`. A token comes from the file named, or from where a pod has one; else cookie and header from the SDK's own file.

    Raises:
      UsageError: There is no endpoint, or a file is missing.
    """
    configuration = api.Configuration()
    # Redirects lead to a log-in page, never to the API, and repeating is done here, where it is known what may be repeated.
    configuration.retries = False
    if connection.ca_file:
        if not os.path.isfile(connection.ca_file):
            raise UsageError(f"There is no file of certificates {connection.ca_file} (--ca-file or {CA_FILE})")
        configuration.ssl_ca_cert = connection.ca_file
    if connection.endpoint:
        if not re.match(r"^https?://[^/\s]+", connection.endpoint):
            raise UsageError(
                f"The endpoint is an address that begins with http:// or https://, e.g. http://localhost:8888; "
                f"received {connection.endpoint!r}"
            )
        configuration.host = connection.endpoint.split("/#")[0].rstrip("/")
    elif "KUBERNETES_SERVICE_HOST" in os.environ:
        configuration.host = f"http://ml-pipeline.{SYSTEM_NAMESPACE}.svc.cluster.local:8888"
    else:
        _through_kubernetes(configuration)
    _authenticate(configuration, connection)
    context = _sdk_context()
    client = api.ApiClient(
        configuration,
        cookie=context.get("client_authentication_cookie"),
        header_name=context.get("client_authentication_header_name"),
        header_value=context.get("client_authentication_header_value"),
    )
    return client, connection.namespace or context.get("namespace") or ""


def _through_kubernetes(configuration: api.Configuration) -> None:
    """Goes through the Kubernetes API, with the credentials of kubectl's current context."""
    from kubernetes import config as kubernetes_config

    try:
        kubernetes_config.load_kube_config(client_configuration=configuration)
    except (kubernetes_config.ConfigException, OSError) as error:
        raise UsageError(
            f"Where is Kubeflow Pipelines? Name its API with --endpoint (or {ENDPOINT}), e.g. after `kubectl port-forward -n kubeflow "
            "svc/ml-pipeline 8888:8888` --endpoint http://localhost:8888. This is no pod of a cluster, and kubectl is not configured"
        ) from error
    configuration.host += f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/services/ml-pipeline:http/proxy"
    configuration.retries = False


def _authenticate(configuration: api.Configuration, connection: Connection) -> None:
    named = connection.token_file
    found = os.environ.get(_SDK_TOKEN_FILE, _POD_TOKEN)
    path = named or (found if os.path.isfile(found) else None)
    if path is None:
        return

    def read(to: api.Configuration) -> None:
        try:
            token = pathlib.Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"The token file {path} cannot be read ({type(error).__name__}). {AUTHENTICATION}") from error
        if not token:
            raise UsageError(f"The token file {path} is empty. {AUTHENTICATION}")
        to.api_key["authorization"] = token

    configuration.api_key_prefix["authorization"] = "Bearer"
    configuration.refresh_api_key_hook = read
    read(configuration)


def _sdk_context() -> dict[str, Any]:
    """What `kfp` keeps about the cluster: namespace, and a cookie or header of a proxy in front of it."""
    try:
        context = json.loads(_SDK_CONTEXT.expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return context if isinstance(context, dict) else {}
