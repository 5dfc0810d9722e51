"""The `beam:` section of a pipeline file: where the nodes that use Beam do their work, for every runner of the pipeline."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from components.options import Options

NODES = ("StatisticsGen", "Transform", "Evaluator")
"""The nodes whose executors are Beam pipelines."""

Runner = Literal["direct", "flink", "spark", "dataflow"]

_DIRECT = "apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner"
_RUNNERS = {
    # What DirectRunner falls back to. DirectRunner itself first tries to download a runner binary from the internet.
    "direct": _DIRECT,
    "flink": "FlinkRunner",
    "spark": "SparkRunner",
    "dataflow": "DataflowRunner",
}
_FIRST = (
    # Single process: it already holds every library, and small data does not repay the start of others.
    "--direct_running_mode=in_memory",
    "--direct_num_workers=1",
)
_IMAGE = "--sdk_container_image="
# How workers of a remote runner may come by Parlance's code other than in an image that Beam starts.
_OTHER_ENVIRONMENTS = tuple(f"--environment_type={kind}" for kind in ("EXTERNAL", "PROCESS", "LOOPBACK"))
_DATAFLOW_NEEDS = ("--project=", "--region=", "--temp_location=", _IMAGE)


class BeamNodeOptions(Options):
    """Where one node's Beam pipeline runs.

    Attributes:
      runner: Replaces the section's runner for this node.
      args: Replaces the section's arguments for this node; if only the runner is given, the node has no arguments.
    """

    runner: Runner | None = None
    args: tuple[str, ...] | None = None


class BeamOptions(Options):
    """The `beam:` section.

    Attributes:
      runner: `direct` works inside the node's own process, where StatisticsGen does without Beam and so without `args`; `flink` and
        `spark` on a cluster through Beam's job service, `dataflow` on Google's service. Nodes on `spark` take turns, because Beam's job
        server for it takes one job at a time.
      args: Beam's command line arguments for the runner, e.g. `--flink_master=flink:8081`; later ones win over Parlance's own.
      nodes: Exceptions, by node id.
    """

    runner: Runner = "direct"
    args: tuple[str, ...] = ()
    nodes: dict[Literal["StatisticsGen", "Transform", "Evaluator"], BeamNodeOptions] = Field(default_factory=dict)

    @field_validator("args")
    @classmethod
    def _arguments_are_flags(cls, args: tuple[str, ...]) -> tuple[str, ...]:
        _check_flags(args)
        return args

    @model_validator(mode="after")
    def _remote_workers_have_the_code(self) -> BeamOptions:
        for node_id in ("", *self.nodes):
            runner, args = self._of(node_id)
            _check_flags(args)
            place = f"nodes.{node_id}" if node_id else "beam"
            if runner == "dataflow" and (missing := [flag for flag in _DATAFLOW_NEEDS if not _has(args, (flag,))]):
                raise ValueError(f"{place}: the runner dataflow needs the arguments {', '.join(missing)} in args")
            if runner in ("flink", "spark") and not _has(args, (_IMAGE, *_OTHER_ENVIRONMENTS)):
                raise ValueError(
                    f"{place}: workers of the runner {runner} need Parlance's code; add to args either {_IMAGE}IMAGE (Parlance's "
                    "image) or --environment_type=EXTERNAL with --environment_config=HOST:PORT of a worker pool in that image"
                )
        return self

    def runner_of(self, node_id: str) -> Runner:
        """Returns the runner of a node's Beam pipeline."""
        return self._of(node_id)[0]

    def _of(self, node_id: str) -> tuple[Runner, tuple[str, ...]]:
        node = self.nodes.get(node_id)  # type: ignore[call-overload]
        if node is None:
            return self.runner, self.args
        runner = node.runner or self.runner
        inherited = self.args if runner == self.runner else ()
        return runner, node.args if node.args is not None else inherited

    def arguments(self, node_id: str = "") -> list[str]:
        """Returns the arguments of a node's Beam pipeline, as Beam's PipelineOptions take them; of any other node if not named."""
        runner, args = self._of(node_id)
        image = [] if _has(args, (_IMAGE,)) else [f"{_IMAGE}none"]
        # With any image named, even one that nothing reads, TFX does not pack itself into an archive before each Beam node.
        return [f"--runner={_RUNNERS[runner]}", *_FIRST, *image, *args]


def _has(args: tuple[str, ...], prefixes: tuple[str, ...]) -> bool:
    return any(arg.startswith(prefixes) for arg in args)


def _check_flags(args: tuple[str, ...]) -> None:
    for arg in args:
        if not arg.startswith("--"):
            raise ValueError(f"arguments of Beam are written --name=value; received {arg!r}")
        if arg.split("=")[0] == "--runner":
            raise ValueError(f"the runner is named by `runner:`, not by an argument; received {arg!r}")
