"""What identifies stored rows: a hash of them as a multiset."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

import numpy as np
from tensorflow_metadata.proto.v0 import schema_pb2

from components.ingestion import row_hash


class Fingerprint:
    """Grows with the rows; their order, files and batches do not matter, names and types of columns do.

    Args:
      schema: The columns.

    Attributes:
      rows: Rows so far.
    """

    def __init__(self, schema: schema_pb2.Schema):
        self._types = sorted((feature.name, schema_pb2.FeatureType.Name(feature.type)) for feature in schema.feature)
        self._sums = [0, 0]
        self.rows = 0

    def add(self, hashes: np.ndarray) -> None:
        """Adds rows by their hashes, see `row_hash.hash_rows`."""
        self.rows += len(hashes)
        # Sums do not depend on order; two of them make accidental equality as unlikely as 128 bits allow.
        self._add([int(values.sum(dtype=np.uint64)) for values in (hashes, row_hash.mix(~hashes))])

    def join(self, others: Iterable[Fingerprint]) -> Fingerprint:
        """Adds the rows of others, and returns itself."""
        for other in others:
            self.rows += other.rows
            self._add(other._sums)
        return self

    def hexdigest(self) -> str:
        """Returns the SHA-256."""
        return hashlib.sha256(json.dumps([self._types, self.rows, self._sums]).encode()).hexdigest()

    def _add(self, sums: Iterable[int]) -> None:
        self._sums = [(mine + more) % 2**64 for mine, more in zip(self._sums, sums, strict=True)]
