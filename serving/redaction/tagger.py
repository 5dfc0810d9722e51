"""The trained tagger: finds names of people, addresses and organisations, which have no form that a pattern could see.

It judges word by word: each word of a text, with the words around it, is one row for an ordinary classification model of texts, and
neighbours that get the same label are one find. `describe` makes the rows; training data is made by it as well, so that both see the same.

What runs the model is not here: `Tagger` is given a function, as this package needs neither TensorFlow nor numpy to be imported.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
import unicodedata
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

COLUMN = "context"
"""The model's one input: a word as `describe` describes it."""

_AROUND = 3
"""Words before and after a word that its description holds."""

# Clitics stand for themselves ("John's"); other apostrophes and hyphens inside words are parts of names (O'Brien, Jean-Luc).
_TOKEN = re.compile(rf"{FILLER}+|[^\W\d_]+(?:['’-](?!(?:s|m|d|t|re|ll|ve)\b)[^\W\d_]+)*|\d+|\n|[^\s]", re.IGNORECASE)
_SENTENCE_ENDS = frozenset('.!?:;"“”>')
# Letters that Unicode does not take apart.
_STROKES = str.maketrans("ıłøđħŧþæœß", "ilodhttaos")
_LONGEST_NUMBER = 6
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

Model = Callable[[Sequence[str]], Sequence[Mapping[str, float]]]
"""From descriptions of words to the probability of each label, by word."""


def tokens(text: str) -> list[tuple[int, int]]:
    """Returns where the words and signs of a text in plain form stand; letters, digits and each sign apart, a line's end is a sign."""
    return [found.span() for found in _TOKEN.finditer(text)]


def describe(text: str, places: Sequence[tuple[int, int]]) -> list[str]:
    """Describes words to the model, each as a text of its own whose words are features.

    A feature begins with what it is about: `0john` is the word itself, `b1name` and `a1smith` the words before and after it, `p0joh`
    and `s30ohn` its beginning and ending, `h0xx` whether it has capitals. They stand in an order in which neighbours mean something
    together. All are letters and digits, as a model of texts drops everything else.

    Args:
        text: A text in plain form.
        places: Of its `tokens`.

    Returns:
        One description for each token.
    """
    looks = [_EDGE] * _AROUND + [_look(text[start:end]) for start, end in places] + [_EDGE] * _AROUND
    casing = _casing(text)
    described = []
    sentence = "tfirst"
    for number in range(_AROUND, _AROUND + len(places)):
        third, second, before = looks[number - 3], looks[number - 2], looks[number - 1]
        look, after, next_after, last = looks[number], looks[number + 1], looks[number + 2], looks[number + 3]
        described.append(
            f"b3{third.word} b2{second.word} b1{before.word} 0{look.word} a1{after.word} a2{next_after.word} a3{last.word}{look.affixes}"
            f" sb{before.ending} sa{after.ending} hb2{second.shape} hb1{before.shape} h0{look.shape} ha1{after.shape}"
            f" ha2{next_after.shape} {sentence} {casing}"
        )
        sentence = "tline" if look is _LINE_END else "tsentence" if look.ends_sentence else "tinside"
    return described


class _Look(NamedTuple):
    """How a token looks.

    Attributes:
        word: Its normal form.
        shape: Its capitals.
        affixes: Its beginning and endings as features, each with a space before it.
        ending: Its last three letters.
        ends_sentence: Whether a sentence may begin behind it.
    """

    word: str
    shape: str
    affixes: str = ""
    ending: str = ""
    ends_sentence: bool = False


_EDGE = _Look("edge", "edge")
_LINE_END = _Look("newline", "newline", ends_sentence=True)
_REMOVED = _Look("data", "data")


@functools.lru_cache(maxsize=1 << 16)
def _look(word: str) -> _Look:
    if word[0] == FILLER:
        return _REMOVED
    if word == "\n":
        return _LINE_END
    if word[0].isdigit():
        zeros = "0" * min(len(word), _LONGEST_NUMBER)
        return _Look(zeros, zeros)
    if not word[0].isalpha():
        sign = f"u{ord(word[0]):x}"
        return _Look(sign, sign, ends_sentence=word in _SENTENCE_ENDS)
    folded = unicodedata.normalize("NFD", word.casefold()).translate(_STROKES)
    bare = "".join(filter(str.isalnum, folded))
    endings = "".join(f" s{length}{bare[-length:]}" for length in (2, 3, 4) if len(bare) > length)
    return _Look(bare, _shape(word), f" p{bare[:3]}{endings}", bare[-3:])


def _shape(word: str) -> str:
    if word.islower():
        return "small"
    if word.isupper():
        return "initial" if len(word) == 1 else "capitals"
    if word[0].isupper():
        return "name" if word[1:].islower() else "mixed"
    return "camel" if word.lower() != word else "none"  # scripts without capitals


def _casing(text: str) -> str:
    if text == text.lower():
        return "csmall"
    if text == text.upper():
        return "ccapitals"
    return "cmixed"


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
        described: list[str] = []
        for number, text in enumerate(texts):
            places = tokens(text)
            if not _worth_a_look(text, places):
                continue
            waiting.append((number, places))
            described += describe(text, places)
            if len(described) >= _ROWS_A_CALL:
                self._judge(texts, waiting, described, found)
                waiting, described = [], []
        self._judge(texts, waiting, described, found)
        return found

    def close(self) -> None:
        """See the base class."""
        if close := getattr(self._model, "close", None):
            close()

    def _judge(
        self,
        texts: Sequence[str],
        waiting: Iterable[tuple[int, list[tuple[int, int]]]],
        described: list[str],
        found: list[list[Span]],
    ) -> None:
        if not described:
            return
        # A row is the same wherever it stands, and short answers in a chat are.
        different = list(dict.fromkeys(described))
        scores = dict(zip(different, self._model(different), strict=True))
        remaining = iter(described)
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
