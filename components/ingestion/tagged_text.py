"""Training data for the tagger of personal data: sentences around made-up names, addresses and organisations, one row per word.

Sentences come from patterns in `tagger_phrases/`. What fills them comes from lists there, from registers, and from names made up in the
manner of the lists, so that the model learns what names look like and where they stand, not which there are; what stands around them, from
lists of the words people use. A table of sentences with marked places may be added. No real person's data is in it.
"""

from __future__ import annotations

import collections
import functools
import itertools
import json
import pathlib
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from components.errors import UsageError
from components.ingestion import common_words, registers
from serving.redaction import tagger

_PHRASES = pathlib.Path(__file__).with_name("tagger_phrases")

LANGUAGES = ("en", "de", "fr", "es", "it", "nl", "pt")
"""Languages there are patterns for."""

COLUMNS = (tagger.WINDOW, tagger.CASING, "label", "language", "template")
"""Of the rows: what the tagger sees of a word, what it is, and the sentence's language and pattern."""

# Names of everywhere turn up in every language; most are at home.
_AT_HOME = {"en": 0.45}
_USUALLY_AT_HOME = 0.65
# Names are made up, or drawn from registers; else from our lists of the most common ones.
_MADE_UP, _REGISTERED = 0.25, 0.45
# Everyday words are made up, too: otherwise whatever the model has not seen would be a name. Others are words that people use, and so are
# further ones before or after a sentence: our own list is short.
_UNHEARD_OF, _IN_USE, _FURTHER = 0.2, 0.2, 0.25
_PARTED = (". ", ".\n", "! ", "? ", ", ", "; ")
# How people type: as it should be, all small, all small and without signs, all capitals.
_TYPED = ("proper", "small", "bare", "capitals")
_TYPED_SHARES = (0.66, 0.2, 0.09, 0.05)
_DAYS = ("monday", "Tuesday", "Wednesday", "Thursday", "friday", "Saturday", "Sunday")
_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "October", "November", "December")
_SAID = ("said", "says", "wrote", "writes", "asked", "added", "explained", "replied", "claims", "told us", "thinks")
_CHOICE = re.compile(r"\(([^()]*)\)")
_SLOT = re.compile(r"\{(\w+)\}")
_SIGNS = re.compile(r"[^\w\s@.+-]|\.(?=\s|$)")


class Piece(NamedTuple):
    """A part of a text.

    Attributes:
      text: What it says.
      label: What it is: `person`, `address`, `organisation` or `none`.
    """

    text: str
    label: str = tagger.NOTHING


class Sentence(NamedTuple):
    """A text with what is in it.

    Attributes:
      pieces: Its parts, in order.
      language: Its language.
      template: What it was made from. Rows of one template belong into one split.
    """

    pieces: tuple[Piece, ...]
    language: str
    template: str

    @property
    def text(self) -> str:
        """The text."""
        return "".join(piece.text for piece in self.pieces)


def batches(
    languages: Sequence[str], texts: int, seed: int, table: MarkedTexts | None = None, per_batch: int = 4000
) -> Iterator[pa.RecordBatch]:
    """Streams rows.

    Args:
      languages: Of `LANGUAGES`. The first one gets half of the texts where there are several.
      texts: How many texts to make.
      seed: The texts are a function of this, the languages, their number and the releases of Faker and pyspellchecker.
      table: Further texts.
      per_batch: Texts in a batch.

    Yields:
      Rows with `COLUMNS`, all strings.

    Raises:
      UsageError: There are no patterns for a language, or the table cannot be read.
    """
    if unknown := [language for language in languages if language not in LANGUAGES]:
        raise UsageError(
            f"data.source.languages: no sentences are known in {', '.join(unknown)}; there are: {', '.join(LANGUAGES)}"
        )
    sentences = itertools.chain(_made(languages, texts, seed), () if table is None else table.sentences(seed))
    while some := list(itertools.islice(sentences, per_batch)):
        yield _rows(some)


