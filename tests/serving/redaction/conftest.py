import time

import pytest


@pytest.fixture
def thread_seconds():
    """Seconds this thread computed for a call, whatever else the machine does."""

    def measure(call):
        started = time.thread_time()
        call()
        return time.thread_time() - started

    return measure
