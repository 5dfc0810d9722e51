"""What an infra blessing says: whether a model server ran the candidate as it was evaluated.

Names are those on which TFX's own InfraValidator and Pusher agree, whose modules would bring in clients of Docker and Kubernetes; what
a smoke test found besides is ours.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable
from typing import Any

BLESSED_KEY = "blessed"
BLESSED_FILE, NOT_BLESSED_FILE = "INFRA_BLESSED", "INFRA_NOT_BLESSED"

RESULT_FILE = "smoke_test.json"
"""The file beside them with what the smoke test measured and found."""

STATE_KEY = "smoke_test"
"""The custom property that says how the smoke test ended."""

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"

MODEL_ID_KEY = "current_model_id"
"""The custom property with the id of the model, as model blessings have it."""


def is_blessed(blessing: Any) -> bool:
    """Says whether an InfraBlessing artifact is a positive one."""
    return blessing.get_int_custom_property(BLESSED_KEY) == 1


def never_passed(blessings: Iterable[Any]) -> set[int]:
    """Returns the ids of the models that failed their smoke tests, of all InfraBlessing artifacts of a pipeline.

    One that passed once was released then, whatever stricter limits it failed later.
    """
    states: dict[int, set[str]] = collections.defaultdict(set)
    for blessing in blessings:
        states[blessing.get_int_custom_property(MODEL_ID_KEY)].add(blessing.get_string_custom_property(STATE_KEY))
    return {model_id for model_id, seen in states.items() if FAILED in seen and PASSED not in seen}
