"""Executor specs that name their class by import path.

TFX's own specs take the class itself, so describing a pipeline imports every executor with TensorFlow, Beam and TFMA behind them.
The compiled pipeline holds only the path. Naming it from the start keeps a pipeline's description light, and the class is imported
where it runs.
"""

from __future__ import annotations

from tfx.dsl.components.base import executor_spec

# Travels with the compiled pipeline as an extra flag of the executor, the one free field its spec has.
LEAN_FLAG = "--lean"


class ExecutorPath(executor_spec.ExecutorClassSpec):
    """A Python executor, by the import path of its class.

    A `lean` one needs neither TensorFlow nor Beam nor TFMA, so a runner may give it a process that starts without them.
    """

    def __init__(self, path: str, lean: bool = False):
        # The base class only derives the path from the class; the class itself is never asked for.
        super().__init__(executor_class=object)
        self._class_path = path
        self.extra_flags = [LEAN_FLAG] if lean else []

    def __reduce__(self):
        return type(self), (self._class_path, LEAN_FLAG in self.extra_flags)


class BeamExecutorPath(executor_spec.BeamExecutorSpec):
    """A Beam executor, by the import path of its class. Beam arguments of the pipeline apply to it."""

    def __init__(self, path: str):
        super().__init__(executor_class=object)
        self._class_path = path

    def __reduce__(self):
        return type(self), (self._class_path,)
