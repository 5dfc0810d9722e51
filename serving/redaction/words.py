"""Word lists: a detector for what only its owner can list, such as the names of customers or projects.

No list ships with Parlance: lists of names that may be passed on are few, and those that may not are mostly leaks.
"""

from __future__ import annotations

import os
import pathlib
import re
import unicodedata
from collections.abc import Iterable, Sequence

from serving.redaction.detectors import Detector
from serving.redaction.plain_form import PlainForm
from serving.redaction.spans import Span

PRIORITY = 50
"""Above the tagger's guesses; below what has a form and check digits."""

_WORD = re.compile(r"[^\W_][^\W_\u0300-\u036f]*(?:[\u0300-\u036f]+[^\W_]*)*")
# In scripts without spaces a word has no boundary; entries in them are found wherever their characters stand.
_UNSPACED = re.compile("[\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


class WordList(Detector):
    """Finds the entries of a list, whole words without regard to case, accents' encoding and what stands between the words."""

    repeats = True

    def __init__(self, entity: str, entries: Iterable[str]):
        """A detector called `<entity>_words`.

        Args:
            entity: What it finds.
            entries: One or several words each. Those without a letter or a digit are passed over.

        Raises:
            ValueError: There is no entry.
        """
        self.name, self.entities = detector_name(entity), (entity,)
        plain = [_plain(entry) for entry in entries]
        self._entries = frozenset(words for entry in plain if (words := tuple(_WORD.findall(entry))))
        if not self._entries:
            raise ValueError(f"a word list has one entry a line; received none for {entity}")
        self._lengths = sorted({len(words) for words in self._entries}, reverse=True)
        # Most words of a text begin no entry, and one look-up says so.
        self._first = frozenset(words[0] for words in self._entries)
        unspaced = sorted({entry.strip() for entry in plain if _UNSPACED.search(entry)}, key=lambda entry: (-len(entry), entry))
        self._unspaced = re.compile("|".join(map(re.escape, unspaced))) if unspaced else None

    def find_all(self, texts: Sequence[str]) -> list[list[Span]]:
        """See the base class."""
        return [self._find(text) for text in texts]

    def _find(self, text: str) -> list[Span]:
        found = list(_WORD.finditer(text))
        # Word by word, as folding case may change how long a text is.
        words = [_folded(match[0]) for match in found]
        spans, position = [], 0
        while position < len(words):
            length = self._entry_at(words, position)
            if length:
                spans.append(self._span(found[position].start(), found[position + length - 1].end()))
            position += length or 1
        if self._unspaced is not None:
            spans += [self._span(*match.span()) for match in self._unspaced.finditer(text)]
        return spans

    def _entry_at(self, words: Sequence[str], position: int) -> int:
        """How many words the longest entry has that begins there; 0 for none."""
        if words[position] not in self._first:
            return 0
        left = len(words) - position
        fitting = (length for length in self._lengths if length <= left)
        return next((length for length in fitting if tuple(words[position : position + length]) in self._entries), 0)

    def _span(self, start: int, end: int) -> Span:
        return Span(start, end, self.entities[0], self.name, PRIORITY)


def detector_name(entity: str) -> str:
    """Returns the name of an entity's word list among detectors."""
    return f"{entity}_words"


def read(entity: str, path: str | os.PathLike[str]) -> WordList:
    """Reads a list: UTF-8, one entry a line; empty lines and those that begin with # are passed over.

    Raises:
        ValueError: It has no entry, or is not UTF-8.
        OSError: It cannot be read.
    """
    try:
        lines = pathlib.Path(path).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"a word list is UTF-8 text; {path} is not") from error
    return WordList(entity, (line for line in lines if not line.lstrip().startswith("#")))


def _plain(entry: str) -> str:
    return _folded(PlainForm(entry).text)


def _folded(word: str) -> str:
    return word if word.isascii() and word.islower() else unicodedata.normalize("NFC", word).casefold()
