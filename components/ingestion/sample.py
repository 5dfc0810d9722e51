"""A share of a table's rows, the same ones every time: for a first try, or for runs that need not see everything.

A row is in the sample because of what it holds, not of where it stands, so that neither order nor later rows change who is in it. A
smaller sample is part of every larger one. The draw has nothing to do with that of splits, whose shares stay what they are.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa

from components.ingestion import cells, row_hash
from components.ingestion.options import DataOptions, sample_name
from components.ingestion.quarantine import Rejected
from components.ingestion.readers import Chunk

# Fixed, so that another seed of the splits draws other splits of the same sample.
_SEED = 0x5A3D1E


def thin(chunk: Chunk, options: DataOptions) -> Chunk:
    """Returns the rows of a chunk that are in the sample.

    Args:
      chunk: Rows, with the columns of texts and of the group.
      options: `sample` is the share. Rows of one group are in it or not, and so are those without a group whose texts are equal; a row
        that has neither stands for itself.

    Returns:
      The chunk without the others, which are counted in `skipped`. Of rows that the reader set aside the same share is left, drawn by
      their position, because nothing else is known of them.
    """
    if options.sample == 1:
        return chunk
    kept = row_hash.uniform(_units(chunk, options), _SEED) < options.sample
    rejected = [
        Rejected(entry.reason, entry.positions[_kept_positions(entry.positions, options.sample)]) for entry in chunk.rejected
    ]
    left_out = int((~kept).sum()) + sum(
        len(before.positions) - len(after.positions) for before, after in zip(chunk.rejected, rejected, strict=True)
    )
    return dataclasses.replace(
        chunk,
        rows=chunk.rows.filter(pa.array(kept)),
        positions=chunk.positions[kept],
        rejected=[entry for entry in rejected if len(entry.positions)],
        skipped={**chunk.skipped, f"rows outside the {sample_name(options.sample)}": left_out},
    )


def _units(chunk: Chunk, options: DataOptions) -> np.ndarray:
    """What the draw is made by: rows with equal hashes are in the sample or out of it together; uint64 [rows]."""
    units, told = np.zeros(len(chunk.positions), dtype=np.uint64), np.zeros(len(chunk.positions), dtype=bool)
    for names in ([options.group] if options.group is not None else [], options.text, chunk.rows.schema.names):
        if told.all():
            break
        columns = {name: cells.text(chunk.rows.column(name)) for name in names}
        hashes = row_hash.join({name: row_hash.hash_cells(column) for name, column in columns.items()}, len(units))
        units = np.where(told, units, hashes)
        for column in columns.values():
            told |= column.is_valid().to_numpy(zero_copy_only=False)
    return units


def _kept_positions(positions: np.ndarray, share: float) -> np.ndarray:
    return row_hash.uniform(positions.astype(np.uint64), _SEED) < share
