"""What a failure means for the person who started the run."""

from __future__ import annotations

import errno
import os

from components.errors import EnvironmentFailure, ParlanceError

# What TensorFlow's C++ and SQLite say instead of raising OSError.
_DISK_FULL_WORDS = ("No space left on device", "Disk quota exceeded", "database or disk is full")
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)


class ExecutorFailed(ParlanceError):
    """Something raised an error that nobody foresaw. The log holds the traceback."""


def describe(error: BaseException) -> str:
    """Returns an error as one text: its type and what it says."""
    return f"{type(error).__name__}: {error}"


def number(error: BaseException | None) -> int | None:
    """Returns the operating system's error number behind a failure, however deep a library wrapped it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno:
            return error.errno
        error = error.__cause__ or error.__context__
    return None


def explain(description: str, error_number: int | None) -> ParlanceError:
    """Returns the error to show for a failure.

    Args:
      description: See `describe`.
      error_number: See `number`.
    """
    if error_number in _DISK_FULL or any(words in description for words in _DISK_FULL_WORDS):
        return EnvironmentFailure("The disk is full. Free some space and run again: finished nodes are cached")
    if error_number in _NOT_WRITABLE:
        return EnvironmentFailure(f"The run's folder cannot be written ({os.strerror(error_number)}). Choose another with --root")
    return ExecutorFailed(description)