def sentences(languages: Sequence[str], texts: int, seed: int) -> list[Sentence]:
    """Returns sentences as `batches` makes rows of."""
    return list(_made(languages, texts, seed))


class MarkedTexts(NamedTuple):
    """A table of texts with spans.

    Attributes:
      path: A Parquet file: columns `text`, `spans` (JSON: a list of objects with `entity`, one of the tagger's or anything else for no
        entity, `start` and `end` in characters) and, if there, `language` and `template` or `template_id`.
      entities: What the table calls the tagger's entities, if not as the tagger does.
      copies: How often each text is there: once as it is, then as others would have typed it.
    """

    path: str
    entities: Mapping[str, str] = {}
    copies: int = 1

    def sentences(self, seed: int = 0) -> Iterator[Sentence]:
        """Reads the table.

        Args:
          seed: Of how copies are typed.

        Raises:
          UsageError: It is no Parquet file, or lacks a column.
        """
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(self.path)
        except (OSError, pa.ArrowException) as error:
            raise UsageError(f"data.source.table cannot be read as Parquet: {error}") from error
        if missing := [name for name in ("text", "spans") if name not in table.schema.names]:
            raise UsageError(f"data.source.table has no column {', '.join(missing)}; it has: {', '.join(table.schema.names)}")
        source = random.Random(f"marked {seed}")  # noqa: S311 - a draw, not a secret
        for number, row in enumerate(table.to_pylist()):
            pieces = list(self._pieces(row["text"], json.loads(row["spans"])))
            template = f"table/{row.get('template', row.get('template_id', number))}"
            for copy in range(self.copies):
                typed = pieces if copy == 0 else _typed(pieces, source.choices(_TYPED, _TYPED_SHARES)[0], source)
                yield Sentence(tuple(typed), row.get("language") or LANGUAGES[0], template)

    def _pieces(self, text: str, spans: Sequence[Mapping[str, Any]]) -> Iterator[Piece]:
        end = 0
        for span in sorted(spans, key=lambda span: span["start"]):
            entity = self.entities.get(span["entity"], span["entity"])
            if entity in tagger.ENTITIES and span["start"] >= end:
                yield Piece(text[end : span["start"]])
                yield Piece(text[span["start"] : span["end"]], entity)
                end = span["end"]
        yield Piece(text[end:])


def _rows(some: Sequence[Sentence]) -> pa.RecordBatch:
    described: list[tuple[str, ...]] = []
    for sentence in some:
        text = sentence.text
        places = tagger.tokens(text)
        ends = list(itertools.accumulate(len(piece.text) for piece in sentence.pieces))
        labels, piece = [], 0
        for start, _ in places:
            while start >= ends[piece]:
                piece += 1
            labels.append(sentence.pieces[piece].label)
        described += [
            (window.words, window.casing, label, sentence.language, sentence.template)
            for window, label in zip(tagger.windows(text, places), labels, strict=True)
        ]
    columns = zip(*described, strict=True) if described else [()] * len(COLUMNS)
    return pa.RecordBatch.from_arrays([pa.array(column, pa.string()) for column in columns], names=list(COLUMNS))


def _made(languages: Sequence[str], texts: int, seed: int) -> Iterator[Sentence]:
    source = random.Random(f"tagger {seed}")  # noqa: S311 - a draw, not a secret
    known = registers.Registers(source)
    words = common_words.CommonWords(source, _own_names() | known.names())
    writers = {language: _Writer(language, source, known, words) for language in languages}
    weights = [len(languages) - 1 if number == 0 and len(languages) > 1 else 1 for number in range(len(languages))]
    for _ in range(texts):
        yield writers[source.choices(languages, weights)[0]].sentence()


