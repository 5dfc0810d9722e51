"""The `privacy:` section of a pipeline file: which personal data is removed while rows are read, and what takes its place."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from components.errors import EnvironmentFailure, UsageError
from components.options import Options
from components.privacy.detector_files import DetectorFile
from serving import redaction
from serving.redaction import ENTITIES, GROUPS, Detector, EntityRule, MissingKeyError, Mode, RedactionRules, tagger, words
from serving.redaction.category_rule import CategoryRule

TAGGER = tagger.NAME
"""The name of the trained tagger among detectors."""

TAGGED = tagger.ENTITIES
"""What no pattern finds, and the trained tagger does."""

_HOW_TO_TRAIN = "`parlance run pipeline/configs/tagger.yaml` trains one; name the folder that it is released to"


class EntityOptions(Options):
    """What happens to one kind of personal data.

    Attributes:
      mode: `placeholder` ([email]), `mask` (####) or `hash` ([email:1a2b3c4d5e6f7a8b], the same for the same value).
      detectors: Names of those that look for it; every one that can, if none is named.
      words: A list of what to remove, a text file with one entry a line: whole words, without regard to case. The list goes into the
        model, as serving needs it: it may hold only what may be where the model is. With it, the entity may have any name.
    """

    mode: Literal["placeholder", "mask", "hash"] = "placeholder"
    detectors: tuple[str, ...] = ()
    words: DetectorFile | None = None


class PrivacyOptions(Options):
    """The `privacy:` section.

    Attributes:
      redact: What is removed: a list of entities, or entities with their options. `patterns` stands for what patterns find
        in any text, `national_id` for the identity numbers of all countries. `number` is for chats: numbers of four digits or more that
        nothing introduces. Nothing, if not given.
      tagger: The SavedModel of a trained tagger, or the folder of its versions; needed for person, address and organisation.
      key: Where the key of hashes is: `env:NAME`. With it, values of `data.group` that hold personal data become pseudonyms that no two
        share, without it one of 4,096.
      columns: The columns it is removed from, and no others. If not given, the text columns, and of what patterns find also every other
        stored column of BYTES, but for values that the schema lists as its domain.
    """

    redact: dict[str, EntityOptions] = Field(default_factory=dict)
    tagger: DetectorFile | None = None
    key: str | None = Field(default=None, pattern=r"^env:[A-Za-z_][A-Za-z0-9_]*$")
    columns: tuple[str, ...] | None = None

    @field_validator("redact", mode="before")
    @classmethod
    def _a_list_takes_the_defaults(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = [value]
        if isinstance(value, list | tuple):
            value = {name: {} for name in value}
        if not isinstance(value, dict):
            return value
        # An entity that is named itself keeps its own options, wherever its group stands.
        spread = {entity: options for name, options in value.items() if name in GROUPS for entity in GROUPS[name]}
        own = {name: options for name, options in value.items() if name not in GROUPS}
        return {name: {} if options is None else options for name, options in {**spread, **own}.items()}

    @field_validator("redact")
    @classmethod
    def _entities_can_be_found(cls, value: dict[str, EntityOptions]) -> dict[str, EntityOptions]:
        known = (*ENTITIES, *TAGGED)
        for name, options in value.items():
            if name not in known and options.words is None:
                near = difflib.get_close_matches(name, (*known, *GROUPS), n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise ValueError(
                    f"nothing finds {name!r}; {hint}there are: {', '.join((*known, *GROUPS))}; another name needs a list: "
                    f"{{{name}: {{words: FILE}}}}"
                )
            able = detectors_of(name, options)
            if wrong := [detector for detector in options.detectors if detector not in able]:
                raise ValueError(f"{', '.join(map(repr, wrong))} does not find {name}; its detectors are: {', '.join(able)}")
        return value

    @model_validator(mode="after")
    def _hashes_have_a_key(self) -> PrivacyOptions:
        hashed = [name for name, options in self.redact.items() if options.mode == "hash"]
        if hashed and self.key is None:
            raise ValueError(f"privacy.key must say where the key of hashes is, env:NAME, as {', '.join(hashed)} is hashed")
        return self

    @model_validator(mode="after")
    def _tagged_entities_have_a_tagger(self) -> PrivacyOptions:
        if self.tagged and self.tagger is None:
            raise ValueError(f"privacy.tagger must say where the tagger is that finds {', '.join(self.tagged)}. {_HOW_TO_TRAIN}")
        return self

    @property
    def tagged(self) -> tuple[str, ...]:
        """The entities that the trained tagger has to find."""
        return tuple(
            name for name, options in self.redact.items() if TAGGER in (options.detectors or detectors_of(name, options))
        )

    def detectors(self) -> Sequence[Detector]:
        """Loads the detectors that are made from files: the tagger, if it is needed, and word lists.

        Raises:
          UsageError: A file is not there, has changed, or holds no such thing.
        """
        made: list[Detector] = []
        for name, options in self.redact.items():
            if options.words is not None and words.detector_name(name) in (options.detectors or detectors_of(name, options)):
                setting = f"privacy.redact.{name}.words"
                path = options.words.checked(setting, "It is a text file with one entry a line")
                try:
                    made.append(words.read(name, path))
                except (ValueError, OSError) as error:
                    raise UsageError(f"{setting}: {error}") from error
        if self.tagged and self.tagger is not None:
            # Not needed where patterns do: it brings the library that runs models.
            from serving.server import tagging

            path = self.tagger.checked("privacy.tagger", _HOW_TO_TRAIN)
            try:
                made.append(tagging.load(path))
            except ValueError as error:
                raise UsageError(f"privacy.tagger: {error}") from error
        return made

    def rules(self, text_columns: Iterable[str], categories: Mapping[str, CategoryRule] | None = None) -> RedactionRules:
        """Returns the rules as they are written into a model, every detector by name.

        Args:
          text_columns: The pipeline's; used where `columns` names none.
          categories: The other stored columns, see `stored_columns.categories`; the same.
        """
        entities = {
            name: EntityRule(Mode(options.mode), options.detectors or detectors_of(name, options))
            for name, options in self.redact.items()
        }
        files = {words.detector_name(name): options.words for name, options in self.redact.items() if options.words is not None}
        if self.tagged and self.tagger is not None:
            files[TAGGER] = self.tagger
        columns = tuple(text_columns) if self.columns is None else self.columns
        needed = {detector for rule in entities.values() for detector in rule.detectors}
        by_pattern = not needed.isdisjoint(redaction.DETECTORS)
        return RedactionRules(
            entities,
            columns,
            self.key,
            files={name: redaction.DetectorFile(file.path, file.sha256 or "") for name, file in files.items() if name in needed},
            categories=dict(categories or {}) if self.columns is None and by_pattern else {},
        )

    def read_key(self) -> bytes | None:
        """Reads the key of hashes and pseudonyms from the environment; None where none is named.

        Raises:
          EnvironmentFailure: It is not there, or too short to be a secret.
        """
        try:
            return self.rules(()).read_key()
        except MissingKeyError as error:
            raise EnvironmentFailure(f"privacy.key: {error}. Set the variable, or choose another mode than hash") from error


def detectors_of(entity: str, options: EntityOptions | None = None) -> tuple[str, ...]:
    """Returns the names of the detectors that find an entity: patterns, the tagger, and its own list of words if it has one."""
    listed = (words.detector_name(entity),) if options is not None and options.words is not None else ()
    return (*ENTITIES.get(entity, ()), *((TAGGER,) if entity in TAGGED else ()), *listed)
