"""ML Metadata of a run: one connection, kept open if it is to a file."""

from __future__ import annotations

from tfx.orchestration import metadata


class KeptOpen(metadata.Metadata):
    """TFX's handle of ML Metadata, which opens a connection at every `with`, four times a node; this one keeps the first to a file.

    A server's is opened anew: it hangs up on who is silent for hours, as a run is while it trains.

    Not for several threads at once, like TFX's own.
    """

    @property
    def _keeps(self) -> bool:
        return self._connection_config.HasField("sqlite")

    def __enter__(self) -> KeptOpen:
        if self._store is None or not self._keeps:
            super().__enter__()
        return self

    def __exit__(self, exc_type=None, exc_value=None, exc_tb=None) -> None:
        """Keeps the connection to a file; see `close`."""
        if not self._keeps:
            super().__exit__(exc_type, exc_value, exc_tb)

    def close(self) -> None:
        """Closes the connection."""
        self._store = None
