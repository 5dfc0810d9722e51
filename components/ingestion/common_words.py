"""The words people use most, by language: what stands around names and is none."""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Set

from components.errors import UsageError

# Words beyond these are rare, misspelt, or of another language.
_MOST = 12_000
# The most frequent words are words first, whoever else is called so: "will", "rose", "mark".
_SURELY_WORDS = 300
_SHORTEST = 3


class CommonWords:
    """Draws words. For one thread."""

    def __init__(self, source: random.Random, names: Set[str]):
        """Words that are a function of a source of chance, and of pyspellchecker's release.

        Args:
          source: Of chance.
          names: Small letters; words that are names as well are left out, but for the most frequent ones.

        Raises:
          UsageError: pyspellchecker is not installed.
        """
        try:
            import spellchecker  # noqa: F401
        except ImportError as error:
            raise UsageError(
                "data.source.type tagged_text needs the package pyspellchecker; install it with: pip install 'parlance-tfx[tagger]'"
            ) from error
        self._source, self._names = source, names
        self._known = functools.cache(self._of)

    def one(self, language: str) -> str:
        """Returns a word in small letters, frequent ones more often: by the root of how often they are used."""
        words, weights = self._known(language)
        return self._source.choices(words, cum_weights=weights)[0]

    def some(self, language: str, least: int, most: int) -> str:
        """Returns so many words in a row, which say nothing together."""
        return " ".join(self.one(language) for _ in range(self._source.randint(least, most)))

    def _of(self, language: str) -> tuple[list[str], list[float]]:
        from spellchecker import SpellChecker

        counts = SpellChecker(language=language).word_frequency.dictionary
        words = sorted(
            (word for word in counts if word.isalpha() and len(word) >= _SHORTEST), key=lambda word: (-counts[word], word)
        )
        kept = words[:_SURELY_WORDS] + [word for word in words[_SURELY_WORDS:_MOST] if word not in self._names]
        return kept, list(itertools.accumulate(counts[word] ** 0.5 for word in kept))