class _Writer:
    """Writes sentences in one language."""

    def __init__(self, language: str, source: random.Random, known: registers.Registers, words: common_words.CommonWords):
        self._language, self._source, self._known, self._in_use = language, source, known, words
        self._patterns = _lines("carriers.txt")[language]
        self._clauses = _lines("carriers.txt")[f"{language} clause"]
        self._lists = _words("places.txt")
        self._vocabulary = _words("words.txt")
        choose = source.choice
        self._slots: Mapping[str, Callable[[], Sequence[Piece]]] = {
            "person": lambda: [Piece(self._person(), "person")],
            "first": lambda: [Piece(self._given(self._region()), "person")],
            "last": lambda: [Piece(self._family(self._region()), "person")],
            "address": lambda: [Piece(self._address(), "address")],
            "street": lambda: [Piece(self._street(self._where()), "address")],
            "zip": lambda: [Piece(self._zip(self._where()))],
            "org": lambda: [Piece(self._organisation(), "organisation")],
            "place": lambda: [Piece(self._town() if source.random() < 0.6 else self._country())],
            "country": lambda: [Piece(self._country())],
            "clause": self._clause,
            "Clause": lambda: _capitalised(self._clause()),
            "SHOUT": lambda: [Piece(piece.text.upper(), piece.label) for piece in self._clause()],
            "email": lambda: [Piece(self._email())],
            "phone": lambda: [
                Piece(self._number("+## ## #######", "###-###-####", "(###) ###-####", "0### ######", "### ### ###"))
            ],
            "number": lambda: [
                Piece(
                    self._number(
                        "################", "#### #### #### ####", "########", "#####", "##-####", "####", "#### ####", "###"
                    )
                )
            ],
            "date": lambda: [Piece(self._number("##/##/####", "####-##-##", "##.##.####", "#/#/##"))],
            "time": lambda: [Piece(self._number("##:##", "# pm", "#am"))],
            "money": lambda: [Piece(self._number("$##", "### euros", "## dollars", "€###", "£##"))],
            "year": lambda: [Piece(str(source.randint(1950, 2030)))],
            "day": lambda: [Piece(choose(_DAYS))],
            "month": lambda: [Piece(choose(_MONTHS))],
            "count": lambda: [Piece(choose(("1", "2", "3", "two", "three", "four", "5", "six", "14")))],
            "saidverb": lambda: [Piece(choose(_SAID))],
            "verbs": lambda: [Piece(_third_person(choose(self._vocabulary["verbs"])))],
            "capital": lambda: [Piece(choose(self._vocabulary["capitals"]))],
            "Capital": lambda: [Piece(choose(self._vocabulary["capitals"]))],
        }
        for slot in ("noun", "verb", "adjective", "adverb", "food", "car", "product"):
            self._slots[slot] = functools.partial(self._word, f"{slot}s")  # type: ignore[index]
            self._slots[slot.capitalize()] = functools.partial(self._word, f"{slot}s", True)  # type: ignore[index]

    def sentence(self) -> Sentence:
        """One text: one pattern, at times with plain talk around it."""
        source = self._source
        number = source.randrange(len(self._patterns))
        pieces = list(self._fill(self._patterns[number]))
        if source.random() < 0.25:
            pieces = [*_capitalised(self._clause()), Piece(source.choice((". ", ", ", "\n", "! "))), *pieces]
        if source.random() < 0.2:
            pieces += [Piece(source.choice((". ", ", ", "\n", " ... ", " - "))), *self._clause()]
        if source.random() < 0.5:
            pieces = list(_capitalised(pieces))
        if source.random() < _FURTHER:
            pieces = self._with_further_words(pieces)
        if source.random() < 0.35 and pieces[-1].text[-1:].isalnum():
            pieces.append(Piece(source.choice(".!.?..")))
        typed = source.choices(_TYPED, _TYPED_SHARES)[0]
        return Sentence(tuple(_typed(pieces, typed, source)), self._language, f"{self._language}/{number}")

    def _with_further_words(self, pieces: list[Piece]) -> list[Piece]:
        source = self._source
        words = self._in_use.some(self._language, 2, 9)
        draw = source.random()
        words = words.title() if draw < 0.1 else words.capitalize() if draw < 0.5 else words
        parted = source.choice(_PARTED)
        return [Piece(words + parted), *pieces] if source.random() < 0.5 else [*pieces, Piece(parted + words)]

    def _clause(self) -> Sequence[Piece]:
        return list(self._fill(self._source.choice(self._clauses)))

    def _fill(self, pattern: str) -> Iterator[Piece]:
        while _CHOICE.search(pattern):
            pattern = _CHOICE.sub(lambda found: self._source.choice(found[1].split("|")), pattern)
        pattern = re.sub(" {2,}", " ", pattern.replace("\\n", "\n")).strip(" ")
        end = 0
        for slot in _SLOT.finditer(pattern):
            yield Piece(pattern[end : slot.start()])
            yield from self._slots[slot[1]]()
            end = slot.end()
        yield Piece(pattern[end:])

    def _word(self, kind: str, capital: bool = False) -> Sequence[Piece]:
        draw = self._source.random()
        if draw < _UNHEARD_OF:
            word = _forge("words.txt", kind).make(self._source)
        elif draw < _UNHEARD_OF + _IN_USE:
            word = self._in_use.one(self._language)
        else:
            word = self._source.choice(self._vocabulary[kind])
        return [Piece(word.capitalize() if capital else word)]

    def _region(self) -> str:
        if self._source.random() < _AT_HOME.get(self._language, _USUALLY_AT_HOME):
            return self._language
        return self._source.choice(registers.REGIONS)

    def _given(self, region: str) -> str:
        return self._name(region, "first")

    def _family(self, region: str) -> str:
        name = self._name(region, "last")
        particles = _words("names.txt").get(f"{region} particle")
        if particles and self._source.random() < 0.2:
            particle = self._source.choice(particles).replace("-", " ")
            return f"{particle}{'' if particle.endswith(chr(39)) else ' '}{name}"
        return name.replace("De-", "De ")

    def _name(self, region: str, kind: str) -> str:
        draw = self._source.random()
        if draw < _MADE_UP:
            return _forge("names.txt", f"{region} {kind}").make(self._source)
        if draw < _MADE_UP + _REGISTERED:
            return self._known.given(region) if kind == "first" else self._known.family(region)
        return self._source.choice(_words("names.txt")[f"{region} {kind}"])

    def _person(self) -> str:
        region, draw = self._region(), self._source.random()
        given, family = (
            self._given(region),
            self._family(region if self._source.random() < 0.8 else self._source.choice(registers.REGIONS)),
        )
        if draw < 0.18:
            return given
        if draw < 0.25:
            return family
        if draw < 0.32:
            return f"{given} {self._source.choice('ABCDEFGHJKLMNPRSTW')}{self._source.choice(('.', ''))} {family}"
        if draw < 0.38:
            return f"{given} {self._given(region)} {family}"
        if draw < 0.42:
            return f"{given} {family}{self._source.choice('- ')}{self._family(region)}"
        return f"{given} {family}"

    def _where(self) -> str:
        places = ("en", "de", "fr", "es", "it", "nl", "pt", "nordic", "slavic")
        return self._language if self._source.random() < 0.6 else self._source.choice(places)

    def _street(self, where: str) -> str:
        source, lists = self._source, self._lists
        if source.random() < 0.3:
            return self._known.street(where)
        stem = source.choice(lists[f"{where} street"])
        if source.random() < 0.3:
            stem = _forge("places.txt", f"{where} street").make(source)
        elif source.random() < 0.25:
            stem = self._family(where)
        kind = source.choice(lists[f"{where} kind"])
        number = f"{source.randint(1, 250)}{source.choice(('', '', '', '', 'a', 'B', ' b', '/2'))}"
        if where in ("de", "nordic", "nl"):
            gap = " " if " " in stem or kind[0].isupper() or source.random() < 0.1 else ""
            street = f"{stem}{gap}{kind}"
            return street if source.random() < 0.12 else f"{street} {number}"
        if where in ("en",):
            street = f"{source.choice(('', '', '', '', 'North ', 'W ', 'East ', 'S. '))}{stem} {kind}"
            return (
                street if source.random() < 0.12 else f"{number if source.random() < 0.7 else source.randint(250, 9999)} {street}"
            )
        street = f"{kind} {source.choice(('', '', '', 'de la ', 'da ', 'del ', 'des ')) if where in ('fr', 'es', 'pt', 'it') else ''}{stem}"
        if where == "fr":
            return f"{number}{source.choice((' ', ', ', ' '))}{street}"
        return f"{street}{source.choice((' ', ' ', ', '))}{number}"

    def _address(self) -> str:
        source, where = self._source, self._where()
        if source.random() < 0.25:
            return source.choice((", ", ", ", " ", "\n", "\n ")).join(self._known.address(where).split("\n"))
        draw = source.random()
        if draw < 0.05:
            parts = [f"{source.choice(('P.O. Box', 'PO Box', 'P.O.Box', 'Postfach'))} {source.randint(1, 9999)}"]
        elif draw < 0.08:
            parts = [f"the corner of {self._street(where)} and {self._street(where)}"]
        else:
            parts = [self._street(where)]
            if draw < 0.16:
                parts[0] = f"{source.randint(1, 99)} {parts[0]}"
        if source.random() < 0.25:
            parts.append(f"{source.choice(self._lists['en unit'])} {source.randint(1, 999)}")
        if source.random() < 0.7:
            code, town = self._zip(where), self._town()
            if where in ("en",):
                state = source.choice(self._lists["states"])
                parts += [town, source.choice((f"{state} {code}", code, state, f"{state}, {code}"))]
            else:
                parts.append(f"{code} {town}" if source.random() < 0.75 else town)
            if source.random() < 0.3:
                parts.append(self._country() if source.random() < 0.7 else f"{self._country()} {self._number('#####')}")
        return source.choice((", ", ", ", ", ", " ", "\n", "\n ")).join(parts)

    def _zip(self, where: str) -> str:
        if where == "nl":
            return self._number("#### AB", "####AB").replace("AB", "".join(self._source.choices("ABCDEGHKLNPRSTVXZ", k=2)))
        if where == "en" and self._source.random() < 0.25:
            letters = "".join(self._source.choices("ABCDEGHKLNPRSTW", k=4))
            return self._number(f"{letters[:2]}# #{letters[2:]}", f"{letters[0]}## #{letters[2:]}")
        return self._number("#####", "#####", "#####", "####", "###", "##-###", "#####-###")

    def _town(self) -> str:
        source, lists = self._source, self._lists
        draw = source.random()
        if draw < 0.3:
            return source.choice(lists["towns"])
        if draw < 0.55:
            return self._known.town(self._where())
        if draw < 0.75:
            return _forge("places.txt", "towns").make(source)
        if draw < 0.85:
            return f"{source.choice(lists['town beginnings'])} {source.choice(lists['towns'])}"
        return f"{self._name(self._region(), 'last')}{source.choice(lists['town endings'])}"

    def _country(self) -> str:
        two = [name for line in _lines("places.txt")["two-word countries"] for name in line.split("|")]
        return self._source.choice(two if self._source.random() < 0.2 else self._lists["countries"])

    def _organisation(self) -> str:
        source, draw = self._source, self._source.random()
        if source.random() < 0.3:
            company = self._known.company(self._where())
            # Named after partners, which people in a list look just like.
            return company if ", " not in company or source.random() < 0.3 else self._known.company(self._where())
        lists = _words("organisations.txt")
        suffix = source.choice(lists["suffixes"])
        if draw < 0.15:
            return source.choice([name for line in _lines("organisations.txt")["known"] for name in line.split("|")])
        if draw < 0.35:
            stem, ending = source.choice(lists["stems"]), source.choice(lists["endings"])
            return f"{stem}{source.choice((' ', ' ', ''))}{ending if source.random() < 0.8 else ending.lower()}"
        if draw < 0.45:
            return _forge("organisations.txt", "stems").make(source) + source.choice(
                ("", "", "ify", "ly", "io", "ster", "data", "lab", "soft")
            )
        if draw < 0.53:
            heads, tails = (
                [name for line in _lines("organisations.txt")[kind] for name in line.split("|")] for kind in ("of", "of what")
            )
            return f"{source.choice(heads)} {source.choice(tails)}"
        family = self._name(self._region(), "last")
        if draw < 0.72:
            return f"{family} {suffix}"
        if draw < 0.8:
            return f"{family}, {self._name(self._region(), 'last')} and {self._name(self._region(), 'last')}"
        if draw < 0.86:
            return f"{family} {source.choice(('&', 'and', '-'))} {self._name(self._region(), 'last')}"
        if draw < 0.93:
            return f"{family} {source.choice(lists['endings'])}"
        return f"{source.choice(lists['stems'])} {source.choice(lists['endings'])} {suffix}"

    def _email(self) -> str:
        given, family = self._given("en").lower(), self._name("en", "last").lower()
        host = self._source.choice(("example.com", "mail.example.org", "example.net"))
        return f"{given}{self._source.choice(('.', '_', ''))}{family}@{host}"

    def _number(self, *forms: str) -> str:
        form = self._source.choice(forms)
        return "".join(str(self._source.randint(0, 9)) if sign == "#" else sign for sign in form)


