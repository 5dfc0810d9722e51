"""What tests ask of processes."""

import pathlib
import time


def gone(pid: int, seconds: float = 10.0) -> bool:
    """Waits for the end of a process that may be nobody's child; says whether it came."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        state = pathlib.Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False
