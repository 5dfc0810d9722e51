"""What importing the client costs: it goes into processes that have nothing else to do with TensorFlow."""

import json
import pathlib
import subprocess
import sys

PROJECT = pathlib.Path(__file__).resolve().parents[3]

PROGRAM = """
import json, pathlib, re, sys, time
started = time.process_time()
import serving.client
seconds = time.process_time() - started
heavy = sorted({name.split(".")[0] for name in sys.modules} & {"tensorflow", "tensorflow_serving", "pandas", "pydantic", "keras"})
# Not ru_maxrss, which a process inherits from the one that started it.
kib = int(re.search("VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
print(json.dumps({"seconds": seconds, "mib": kib / 1024, "heavy": heavy, "all": serving.client.__all__}))
"""


def measured():
    shown = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, cwd=PROJECT)
    return json.loads(shown.stdout)


def test_is_quick_and_small():
    # Processor time, and more than one try: other work on the machine, which slows that too, is no fault of the client's.
    for _ in range(5):
        run = measured()
        assert run["heavy"] == []
        assert run["mib"] < 60
        if run["seconds"] < 0.5:
            return
    raise AssertionError(f"importing takes {run['seconds']:.2f} s of processor time")


def test_every_public_name_is_there():
    import serving.client

    assert all(hasattr(serving.client, name) for name in serving.client.__all__)