def _typed(pieces: Sequence[Piece], typed: str, source: random.Random) -> Iterator[Piece]:
    for text, label in pieces:
        if typed == "capitals":
            text = text.upper()
        elif typed != "proper":
            text = text.lower()
        elif label != tagger.NOTHING and (draw := source.random()) < 0.08:
            text = text.upper() if draw < 0.04 else text.lower()
        if typed == "bare":
            text = _SIGNS.sub("", text)
        if text:
            yield Piece(text, label)


class _Forge:
    """Makes names up that look like those of a list: each letter is drawn by the two or three before it."""

    def __init__(self, names: Sequence[str]):
        self._next: dict[str, list[str]] = collections.defaultdict(list)
        self._known = frozenset(names)
        for name in names:
            marked = f"^^^{name}$"
            for position in range(3, len(marked)):
                # A name that a list has is common, a letter after three others is nearly given: two are looked at half of the time.
                for width in (2, 3):
                    self._next[marked[position - width : position]].append(marked[position])

    def make(self, source: random.Random) -> str:
        """Returns a name of three to twelve letters, mostly one that the list has not."""
        for _ in range(30):
            name = "^^^"
            while not name.endswith("$") and len(name) < 16:
                context = name[-2:] if source.random() < 0.35 else name[-3:]
                name += source.choice(self._next.get(context) or self._next[name[-2:]])
            made = name.strip("^$")
            if 3 <= len(made) <= 12 and made not in self._known:
                break
        return made


