"""The `model:` section of a pipeline file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from components.options import Options


class NgramsOptions(Options):
    """Encoder `ngrams`: hashed word and character n-grams in an embedding bag."""

    name: Literal["ngrams"] = "ngrams"


class TokensOptions(Options):
    """Encoder `tokens`: a vocabulary of tokens and a small convolutional network."""

    name: Literal["tokens"] = "tokens"


Encoder = Annotated[NgramsOptions | TokensOptions, Field(discriminator="name")]


class ModelOptions(Options):
    """The `model:` section.

    Attributes:
      encoder: How text becomes a vector; `ngrams` or `tokens`, alone or as a mapping with its options.
      epochs: Upper bound; early stopping on the eval split usually ends sooner.
      batch_size: Rows a step.
      learning_rate: Peak learning rate.
      class_weights: `none`, or `balanced`: weight grows as a class gets rarer.
      patience: Epochs without improvement on the eval split before training stops.
      top_k: How many labels `serving_default` returns, best first.
      seed: Seeds initial weights, shuffling and dropout.
    """

    encoder: Encoder = NgramsOptions()
    epochs: int = Field(default=20, gt=0)
    batch_size: int = Field(default=256, gt=0)
    learning_rate: float = Field(default=1e-3, gt=0)
    class_weights: Literal["none", "balanced"] = "none"
    patience: int = Field(default=3, gt=0)
    top_k: int = Field(default=5, gt=0)
    seed: int = 0

    @field_validator("encoder", mode="before")
    @classmethod
    def _an_encoder_name_may_stand_alone(cls, value):
        return {"name": value} if isinstance(value, str) else value
