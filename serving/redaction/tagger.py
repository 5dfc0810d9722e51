"""The trained tagger: finds names of people, addresses and organisations, which have no form that a pattern could see.

It judges word by word: each word of a text, with the words around it, is one row for a classification model, and neighbours that get the
same label are one find. `windows` makes the rows; training data is made by it as well, so that both see the same.

What runs the model is not here: `Tagger` is given a function, as this package needs neither TensorFlow nor numpy to be imported.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from serving.redaction.detectors import Detector
from serving.redaction.spans import FILLER, Span

NAME = "tagger"
"""The name of the trained tagger among detectors."""

ENTITIES = ("person", "address", "organisation")
"""What it finds."""

NOTHING = "none"
"""The label of a word that belongs to nothing of the kind."""

WINDOW, CASING = "window", "casing"
"""The model's inputs: a word among its neighbours, and how the text is written; see `windows`."""

AROUND = 4
"""Words before and after a word that its window holds."""

_EDGES = ("<edge>",) * AROUND
_LONGEST_WORD = 40

# Clitics stand for themselves ("John's"); other apostrophes and hyphens inside words are parts of names (O'Brien, Jean-Luc).
_TOKEN = re.compile(rf"{FILLER}+|[^\W\d_]+(?:['’-](?!(?:s|m|d|t|re|ll|ve)\b)[^\W\d_]+)*|\d+|\n|[^\s]", re.IGNORECASE)
_BETWEEN_PEOPLE = frozenset({"\n", ",", ";", ":", "/", "and", "or", "und", "oder", "et", "ou"})

# A change of label between neighbours has to be worth this much of the logarithm of probabilities. Chosen on sentences
# from elsewhere (see benchmarks/privacy.py): more finds less, and is right more often.
_CHANGE = 1.0

# Rows for one call of the model: memory stays bounded and a batch is worth the call.
_ROWS_A_CALL = 8192

# Words that no name holds. A text of nothing but these, numbers and signs is not looked at.
_PLAIN = """
a about after again ago all already also always am an and any anything are as ask at away awesome back be because been
before being best better but buy by bye call can cancel cannot change check could did didn do does doesn doing don
done down each either else enough even ever every everything fine first for from get give go going good goodbye got
great had has hasn have having he hello help her here hey hi him his how however i if in instead into is isn issue it
its just know last later left less let like little ll long look lot made make many may maybe me mean might more most
much must my need never new next nice no nope not nothing now of off ok okay on once one only or order other our out
over own password pay payment perfect phone plan please problem put question quick re ready really right said same say
see send set she should since so some someone something soon sorry still stop sure take tell than thank thanks that
thats the their them then there these they thing think this those three through time to today tomorrow too track try
turn two under until up update us use ve very wait want was wasn way we week welcome well were what whats when where
which while who whole why will with without won work working would wouldn wrong yeah year yep yes yesterday yet you
your yours
"""
_PLAIN_WORDS = frozenset(_PLAIN.split())
_NEVER_NAMES = _PLAIN_WORDS - {"don", "may", "will"}


def tokens(text: str) -> list[tuple[int, int]]:
    """Returns where the words and signs of a text in plain form stand; letters, digits and each sign apart, a line's end is a sign."""
    return [found.span() for found in _TOKEN.finditer(text)]


class Window(NamedTuple):
    """What the model is shown of a word.

    Attributes:
        words: The word in the middle, its neighbours around it, parted by single spaces.
        casing: `small` or `capitals` for texts that have nothing else, as capitals say nothing in them; `mixed` for others.
    """

    words: str
    casing: str


def windows(text: str, places: Sequence[tuple[int, int]]) -> list[Window]:
    """Returns what the model is shown of words: each with its neighbours, `AROUND` on both sides.

    What is no word of the text stands in angle brackets, which no word has: `<edge>` before its first and after its last one, `<line>`
    for the end of a line and `<data>` for what has already been removed.

    Args:
        text: A text in plain form.
        places: Of its `tokens`.

    Returns:
        One window for each token.
    """
    words = [*_EDGES, *(_shown(text[start:end]) for start, end in places), *_EDGES]
    casing = "small" if text == text.lower() else "capitals" if text == text.upper() else "mixed"
    return [Window(" ".join(words[number : number + 2 * AROUND + 1]), casing) for number in range(len(places))]


def _shown(word: str) -> str:
    if word[0] == FILLER:
        return "<data>"
    return "<line>" if word == "\n" else word[:_LONGEST_WORD]


