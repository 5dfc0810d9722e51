"""Results of parts of the data, kept so that what was analysed once is not analysed again.

A window of spans moves on by one span, and most of what it holds has been analysed before. A result is found by what it is a result of:
the content of a file of examples, and the analysis.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable

import tensorflow as tf

# Every run keeps what it used, so that the newest one has it; some more for runs over other data in between.
_MOST_EARLIER = 8

_HASHED_BYTES = 1 << 20


class PartialResults:
    """Partial results in a folder of their own, with those of earlier runs in the folders beside it.

    TFX would pass an earlier run's folder as an input of the node. Inputs are part of what its own cache goes by, and a node whose input
    is what it made the last time is never cached.

    Args:
      folder: Where results are kept; it is named by a number, greater than those of earlier runs beside it.
      analysis: Says all that a result depends on beside the file; a result of another analysis is never found.

    Attributes:
      found: How many results of earlier runs were found so far.
      made: How many had to be made.
    """

    def __init__(self, folder: str, analysis: str):
        self.found = 0
        self.made = 0
        self._folder = folder
        self._analysis = hashlib.sha256(analysis.encode()).digest()
        self._earlier = _earlier(folder)

    def get(self, file: str, make: Callable[[str], bytes]) -> bytes:
        """Returns the result of a file: an earlier one, or what `make` returns for the file. Called in several threads at once."""
        digest = hashlib.sha256(self._analysis)
        with tf.io.gfile.GFile(file, "rb") as content:
            while part := content.read(_HASHED_BYTES):
                digest.update(part)
        name = digest.hexdigest()
        for folder in self._earlier:
            if tf.io.gfile.exists(os.path.join(folder, name)):
                self.found += 1
                with tf.io.gfile.GFile(os.path.join(folder, name), "rb") as kept:
                    result = kept.read()
                break
        else:
            self.made += 1
            result = make(file)
        self._keep(name, result)
        return result

    def _keep(self, name: str, result: bytes) -> None:
        tf.io.gfile.makedirs(self._folder)
        path = os.path.join(self._folder, name)
        # Whoever is killed while writing must not leave half a result to a later run; and another thread may be at a file of equal content.
        unfinished = f"{path}.unfinished-{threading.get_ident()}"
        with tf.io.gfile.GFile(unfinished, "wb") as file:
            file.write(result)
        tf.io.gfile.rename(unfinished, path, overwrite=True)


def _earlier(folder: str) -> list[str]:
    """The folders of earlier runs beside a folder, the newest first."""
    parent, own = os.path.split(folder.rstrip("/"))
    names = (name.rstrip("/") for name in tf.io.gfile.listdir(parent)) if tf.io.gfile.isdir(parent) else ()
    numbers = sorted((int(name) for name in names if name.isdigit() and name != own), reverse=True)
    return [os.path.join(parent, str(number)) for number in numbers[:_MOST_EARLIER]]
