"""The `release:` section of a pipeline file."""

from typing import Any

from pydantic import Field, field_validator

from components.options import Options
from components.release import op_check
from components.release.rollout_options import RolloutOptions


class CardOptions(Options):
    """What the model card of each version says that nobody can measure.

    Attributes:
      intended_use: What the model is for and whom it serves, in a sentence or two.
      limitations: What it must not be used for, or is known to do badly; one entry each.
      contact: Who answers questions about it.
    """

    intended_use: str = ""
    limitations: tuple[str, ...] = ()
    contact: str = ""


class SmokeTestOptions(Options):
    """What a candidate must do in a model server of its own before it is released.

    The limits are for a server that has just started, on a machine that may be busy with other things: generous enough that noise does
    not reject a model, and far from what a model would need that has grown tenfold by mistake.

    Attributes:
      rows: How many scored test rows are replayed, each by gRPC and by REST; at most 256, which the evaluator keeps.
      max_p99_ms: The 99th percentile of the time a request of one row may take, in milliseconds, for gRPC and REST alike.
      max_memory_mib: The most memory the server may have taken, in MiB, runtime and warm-up included.
      max_load_seconds: How long it may take from the start of its process until the model is available.
      tf_serving: The version of TensorFlow Serving that production runs, whose ops the model may use.
    """

    rows: int = Field(default=64, ge=1, le=256)
    max_p99_ms: float = Field(default=250, gt=0)
    max_memory_mib: float = Field(default=4096, gt=0)
    max_load_seconds: float = Field(default=120, gt=0)
    tf_serving: str = "2.20"

    @field_validator("tf_serving", mode="before")
    @classmethod
    def _is_listed(cls, version: Any) -> str:
        # YAML reads an unquoted 2.20 as the number 2.2.
        version = f"{version:.2f}" if isinstance(version, float) else str(version)
        if version not in op_check.versions():
            raise ValueError(f"must be a version whose ops are listed: {', '.join(op_check.versions())}; received {version!r}")
        return version


class ReleaseOptions(Options):
    """Where blessed models go.

    Attributes:
      directory: The model base folder that TF Serving watches is `<directory>/<pipeline name>`; relative to the run's root.
      warmup_requests: How many warm-up requests travel with each version.
      smoke_test: What a candidate must do in a model server before it is pushed.
      card: What the model card of each version says that nobody can measure.
      rollout: How versions come into use and go.
    """

    directory: str = "serving"
    warmup_requests: int = Field(default=8, ge=0, le=1000)
    smoke_test: SmokeTestOptions = SmokeTestOptions()
    card: CardOptions = CardOptions()
    rollout: RolloutOptions = RolloutOptions()
