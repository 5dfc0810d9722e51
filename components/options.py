"""What every stage's options share: closed, frozen pydantic models that print themselves as JSON."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Options(BaseModel):
    """Base of all options. Unknown keys are errors, values are immutable, `model_dump_json` round-trips."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _as_text(value: Any) -> Any:
    """YAML reads an unquoted `true` or `3` as something else; this is what the same value of a column looks like as text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, int | float) else value


Text = Annotated[str, BeforeValidator(_as_text)]
"""A class name or a value of a column."""
