"""What every stage's options share: closed, frozen pydantic models that print themselves as JSON."""

from pydantic import BaseModel, ConfigDict


class Options(BaseModel):
    """Base of all options. Unknown keys are errors, values are immutable, `model_dump_json` round-trips."""

    model_config = ConfigDict(extra="forbid", frozen=True)
