"""The `model:` section of a pipeline file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from components.options import Options, Text

Width = Annotated[int, Field(gt=0, le=8)]


class NgramsOptions(Options):
    """Encoder `ngrams`: hashed word and character n-grams in an embedding bag.

    Attributes:
      words: Widths of word n-grams.
      frames: Widths of further word n-grams, of the text with a blank for each run of capitalised words and with its ends marked,
        as in "[ play _ on _ ]"; none where empty, which leaves the encoder blind to capitals.
      characters: Widths of character n-grams, inside words.
      buckets: Hash buckets, half of them for words; n-grams that share one cannot be told apart.
      max_features: At most this many buckets, the most frequent in training, get a row in the embedding table.
      min_rows: Buckets that fewer training rows use get no row.
      dimension: Width of the embedding.
      dropout: Share of n-grams hidden at each training step.
      max_characters: Texts are cut here.
    """

    name: Literal["ngrams"] = "ngrams"
    words: tuple[Width, ...] = Field(default=(1, 2), min_length=1)
    frames: tuple[Width, ...] = (1, 2, 3)
    characters: tuple[Width, ...] = Field(default=(2, 3, 4, 5), min_length=1)
    buckets: int = Field(default=2**20, ge=2**10, le=2**24)
    max_features: int = Field(default=100_000, gt=0)
    min_rows: int = Field(default=2, gt=0)
    dimension: int = Field(default=128, gt=0)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    max_characters: int = Field(default=2000, gt=0)

    @property
    def first_character_bucket(self) -> int:
        """Buckets below this one are of words, the others of characters."""
        return self.buckets // 2


class TokensOptions(Options):
    """Encoder `tokens`: a vocabulary of tokens and a small convolutional network.

    Attributes:
      vocabulary: At most this many tokens, the most frequent in training, are known.
      min_count: Tokens seen less often in training are unknown.
      unknown_buckets: Unknown tokens are hashed into this many.
      max_tokens: Texts are cut here.
      widths: Widths of the convolutions, in tokens.
      filters: Filters of each width.
      dimension: Width of the embedding.
      dropout: Share of tokens hidden at each training step.
      max_characters: Texts are cut here.
    """

    name: Literal["tokens"] = "tokens"
    vocabulary: int = Field(default=30_000, gt=0)
    min_count: int = Field(default=2, gt=0)
    unknown_buckets: int = Field(default=64, gt=0)
    max_tokens: int = Field(default=64, gt=0)
    widths: tuple[Width, ...] = Field(default=(1, 2, 3), min_length=1)
    filters: int = Field(default=128, gt=0)
    dimension: int = Field(default=128, gt=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    max_characters: int = Field(default=2000, gt=0)


class WindowOptions(Options):
    """Encoder `window`: one word, judged by what it and the words around it look like (Collobert et al. 2011, the window approach).

    The text is not a message but `width` words with single spaces between them, the word in question in the middle. Each word's vector
    is the sum of those of its normal form, its first and last letters, and its shape, whichever place it has.

    Attributes:
      width: Words of a text, an odd number. A text that has more is cut, one that has fewer is filled up.
      prefixes: How many first letters are features.
      suffixes: How many last letters are; of longer words only.
      buckets: Hash buckets of all features.
      min_rows: Features of fewer training rows stand for nothing; a word that a sentence has once is in `width` rows.
      dimension: Width of the embedding.
      units: Width of what is made of a word, and of the window.
      dropout: Share of the words whose normal form is hidden at each training step, so that what they look like has to do, and share
        of units that are; of all features half that share is hidden.
      max_characters: Words are cut here.
    """

    name: Literal["window"] = "window"
    width: int = Field(default=9, gt=0, le=31)
    prefixes: tuple[Width, ...] = (3,)
    suffixes: tuple[Width, ...] = (2, 3, 4)
    buckets: int = Field(default=2**17, ge=2**10, le=2**24)
    min_rows: int = Field(default=1, gt=0)
    dimension: int = Field(default=64, gt=0)
    units: int = Field(default=128, gt=0)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    max_characters: int = Field(default=40, gt=0)

    @property
    def features(self) -> int:
        """Features of a word, in this order: the word, its prefixes and suffixes, its shape."""
        return 2 + len(self.prefixes) + len(self.suffixes)

    @field_validator("width")
    @classmethod
    def _a_word_stands_in_the_middle(cls, width):
        if width % 2 == 0:
            raise ValueError(f"width is odd, as one word stands in the middle; received {width}")
        return width


Encoder = Annotated[NgramsOptions | TokensOptions | WindowOptions, Field(discriminator="name")]


class AbstainOptions(Options):
    """When the model abstains from answering.

    Attributes:
      target_precision: The threshold on the top score is the lowest at which this share of the answered rows of the eval split is
        right. It is met on those rows, not guaranteed on others.
      out_of_scope: A label that is no answer: rows predicted to have it count as abstained, whatever their score.
    """

    target_precision: float = Field(gt=0, le=1)
    out_of_scope: Text | None = None


class DistributionOptions(Options):
    """Where the copies of a network are that train together, each on rows of its own.

    Attributes:
      strategy: `none`; `mirrored`, on all accelerators of one machine; `multi_worker`, on several machines that TF_CONFIG names.
      jobs: With `multi_worker`: a folder on a volume that all machines share. The Trainer leaves its work there, machines that run
        `python -m components.training.member` take it, and their chief writes the model. Where it is not given, the Trainer is a
        member itself.
    """

    strategy: Literal["none", "mirrored", "multi_worker"] = "none"
    jobs: Text | None = None

    @model_validator(mode="after")
    def _jobs_are_for_several_machines(self) -> DistributionOptions:
        if self.jobs is not None and self.strategy != "multi_worker":
            raise ValueError(f"jobs is for the strategy multi_worker; received strategy {self.strategy!r}")
        return self


class ModelOptions(Options):
    """The `model:` section.

    Attributes:
      encoder: How text becomes a vector; `ngrams`, `tokens` or `window`, alone or as a mapping with its options.
      hidden: Width of the hidden layer.
      dropout: Share of units hidden at each training step.
      label_smoothing: Share of each label's weight spread over all labels.
      epochs: Upper bound; early stopping on the eval split usually ends sooner.
      batch_size: Rows a step.
      learning_rate: Peak learning rate; where none is given, 0.004 for models that read text and 0.001 for those that do not.
      class_weights: `none`, or `balanced`: weight grows as a class gets rarer.
      patience: Epochs without improvement on the eval split before training stops. Models that read no text train for half of
        the epochs first, and none of those is the best.
      top_k: How many labels `serving_default` returns, best first.
      abstain: When the model abstains; it always answers where this is not given.
      members: How many networks, trained from one seed each, answer together with the mean of their probabilities; where none is given,
        3 for models that read no text, which depend on their seed more than on most settings, and 1 for others.
      seed: Seeds initial weights, shuffling and dropout; that of the first member, where there are several.
      distribution: Where copies of the network train together; a strategy alone or as a mapping. `batch_size` stays the rows of a step,
        on all copies together.
      precision: What the hidden layer calculates in while it is trained: `float32`, or half precision, `mixed_float16` (with a loss
        scale that adjusts itself) or `mixed_bfloat16`. Weights, embeddings and logits are float32 all the same, and so is the whole
        exported model. For accelerators with units for it; on a processor it saves nothing (taxi, 120,770 rows, two cores: an epoch
        takes 8.3 to 10 s with `float32`, 9.5 s with `mixed_bfloat16`, 12.6 s with `mixed_float16`). Not measured on an accelerator.
      xla: Whether XLA compiles the training step. For models that read no text, because shapes of texts differ from step to step and
        each would be compiled anew; on one device. Leave it off on a processor: the epoch of 8.3 to 10 s took 143 to 208 s with it,
        and learnt the same. Not measured on an accelerator.
    """

    encoder: Encoder = NgramsOptions()
    hidden: int = Field(default=512, gt=0)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    epochs: int = Field(default=10, gt=0)
    batch_size: int = Field(default=256, gt=0)
    learning_rate: float | None = Field(default=None, gt=0)
    class_weights: Literal["none", "balanced"] = "none"
    patience: int = Field(default=3, gt=0)
    top_k: int = Field(default=5, gt=0)
    abstain: AbstainOptions | None = None
    members: int | None = Field(default=None, ge=1, le=16)
    seed: int = 0
    distribution: DistributionOptions = DistributionOptions()
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    xla: bool = False

    @field_validator("encoder", mode="before")
    @classmethod
    def _an_encoder_name_may_stand_alone(cls, value):
        return {"name": value} if isinstance(value, str) else value

    @field_validator("distribution", mode="before")
    @classmethod
    def _a_strategy_may_stand_alone(cls, value):
        return {"strategy": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _xla_compiles_for_one_device(self) -> ModelOptions:
        if self.xla and self.distribution.strategy != "none":
            raise ValueError(
                f"xla is for training on one device; received strategy {self.distribution.strategy!r}, set xla to false or strategy to none"
            )
        return self
