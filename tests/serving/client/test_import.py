"""What importing the client costs: it goes into processes that have nothing else to do with TensorFlow."""

import json
import pathlib
import subprocess
import sys

PROJECT = pathlib.Path(__file__).resolve().parents[3]

LIBRARIES = "google.protobuf.message, grpc, numpy"
PROGRAM = """
import json, pathlib, re, sys, time
started = time.process_time()
import {imported}
seconds = time.process_time() - started
heavy = sorted({{name.split(".")[0] for name in sys.modules}} & {{"tensorflow", "tensorflow_serving", "pandas", "pydantic", "keras"}})
# Not ru_maxrss, which a process inherits from the one that started it.
kib = int(re.search("VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
print(json.dumps({{"seconds": seconds, "mib": kib / 1024, "heavy": heavy}}))
"""


def measured(imported):
    program = PROGRAM.format(imported=imported)
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=PROJECT)
    return json.loads(shown.stdout)


def test_is_quick_and_small():
    # Beside the libraries alone, and more than one try: other work on the machine makes both slower, but not at the same moment.
    for _ in range(5):
        run = measured("serving.client")
        assert run["heavy"] == []
        assert run["mib"] < 60
        libraries = measured(LIBRARIES)
        if run["seconds"] < 2 * libraries["seconds"]:
            return
    raise AssertionError(
        f"importing takes {run['seconds']:.2f} s of processor time, the libraries alone {libraries['seconds']:.2f}"
    )


def test_every_public_name_is_there():
    import serving.client

    assert all(hasattr(serving.client, name) for name in serving.client.__all__)
