"""Which language a text is in: py3langid, a naive Bayes over byte n-grams that knows 97 languages and needs 5 MB.

Short messages leave room for doubt. The fewer languages there are to choose from, the better the choice, so name those you expect; a
text about which the model is not sure enough is UNDETERMINED rather than wrong.
"""

from __future__ import annotations

import collections
import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tensorflow_metadata.proto.v0 import schema_pb2

from components.errors import EnvironmentFailure, UsageError
from components.ingestion import cells
from components.ingestion.options import DataOptions, LanguageOptions

UNDETERMINED = "und"
"""ISO 639-3 for a language that is not known: of texts that say too little, and of rows without a text."""

DETECTED = "language (detected)"
"""What counts by detected language are listed under, where no column has it."""

_MODULE = "py3langid.langid"
_EXTRA = "pip install 'parlance-tfx[language]'"
# Languages that its model was given under two names, and the one that data uses: Norwegian is Bokmål unless somebody says otherwise.
_SAME = {"no": "nb"}
# The language of a text shows in its beginning, and what is beyond costs as much.
_MOST_CHARACTERS = 1000
# A column with more values than this is none of languages; the rarest are left out of the report.
_MOST_VALUES = 200
_NAMED_DETECTED = 5


class Detector:
    """Detects the languages of batches of texts. One text always gets one answer, whatever batch it is in."""

    def __init__(self, options: LanguageOptions | None = None):
        """Loads the model, which takes about half a second.

        Raises:
          EnvironmentFailure: The package is not installed.
          UsageError: A language is not one that the model knows.
        """
        self._options = options or LanguageOptions()
        try:
            langid = importlib.import_module(_MODULE)
        except ModuleNotFoundError as error:
            raise EnvironmentFailure(
                f"Language detection takes the package py3langid, which is not installed: {_EXTRA}"
            ) from error
        self._model = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
        if self._options.languages:
            self._model.set_languages(_known(self._options.languages, self._model))

    def detect(self, texts: pa.Array) -> tuple[pa.Array, np.ndarray]:
        """Detects the language of each text.

        Args:
          texts: Texts; null where a row has none.

        Returns:
          The languages as codes of ISO 639-1, or UNDETERMINED, one per text; and how probable each is among the languages to choose
          from, as float32: 0 where there is no text.
        """
        if isinstance(texts, pa.ChunkedArray):
            texts = texts.combine_chunks()
        if isinstance(texts, pa.DictionaryArray):
            texts = texts.dictionary_decode()
        # Messages repeat themselves ("yes", "hi"), and one answer does for all.
        encoded = texts.cast(pa.string()).dictionary_encode()
        judged = [self._judge(text) for text in encoded.dictionary.to_pylist()]
        judged.append((UNDETERMINED, 0.0))
        rows = encoded.indices.fill_null(len(judged) - 1)
        languages = pa.array([language for language, _ in judged], pa.string()).take(rows)
        confidences = np.array([confidence for _, confidence in judged], np.float32)
        return languages, confidences[rows.to_numpy(zero_copy_only=False)]

    def _judge(self, text: str) -> tuple[str, float]:
        # Without a letter there is nothing to tell a language by, but the model would name one all the same.
        if not any(map(str.isalpha, text)):
            return UNDETERMINED, 0.0
        language, confidence = self._model.classify(text)
        if confidence < self._options.min_confidence:
            return UNDETERMINED, confidence
        return _SAME.get(language, language), confidence


class LanguageColumn:
    """Detects the languages of a table's texts, and fills its column of languages where it says none."""

    def __init__(self, options: DataOptions, schema: schema_pb2.Schema, detector: Detector | None = None):
        """Loads the model, if `data.language` asks for it.

        Args:
          options: The `data:` section.
          schema: Must list the column of languages.
          detector: One that is there already.

        Raises:
          EnvironmentFailure: The package is not installed.
          UsageError: A language is not one that the model knows, or the column is not in the schema, or no text there.
        """
        self._options = options.language
        self._text = "" if options.language is None else options.language.text or options.text[0]
        if self._options is None:
            return
        column, types = self._options.column, {feature.name: feature.type for feature in schema.feature}
        if column is not None and types.get(column) != schema_pb2.BYTES:
            raise UsageError(
                f"data.language.column names {column!r}, which the schema must list as a column of text; add a feature {column!r} of"
                " type BYTES to the schema"
            )
        self._detector = detector or Detector(self._options)

    @property
    def optional(self) -> str | None:
        """The column that a table may lack, because it is filled; None if there is none."""
        return self._options.column if self._options is not None and self._options.fills else None

    @property
    def column(self) -> str | None:
        """The column of languages; None if there is none."""
        return None if self._options is None else self._options.column

    @property
    def text(self) -> str:
        """The text column that languages are told by."""
        return self._text

    def read(self, rows: pa.RecordBatch) -> tuple[pa.RecordBatch, Spoken | None]:
        """Detects the language of each row.

        Args:
          rows: Plain columns (see `readers.Chunk`), the text column among them.

        Returns:
          The rows, their column of languages filled if that was asked for; and what was detected, None if nothing was asked for.
        """
        if self._options is None:
            return rows, None
        texts = pc.utf8_slice_codeunits(cells.text(rows.column(self._text)), 0, _MOST_CHARACTERS)
        detected, _ = self._detector.detect(texts)
        name = self._options.column
        if name is None:
            return rows, Spoken(detected, None)
        there = cells.text(rows.column(name))
        given = pc.utf8_trim_whitespace(there)
        silent = pc.or_(pc.fill_null(pc.equal(given, ""), True), pc.fill_null(pc.equal(given, UNDETERMINED), True))
        if self._options.fills:
            rows = rows.set_column(rows.schema.get_field_index(name), name, pc.if_else(silent, detected, there))
        return rows, Spoken(detected, pc.if_else(silent, None, given))

    def as_stored(self, spoken: Spoken, rows: pa.RecordBatch) -> Spoken:
        """Returns what rows say of their languages once personal data was removed from them: anything may stand in such a column.

        Args:
          spoken: Of `read`.
          rows: The same rows as they are stored.
        """
        if spoken.given is None or self.column is None:
            return spoken
        given = pc.if_else(spoken.given.is_valid(), pc.utf8_trim_whitespace(rows.column(self.column)), None)
        return dataclasses.replace(spoken, given=given)