@functools.cache
def _forge(file: str, section: str) -> _Forge:
    return _Forge(_words(file)[section])


@functools.cache
def _lines(file: str) -> dict[str, list[str]]:
    """The lines of each section of a file of phrases."""
    sections: dict[str, list[str]] = {}
    for line in (_PHRASES / file).read_text(encoding="utf-8").splitlines():
        if re.fullmatch(r"\[[^\]]+\]", line):
            current = sections.setdefault(line[1:-1], [])
        elif line.strip() and not line.startswith("# "):
            current.append(line.strip())
    return sections


@functools.cache
def _words(file: str) -> dict[str, list[str]]:
    """The words of each section of a file of lists."""
    return {section: [word for line in lines for word in line.split()] for section, lines in _lines(file).items()}


def _own_names() -> frozenset[str]:
    return frozenset(word.lower() for words in _words("names.txt").values() for word in words)


def _third_person(verb: str) -> str:
    if verb[-1] == "y" and verb[-2] not in "aeiou":
        return f"{verb[:-1]}ies"
    return f"{verb}es" if verb.endswith(("s", "sh", "ch", "x", "z", "o")) else f"{verb}s"


def _capitalised(pieces: Sequence[Piece]) -> Sequence[Piece]:
    kept = [piece for piece in pieces if piece.text]
    if not kept:
        return kept
    first = kept[0]
    return [Piece(first.text[0].upper() + first.text[1:], first.label), *kept[1:]]
