"""The local runner: launches the nodes of a pipeline, independent ones at once, and keeps the record of the run.

Importing this module is light. A run that is known to execute something starts the fork servers before this process imports TFX, so that
libraries are imported side by side.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from components.errors import ParlanceError
from pipeline.local import failures, fork_server
from pipeline.local.worker_environment import WORKER_ENVIRONMENT

if TYPE_CHECKING:
    from pipeline.config import PipelineConfig
    from pipeline.local.root import Root


class Listener(Protocol):
    """Hears about a run while it happens."""

    def run_started(self, run_id: str, nodes: Sequence[str]) -> None:
        """A run begins; these nodes will be looked at in this order."""

    def node_started(self, node_id: str) -> None:
        """A node is being launched."""

    def node_ended(self, node: dict[str, Any]) -> None:
        """A node's entry in the record is complete."""


def run(
    config: PipelineConfig,
    root: Root,
    listener: Listener,
    *,
    cache: bool = True,
    from_node: str | None = None,
    to_node: str | None = None,
    metadata: str | None = None,
) -> dict[str, Any]:
    """Runs a pipeline and returns its record, which is also kept in the run's folder.

    A node that fails stops those that wait for it; what is finished stays cached for the next run.

    Args:
      config: The pipeline file.
      root: Where everything goes.
      listener: Hears about progress.
      cache: Whether results of earlier runs may be reused.
      from_node: Take everything before this node from the last run.
      to_node: Stop after this node.
      metadata: Address of the database for a new root's ML Metadata, see `MetadataPlace.choose`; None: where it is, or the root's file.

    Raises:
      ParlanceError: The run could not start. Failures of nodes are in the record (`state`, `error`, `exit_code`).
    """
    with root.locked(), contextlib.closing(fork_server.Servers(WORKER_ENVIRONMENT)) as servers:
        if metadata is not None:
            root.metadata.choose(metadata)
        whole = from_node is None and to_node is None
        if whole and (root.is_new or not cache):
            servers.start()
        from pipeline.local import one_run

        try:
            note = root.metadata.open()
            root.sweep()
            return one_run.OneRun(config, root, listener, cache, from_node, to_node).execute(servers, note)
        except ParlanceError:
            raise
        except Exception as error:
            # Outside of nodes there is the root folder and ML Metadata: a full disk strikes here as well.
            raise failures.explain(failures.describe(error), failures.number(error)) from error
