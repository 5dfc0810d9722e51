"""What failures mean."""

import errno

import pytest

from components.errors import EnvironmentFailure
from pipeline.local import failures


def wrapped(number):
    try:
        try:
            raise OSError(number, "as the system says")
        except OSError as error:
            raise RuntimeError("could not write shard 3") from error
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (wrapped(errno.ENOSPC), EnvironmentFailure, "disk is full"),
        (RuntimeError("Internal: Cannot commit: database or disk is full"), EnvironmentFailure, "disk is full"),
        (RuntimeError("RESOURCE_EXHAUSTED: /x; No space left on device"), EnvironmentFailure, "disk is full"),
        (wrapped(errno.EROFS), EnvironmentFailure, "--root"),
        (KeyError("x"), failures.ExecutorFailed, "KeyError"),
    ],
)
def test_explanations(error, kind, message):
    explained = failures.explain(failures.describe(error), failures.number(error))
    assert isinstance(explained, kind)
    assert message in str(explained)
