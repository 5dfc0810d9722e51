"""The launching process must stay light, whatever TFX imports."""

import subprocess
import sys

LAUNCHING_PROCESS = """
from pipeline.local import lean_imports
lean_imports.install()
lean_imports.install()
from pipeline import dag
from pipeline.local import launch, one_run
import sys
heavy = ("tensorflow", "apache_beam", "tensorflow_model_analysis", "googleapiclient")
really_loaded = [name for name in heavy if hasattr(sys.modules.get(name), "__version__")]
sys.exit(str(really_loaded) if really_loaded else 0)
"""

TOO_LATE = """
import types, sys
sys.modules["tensorflow"] = types.ModuleType("tensorflow")
from pipeline.local import lean_imports
lean_imports.install()
"""


def _python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_building_and_launching_loads_no_tensorflow_beam_or_tfma():
    shown = _python(LAUNCHING_PROCESS)
    assert shown.returncode == 0, shown.stderr


def test_installing_after_tensorflow_was_imported_is_refused():
    assert "must be called before" in _python(TOO_LATE).stderr