Model = Callable[[Sequence[Window]], Sequence[Mapping[str, float]]]
"""From windows to the probability of each label of the words in their middle."""


class Tagger(Detector):
    """Finds people, addresses and organisations with a trained model. Thread-safe where the model is.

    What it says of a text does not depend on the texts beside it, but for the last digits of sums of floating-point numbers, which
    may be added in another order in a batch of another size.
    """

    name = NAME
    entities = ENTITIES
    repeats = False

    def __init__(self, model: Model):
        """A tagger around a function that runs the model."""
        self._model = model

    def find_all(self, texts: Sequence[str]) -> list[list[Span]]:
        """See the base class."""
        found: list[list[Span]] = [[] for _ in texts]
        waiting: list[tuple[int, list[tuple[int, int]]]] = []
        shown: list[Window] = []
        for number, text in enumerate(texts):
            places = tokens(text)
            if not _worth_a_look(text, places):
                continue
            waiting.append((number, places))
            shown += windows(text, places)
            if len(shown) >= _ROWS_A_CALL:
                self._judge(texts, waiting, shown, found)
                waiting, shown = [], []
        self._judge(texts, waiting, shown, found)
        return found

    def close(self) -> None:
        """See the base class."""
        if close := getattr(self._model, "close", None):
            close()

    def _judge(
        self,
        texts: Sequence[str],
        waiting: Iterable[tuple[int, list[tuple[int, int]]]],
        shown: list[Window],
        found: list[list[Span]],
    ) -> None:
        if not shown:
            return
        # A row is the same wherever it stands, and short answers in a chat are.
        different = list(dict.fromkeys(shown))
        scores = dict(zip(different, self._model(different), strict=True))
        remaining = iter(shown)
        for number, places in waiting:
            judged = [scores[row] for row in itertools.islice(remaining, len(places))]
            if any(max(score, key=score.__getitem__) != NOTHING for score in judged):
                found[number] = _spans(texts[number], places, most_likely(judged))


def most_likely(scores: Sequence[Mapping[str, float]], change: float = _CHANGE) -> list[str]:
    """Chooses a label for each word of a text: the most likely ones together, where each change of label costs.

    Args:
        scores: The probability of each label, by word.
        change: Its cost, in natural logarithms.
    """
    labels = list(scores[0])
    total = {label: _logarithm(scores[0][label]) for label in labels}
    came_from: list[dict[str, str]] = []
    for score in scores[1:]:
        best = max(labels, key=total.__getitem__)
        switched = total[best] - change
        origin = {label: label if total[label] >= switched else best for label in labels}
        total = {label: max(total[label], switched) + _logarithm(score[label]) for label in labels}
        came_from.append(origin)
    chosen = [max(labels, key=total.__getitem__)]
    for origin in reversed(came_from):
        chosen.append(origin[chosen[-1]])
    return chosen[::-1]


def _logarithm(probability: float) -> float:
    return math.log(max(probability, 1e-9))


def _worth_a_look(text: str, places: Sequence[tuple[int, int]]) -> bool:
    return any(text[start].isalpha() and text[start:end].lower() not in _PLAIN_WORDS for start, end in places)


def _spans(text: str, places: Sequence[tuple[int, int]], labels: Sequence[str]) -> list[Span]:
    """Neighbours of one label as one span, without the signs at its ends. People in a row are several: commas part them."""
    parted = [
        NOTHING if label == "person" and text[start:end].lower() in _BETWEEN_PEOPLE else label
        for label, (start, end) in zip(labels, places, strict=True)
    ]
    spans = []
    for label, run in itertools.groupby(zip(parted, places, strict=True), key=lambda pair: pair[0]):
        wordy = [place for _, place in run if text[place[0]].isalnum()]
        if label == "person":
            wordy = _without_plain_ends(text, wordy)
        # A number is nobody's name, and a postcode by itself nobody's address.
        if label != NOTHING and any(text[start].isalpha() for start, _ in wordy):
            spans.append(Span(wordy[0][0], wordy[-1][1], label, NAME))
    return spans


def _without_plain_ends(text: str, places: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Words of a name without everyday words before and after it: the first of a sentence has a capital, too."""
    plain = [text[start:end].lower() in _NEVER_NAMES for start, end in places]
    if all(plain):
        return []
    return places[plain.index(False) : len(plain) - plain[::-1].index(False)]
