"""The `release:` section of a pipeline file."""

from pydantic import Field

from components.options import Options


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


class ReleaseOptions(Options):
    """Where blessed models go.

    Attributes:
      directory: The model base folder that TF Serving watches is `<directory>/<pipeline name>`; relative to the run's root.
      warmup_requests: How many warm-up requests travel with each version.
      card: What the model card of each version says that nobody can measure.
    """

    directory: str = "serving"
    warmup_requests: int = Field(default=8, ge=0, le=1000)
    card: CardOptions = CardOptions()
