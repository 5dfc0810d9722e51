"""Which personal data is removed and what takes its place: rules that training writes down and serving reads."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from serving.redaction import bare_numbers, forms, introduced, national_ids
from serving.redaction.category_rule import CategoryRule
from serving.redaction.detectors import Detector

FILE = "assets.extra/redaction.json"
"""Where a SavedModel carries its rules."""

FORMAT = 2
"""Of the rules' JSON. Format 1 has no categories, and is still read."""

REVISION = 1
"""Of the detectors: a number up whenever one of them finds something else than before."""

DETECTORS: Mapping[str, Detector] = {
    detector.name: detector
    for detector in (*forms.DETECTORS, *introduced.DETECTORS, *national_ids.DETECTORS, *bare_numbers.DETECTORS)
}
"""The pattern detectors, by name."""

ENTITIES: Mapping[str, tuple[str, ...]] = {
    entity: tuple(name for name, detector in DETECTORS.items() if entity in detector.entities)
    for entity in sorted({entity for detector in DETECTORS.values() for entity in detector.entities})
}
"""What patterns find, with the names of the detectors that do."""

OPTIONAL = tuple(dict.fromkeys(entity for detector in bare_numbers.DETECTORS for entity in detector.entities))
"""What patterns find only where it is named itself, as it takes out much that is nobody's in texts that are no chats."""

GROUPS: Mapping[str, tuple[str, ...]] = {
    "national_id": national_ids.ENTITIES,
    "patterns": tuple(entity for entity in ENTITIES if entity not in OPTIONAL),
}
"""Names for several entities at once."""

_OF_SENTENCES = frozenset(detector.name for detector in bare_numbers.DETECTORS)

FEWEST_KEY_BYTES = 16
"""A key that can be guessed gives every hash away, as phone numbers are few."""

_ENTITY_NAME = re.compile("[a-z][a-z0-9_]{0,31}")


class MissingKeyError(ValueError):
    """Rules hash, and the key is not here."""


class Mode(str, enum.Enum):
    """What takes the place of personal data.

    `placeholder` says what it was: `[email]`. `mask` says nothing, not even how long it was: `####`. `hash` is the same for the same
    value, and only for whoever has the key: `[email:1a2b3c4d5e6f7a8b]`, the first 64 bits of HMAC-SHA256, so that rows can still be
    joined.
    """

    PLACEHOLDER = "placeholder"
    MASK = "mask"
    HASH = "hash"


@dataclasses.dataclass(frozen=True, slots=True)
class EntityRule:
    """What happens to one kind of personal data.

    Attributes:
        mode: What takes its place.
        detectors: Names of those that look for it.
    """

    mode: Mode = Mode.PLACEHOLDER
    detectors: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class DetectorFile:
    """What a detector is made from, where it is not code: a trained model, a list of words.

    Attributes:
        path: A file or folder: in a pipeline where it is on this machine, in a model beside the rules.
        sha256: Hash of its content.
    """

    path: str
    sha256: str


