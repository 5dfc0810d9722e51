"""Executors for steps that are interrupted, refuse, or say too much."""

import os
import pathlib
import time

from tfx.dsl.components.base import base_executor

from components.errors import GateError
from components.findings import Finding, Severity

HURRY = "PARLANCE_TEST_HURRY"
"""Environment variable that makes `Slow` finish."""


class Slow(base_executor.BaseExecutor):
    """Writes a part of its output and takes its time for the rest."""

    def Do(self, input_dict, output_dict, exec_properties):
        folder = pathlib.Path(output_dict["schema"][0].uri)
        hurry = HURRY in os.environ
        (folder / f"part-{'2' if hurry else '1'}").touch()
        if not hurry:
            time.sleep(120)
        (folder / "schema.pbtxt").write_text(exec_properties["schema_text"])


class Refusing(base_executor.BaseExecutor):
    """Says no as a gate does."""

    def Do(self, input_dict, output_dict, exec_properties):
        finding = Finding("quarantine", Severity.ERROR, "9 of 10 rows were set aside")
        raise GateError("9 of 10 rows were set aside", [finding])


class Talkative(base_executor.BaseExecutor):
    """Fails with a message that quotes data."""

    def Do(self, input_dict, output_dict, exec_properties):
        raise ValueError("cannot parse 'write to ann@example.org'")
