"""The rules that go with a model: whoever asks it later has to remove what was removed before it was trained."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from serving.redaction import FILE, RedactionRules


def ship(rules: Mapping[str, Any], model_dir: str | os.PathLike[str]) -> bool:
    """Writes the rules into a SavedModel, where the embedded server and `RequestRedactor.load` look for them.

    Args:
      rules: `RedactionRules.to_json()`.
      model_dir: The SavedModel's folder.

    Returns:
      Whether there are any: rules that remove nothing are not written.
    """
    parsed = RedactionRules.from_json(rules)
    if not parsed.entities or not parsed.columns:
        return False
    path = pathlib.Path(model_dir) / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(parsed.dumps())
    return True
