"""Who is answered by the canary: a stable choice of a version label per key."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

# Shares are written by hand and summed as binary fractions.
_ROUNDING = 1e-9


def label_for(key: str | bytes, shares: Mapping[str, float], *, otherwise: str = "stable", salt: str = "") -> str:
    """Chooses the label whose version answers the requests of a key, always the same one for the same key and shares.

    The algorithm is weighted rendezvous hashing, to be repeated in any language. Each label with a share above 0, and `otherwise` with
    what the shares leave of 1, gets the number

        u = (h + 0.5) / 2**53,  h = first 53 bits of BLAKE2b-64(salt, 0x00, label, 0x00, key), all UTF-8, big-endian
        cost = -ln(u) / share

    and the lowest cost wins. Hence each label gets its share of the keys; raising one share at the expense of `otherwise` moves
    keys into that label and never out of it, lowering it only out of it; and the order of the labels does not matter.

    Args:
        key: Whose requests stay together, e.g. the id of a user or a conversation. Only its hash is looked at.
        shares: The share of keys of each label, 0 to 1, in sum up to 1.
        otherwise: The label of all other keys.
        salt: Another salt draws other keys, so that the same users are not first in every experiment.

    Raises:
        ValueError: The shares are not between 0 and 1 or exceed 1 together, or `otherwise` is among them.

    Example:
        >>> label_for("user-14", {"canary": 0.05})
        'stable'
    """
    if otherwise in shares:
        raise ValueError(f"{otherwise!r} gets what the other shares leave; give no share for it")
    if any(not 0 <= share <= 1 for share in shares.values()):
        raise ValueError(f"shares must be between 0 and 1, got {dict(shares)}")
    rest = 1 - math.fsum(shares.values())
    if rest < -_ROUNDING:
        raise ValueError(f"shares must not exceed 1 together, got {dict(shares)}")
    weights = {**shares, otherwise: rest if rest > _ROUNDING else 0.0}
    encoded = key if isinstance(key, bytes) else key.encode("utf-8", "surrogatepass")
    return min(
        (label for label, weight in weights.items() if weight > 0),
        key=lambda label: (-math.log(_uniform(salt, label, encoded)) / weights[label], label),
    )


def _uniform(salt: str, label: str, key: bytes) -> float:
    """A number between 0 and 1, both excluded, that depends on its arguments alone."""
    hashed = hashlib.blake2b(b"\0".join((salt.encode(), label.encode(), key)), digest_size=8).digest()
    return ((int.from_bytes(hashed, "big") >> 11) + 0.5) / 2**53
