"""The `release:` section of a pipeline file."""

from pydantic import Field

from components.options import Options


class ReleaseOptions(Options):
    """Where blessed models go.

    Attributes:
      directory: The model base folder that TF Serving watches is `<directory>/<pipeline name>`; relative to the run's root.
      warmup_requests: How many warm-up requests travel with each version.
    """

    directory: str = "serving"
    warmup_requests: int = Field(default=8, ge=0, le=1000)
