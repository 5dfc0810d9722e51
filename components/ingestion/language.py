"""Which language a text is in: py3langid, a naive Bayes over byte n-grams that knows 97 languages and needs 5 MB.

Short messages leave room for doubt. The fewer languages there are to choose from, the better the choice, so name those you expect; a
text about which the model is not sure enough is UNDETERMINED rather than wrong.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from components.errors import EnvironmentFailure, UsageError
from components.options import Options

UNDETERMINED = "und"
"""ISO 639-3 for a language that is not known: of texts that say too little, and of rows without a text."""

_MODULE = "py3langid.langid"
_EXTRA = "pip install 'parlance-tfx[language]'"
# Languages that its model was given under two names, and the one that data uses: Norwegian is Bokmål unless somebody says otherwise.
_SAME = {"no": "nb"}


class LanguageOptions(Options):
    """How languages are told apart.

    Attributes:
      languages: Codes of ISO 639-1 to choose from, e.g. `[de, en, nb]`; all that the model knows if none is given. Regional ones
        (`pt-BR`) cannot be told from each other and are named by their language.
      min_confidence: A text whose most probable language is less probable than this is UNDETERMINED.
    """

    languages: tuple[str, ...] = ()
    min_confidence: float = Field(default=0.5, ge=0, le=1)


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