@dataclasses.dataclass(frozen=True, eq=False)
class Spoken:
    """The languages of a batch of rows.

    Attributes:
      detected: Codes, UNDETERMINED where the text says too little; one per row.
      given: What the rows say themselves, null where they do not; None if no column was named.
    """

    detected: pa.StringArray
    given: pa.StringArray | None


class Agreement:
    """Counts how given languages and detected ones agree."""

    def __init__(self) -> None:
        self._rows = self._silent = 0
        self._pairs: collections.Counter[tuple[str, str]] = collections.Counter()
        self._detected: collections.Counter[str] = collections.Counter()

    def add(self, spoken: Spoken, stored: np.ndarray) -> None:
        """Counts rows.

        Args:
          spoken: Their languages.
          stored: bool [rows]; others are not counted.
        """
        kept = pa.array(stored)
        detected = spoken.detected.filter(kept)
        self._rows += len(detected)
        _count(self._detected, detected)
        if spoken.given is None:
            return
        given = spoken.given.filter(kept)
        self._silent += given.null_count
        told = pc.and_(given.is_valid(), pc.not_equal(detected, UNDETERMINED))
        pairs = pa.RecordBatch.from_arrays([given.filter(told), detected.filter(told)], ["given", "detected"])
        counted = pa.Table.from_batches([pairs]).group_by(["given", "detected"]).aggregate([([], "count_all")]).to_pylist()
        for entry in counted:
            self._pairs[entry["given"], entry["detected"]] += entry["count_all"]

    def merge(self, other: Agreement) -> None:
        """Adds what another one counted."""
        self._rows += other._rows
        self._silent += other._silent
        self._pairs.update(other._pairs)
        self._detected.update(other._detected)

    def report(self, options: LanguageOptions | None) -> dict[str, Any]:
        """Returns what was counted, of stored rows.

        Args:
          options: The `data.language` section; None if it is not given.

        Returns:
          {} without options. `rows`; `detected`, rows by language; `undetermined`, the share of rows whose text says too little. With
          a column also `column`; `silent`, rows that do not say their language, and whether they were `filled`; `beyond`, rows by value
          of the column that say one which was not to choose from; `compared`, other rows that say it and whose text does; `agreement`,
          the share of those where it is the same, null if there are none; and `by_language`, of each value of the column `rows` that
          were compared, `agreement`, and what was `detected`, most frequent first.
        """
        if options is None:
            return {}
        undetermined = self._detected[UNDETERMINED] / self._rows if self._rows else 0.0
        found: dict[str, Any] = {
            "rows": self._rows,
            "detected": dict(self._detected.most_common()),
            "undetermined": round(undetermined, 6),
        }
        if options.column is None:
            return found
        choice = set(map(_language_of, options.languages))
        by_value: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        beyond: collections.Counter[str] = collections.Counter()
        for (given, detected), rows in self._pairs.items():
            if not choice or _language_of(given) in choice:
                by_value[given][detected] += rows
            else:
                beyond[given] += rows
        most = sorted(by_value, key=lambda value: (-by_value[value].total(), value))
        return {
            **found,
            "column": options.column,
            "silent": self._silent,
            "filled": options.fills,
            "beyond": dict(beyond.most_common(_MOST_VALUES)),
            "compared": sum(detected.total() for detected in by_value.values()),
            "agreement": _agreement(by_value),
            "by_language": {
                value: {
                    "rows": by_value[value].total(),
                    "agreement": _agreement({value: by_value[value]}),
                    "detected": dict(by_value[value].most_common(_NAMED_DETECTED)),
                }
                for value in most[:_MOST_VALUES]
            },
        }


def _agreement(by_value: Mapping[str, Mapping[str, int]]) -> float | None:
    compared = sum(sum(found.values()) for found in by_value.values())
    same = sum(found.get(_language_of(value), 0) for value, found in by_value.items())
    return round(same / compared, 6) if compared else None


def _language_of(value: str) -> str:
    """The language that a value of a column names: `pt` for `pt_BR`, as the detector calls it."""
    language = value.replace("_", "-").partition("-")[0].lower()
    return _SAME.get(language, language)


def _count(counter: collections.Counter[str], values: pa.Array) -> None:
    for entry in pc.value_counts(values).to_pylist():
        counter[entry["values"]] += entry["counts"]


def _known(languages: Sequence[str], model: Any) -> list[str]:
    """The model's own codes of languages."""
    codes = set(model.nb_classes)
    own = {language: [code for code in (language, *_others(language)) if code in codes] for language in languages}
    if unknown := [language for language, found in own.items() if not found]:
        raise UsageError(
            f"languages names what the detector does not know: {', '.join(map(repr, unknown))}; it knows {', '.join(sorted(codes))}"
        )
    return [code for found in own.values() for code in found]


def _others(language: str) -> list[str]:
    return [code for code, name in _SAME.items() if name == language]
