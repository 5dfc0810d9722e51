"""ML Metadata of a run: one connection, kept open."""

from __future__ import annotations

from tfx.orchestration import metadata


class KeptOpen(metadata.Metadata):
    """TFX's handle of ML Metadata, which opens a connection at every `with`, four times a node; this one keeps the first.

    Not for several threads at once, like TFX's own.
    """

    def __enter__(self) -> KeptOpen:
        if self._store is None:
            super().__enter__()
        return self

    def __exit__(self, exc_type=None, exc_value=None, exc_tb=None) -> None:
        """Keeps the connection; see `close`."""

    def close(self) -> None:
        """Closes the connection."""
        self._store = None
