"""The rules that go with a model: whoever asks it later has to remove what was removed before it was trained."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from components.privacy import detector_files
from serving.redaction import FILE, DetectorFile, RedactionRules


def ship(rules: Mapping[str, Any], model_dir: str | os.PathLike[str]) -> bool:
    """Writes the rules into a SavedModel, where the embedded server and `RequestRedactor.load` look for them.

    The tagger and the word lists that they need are copied beside them.

    Args:
      rules: `RedactionRules.to_json()`.
      model_dir: The SavedModel's folder.

    Returns:
      Whether there are any: rules that remove nothing are not written.

    Raises:
      UsageError: A file that a detector is made from is not there any more, or another than when the run began.
    """
    parsed = RedactionRules.from_json(rules)
    if not parsed.entities or not (parsed.columns or parsed.categories):
        return False
    path = pathlib.Path(model_dir) / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    carried = {}
    for name, file in parsed.files.items():
        source = detector_files.DetectorFile(path=file.path, sha256=file.sha256 or None)
        detector_files.copy(source.checked(f"privacy: {name}", "The run needs it until its model is trained"), path.parent / name)
        carried[name] = DetectorFile(name, file.sha256)
    path.write_bytes(dataclasses.replace(parsed, files=carried).dumps())
    return True