@dataclasses.dataclass(frozen=True)
class RedactionRules:
    """Rules for the texts of one pipeline. Equal rules do equal things wherever they run.

    Attributes:
        entities: What is removed, and how.
        columns: The text columns they are for.
        categories: The other columns they are for, in which patterns alone look for personal data.
        key: Where the key of hashes is, `env:NAME`; never the key.
        revision: Of the detectors that the rules were made for.
        files: By name of the detector that is made from it.
    """

    entities: Mapping[str, EntityRule]
    columns: tuple[str, ...] = ()
    key: str | None = None
    revision: int = REVISION
    files: Mapping[str, DetectorFile] = dataclasses.field(default_factory=dict)
    categories: Mapping[str, CategoryRule] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for entity, rule in self.entities.items():
            if not _ENTITY_NAME.fullmatch(entity):
                raise ValueError(f"an entity's name is lower-case letters, digits and _, at most 32; received {entity!r}")
            if not rule.detectors:
                raise ValueError(f"no detector is named for {entity}; patterns find: {', '.join(ENTITIES)}")
        if self.key is not None and not re.fullmatch(r"env:[A-Za-z_]\w*", self.key):
            raise ValueError("a key is named by the variable that holds it, env:NAME, and is not written down itself")
        if self.key is None and (hashed := [entity for entity, rule in self.entities.items() if rule.mode is Mode.HASH]):
            raise ValueError(
                f"hashes need a key; received none for {', '.join(hashed)}. Name a variable that holds one: env:NAME"
            )

    @classmethod
    def of(cls, entities: Iterable[str], columns: Iterable[str] = ()) -> RedactionRules:
        """Rules that put placeholders for entities or groups that patterns find.

        Raises:
            ValueError: There is no such entity.
        """
        names = expand(entities)
        if unknown := [name for name in names if name not in ENTITIES]:
            raise ValueError(
                f"no such kind of personal data: {', '.join(sorted(unknown))}; there are: {', '.join((*ENTITIES, *GROUPS))}"
            )
        return cls({name: EntityRule(detectors=ENTITIES[name]) for name in names}, tuple(columns))

    def of_patterns(self) -> RedactionRules:
        """Returns the rules for columns that are no text: what patterns find, without taggers and lists of words.

        Nor bare numbers, which are what such columns are made of.
        """
        able = DETECTORS.keys() - _OF_SENTENCES
        patterns = {name: tuple(filter(able.__contains__, rule.detectors)) for name, rule in self.entities.items()}
        entities = {name: EntityRule(self.entities[name].mode, found) for name, found in patterns.items() if found}
        return dataclasses.replace(self, entities=entities, files={})

    def to_json(self) -> dict[str, Any]:
        """Returns the rules as plain JSON values."""
        return {
            "format": FORMAT,
            "revision": self.revision,
            "columns": list(self.columns),
            "key": self.key,
            "entities": {
                entity: {"mode": rule.mode.value, "detectors": list(rule.detectors)}
                for entity, rule in sorted(self.entities.items())
            },
            **({"files": {name: dataclasses.asdict(file) for name, file in sorted(self.files.items())}} if self.files else {}),
            "categories": {
                name: {"known": list(rule.known), "pseudonym": rule.pseudonym} for name, rule in sorted(self.categories.items())
            },
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> RedactionRules:
        """Reads what `to_json` wrote.

        Raises:
            ValueError: It is nothing of the kind, or of a newer format.
        """
        if not isinstance(values, Mapping) or values.get("format") not in range(1, FORMAT + 1):
            found = values.get("format") if isinstance(values, Mapping) else type(values).__name__
            raise ValueError(f"redaction rules are JSON of format 1 to {FORMAT}; received {found!r}")
        try:
            entities = {
                entity: EntityRule(Mode(rule["mode"]), tuple(rule["detectors"])) for entity, rule in values["entities"].items()
            }
            files = {name: DetectorFile(file["path"], file["sha256"]) for name, file in values.get("files", {}).items()}
            categories = {
                name: CategoryRule(tuple(rule["known"]), bool(rule["pseudonym"]))
                for name, rule in values.get("categories", {}).items()
            }
            return cls(entities, tuple(values["columns"]), values["key"], int(values["revision"]), files, categories)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"these are no redaction rules: {type(error).__name__} at {error}") from error

    def dumps(self) -> bytes:
        """Returns the file a model carries."""
        return json.dumps(self.to_json(), indent=1, sort_keys=True).encode()

    @classmethod
    def loads(cls, content: bytes) -> RedactionRules:
        """Reads the file a model carries.

        Raises:
            ValueError: It holds no rules.
        """
        return cls.from_json(json.loads(content))

    def read_key(self, environment: Mapping[str, str] = os.environ) -> bytes | None:
        """Reads the key of hashes and pseudonyms from where the rules say it is; None where they name none.

        Raises:
            MissingKeyError: It is not there, or is too short to be a secret.
        """
        if self.key is None:
            return None
        name = self.key.removeprefix("env:")
        key = environment.get(name, "").encode("utf-8", "surrogateescape")
        if len(key) < FEWEST_KEY_BYTES:
            raise MissingKeyError(
                f"hashes need a key of at least {FEWEST_KEY_BYTES} bytes in the environment variable {name}; received {len(key)}"
            )
        return key

    def sha256(self) -> str:
        """Returns the hash of what the rules do, wherever the files they need are."""
        values = {**self.to_json(), "files": {name: file.sha256 for name, file in self.files.items()}}
        if not self.files:
            del values["files"]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def expand(names: Iterable[str]) -> tuple[str, ...]:
    """Replaces groups by what is in them; each entity once."""
    return tuple(dict.fromkeys(entity for name in names for entity in GROUPS.get(name, (name,))))
