"""Labelled utterances sampled from the production voice grammar in the package home-assistant-intents.

The package holds sentence templates written by native speakers, not messages that anyone sent; no personal data is in it.
"""

from __future__ import annotations

import bisect
import contextlib
import functools
import gc
import hashlib
import importlib.metadata
import itertools
import math
import random
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

import home_assistant_intents
import pyarrow as pa

from components.errors import UsageError
from components.ingestion.grammar_walk import Draw, SentenceGrammar

_VOCABULARY = Path(__file__).with_name("household_vocabulary.toml")

# Everything but the package versions that a draw depends on.
_SAMPLER_FILES = (Path(__file__), Path(__file__).with_name("grammar_walk.py"), _VOCABULARY)

# A template that repeats itself this often in a row has next to nothing new left.
_MISSES_UNTIL_EXHAUSTED = 40

_TEMPLATE_SYNTAX = re.compile(r"[][(){}<>|]")

# Home Assistant's domains that share their vocabulary's names, because people call such things alike.
_VOCABULARY_OF_DOMAIN = {
    "input_boolean": "switch",
    "valve": "cover",
    "binary_sensor": "sensor",
    "script": "scene",
    "button": "scene",
    "input_button": "scene",
}

# What `{name}` may stand for where the grammar does not restrict it.
_DEVICE_DOMAINS = ("light", "switch", "fan", "climate", "cover", "lock", "media_player")

# The grammar's lists that take any words, and the vocabulary entry that fills each.
_OPEN_LISTS = {
    "area": "area",
    "floor": "floor",
    "message": "message",
    "search_query": "search_query",
    "zone": "zone",
    "timer_name": "timer_name",
    "timer_command": "timer_command",
    "shopping_list_item": "item",
    "todo_list_item": "item",
}


class _Utterance(NamedTuple):
    """One row of the sample; the fields are its columns."""

    text: str
    intent: str
    language: str
    template: str


class _Template:
    """One sentence template of one intent; parsed when first drawn from, since a small sample touches few of them."""

    def __init__(self, intent: str, sentence: str, grammar: SentenceGrammar):
        self.intent = intent
        self.identity = f"{intent}:{hashlib.sha256(sentence.encode()).hexdigest()[:8]}"
        self._sentence = sentence
        self._grammar = grammar

    @functools.cached_property
    def draw(self) -> Draw:
        """Draws one sentence of the template."""
        return self._grammar.compile(self._sentence)


def languages() -> tuple[str, ...]:
    """Returns the codes of the languages that can be sampled: those with a household vocabulary."""
    return tuple(sorted(_vocabularies()))


def fingerprint() -> str:
    """Returns a SHA-256 digest of what a sample depends on besides its arguments: package versions, sampler and vocabulary."""
    digest = hashlib.sha256()
    for package in ("hassil", "home-assistant-intents"):
        digest.update(f"{package}=={importlib.metadata.version(package)}\n".encode())
    for path in _SAMPLER_FILES:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def sample(languages: Sequence[str], rows: int, seed: int) -> pa.Table:
    """Draws distinct utterances.

    Every language gets the same number of rows as long as its grammar yields new utterances; what a small grammar cannot fill
    goes to the others. Within a language an intent is drawn with a probability proportional to the square root of its number of
    templates, which keeps rare intents visible, and then one of its templates, all alike. No text occurs twice in a language:
    where two intents share a sentence, the first to draw it keeps it.

    Args:
      languages: Language codes, see `languages()`.
      rows: How many utterances, over all languages.
      seed: The sample is a function of the arguments and `fingerprint()`.

    Returns:
      A table of the string columns text, intent, language and template, languages interleaved. `template` identifies the sentence
      template by intent and a hash of its wording; a template worded alike in two languages, as regional variants often have it,
      is one template, so that splitting by it keeps both on one side.

    Raises:
      UsageError: An unknown or repeated language, or more rows than the grammars yield.
    """
    _require_known_languages(languages)
    streams = {language: _utterances(language, seed) for language in languages}
    drawn: dict[str, list[_Utterance]] = {language: [] for language in languages}
    missing = rows
    while missing and streams:
        share, extra = divmod(missing, len(streams))
        for rank, (language, stream) in enumerate(list(streams.items())):
            quota = share + (rank < extra)
            with _paused_garbage_collection():
                utterances = list(itertools.islice(stream, quota))
            drawn[language] += utterances
            missing -= len(utterances)
            if len(utterances) < quota:
                del streams[language]
    if missing:
        raise UsageError(
            f"data.source.rows is at most what the grammars of data.source.languages yield, here about {rows - missing} distinct "
            f"utterances; received {rows}. Ask for fewer rows or add languages; valid: {', '.join(_vocabularies())}."
        )
    interleaved = [utterance for rank in itertools.zip_longest(*drawn.values()) for utterance in rank if utterance is not None]
    columns = {name: [getattr(utterance, name) for utterance in interleaved] for name in _Utterance._fields}
    return pa.table(columns, pa.schema([(name, pa.string()) for name in _Utterance._fields]))


@contextlib.contextmanager
def _paused_garbage_collection() -> Iterator[None]:
    # Compiled templates are some hundred thousand live objects; walking them again and again is a fifth of the time of a sample.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _require_known_languages(requested: Sequence[str]) -> None:
    valid = languages()
    unknown = [language for language in requested if language not in valid]
    if unknown:
        raise UsageError(
            f"data.source.languages names languages with a household vocabulary; received {unknown}. Valid: {', '.join(valid)}."
        )
    repeated = sorted({language for language in requested if requested.count(language) > 1})
    if repeated:
        raise UsageError(f"data.source.languages names each language once; received {repeated} repeatedly. Remove the repeats.")


@functools.cache
def _vocabularies() -> Mapping[str, Mapping[str, Sequence[str]]]:
    return tomllib.loads(_VOCABULARY.read_text(encoding="utf-8"))


def _utterances(language: str, seed: int) -> Iterator[_Utterance]:
    """Yields distinct utterances of one language in random order, until its grammar yields hardly any new ones."""
    # Of random's methods only random() is promised to give the same numbers in every version of Python.
    uniform = random.Random(f"{seed} {language}").random  # noqa: S311 - a draw, not a secret
    pools = _templates_by_intent(language, uniform)
    weights = [math.sqrt(len(pool)) for pool in pools]
    bounds = list(itertools.accumulate(weights))
    seen: set[str] = set()
    while pools:
        index = bisect.bisect(bounds, uniform() * bounds[-1])
        pool = pools[index]
        position = int(uniform() * len(pool))
        template = pool[position]
        text = _new_text(template.draw, seen)
        if text is not None:
            seen.add(text)
            yield _Utterance(text, template.intent, language, template.identity)
            continue
        del pool[position]
        if not pool:
            del pools[index], weights[index]
            bounds = list(itertools.accumulate(weights))


def _new_text(draw: Draw, seen: Set[str]) -> str | None:
    for _ in range(_MISSES_UNTIL_EXHAUSTED):
        text = " ".join(draw().split())
        if text and text not in seen and not _TEMPLATE_SYNTAX.search(text):
            return text
    return None


def _templates_by_intent(language: str, uniform: Callable[[], float]) -> list[list[_Template]]:
    package = home_assistant_intents.get_intents(language)
    vocabulary = _vocabularies()[language]
    open_lists = {name: vocabulary[entry] for name, entry in _OPEN_LISTS.items()}

    @functools.cache
    def grammar(domains: tuple[str, ...]) -> SentenceGrammar:
        entries = dict.fromkeys(_VOCABULARY_OF_DOMAIN.get(domain, domain) for domain in domains)
        names = [name for entry in entries for name in vocabulary[entry]]
        return SentenceGrammar(package["expansion_rules"], package["lists"], {**open_lists, "name": names}, uniform)

    return [
        [
            _Template(intent, sentence, grammar(_domains_of_name(block)))
            for block in definition["data"]
            for sentence in block["sentences"]
        ]
        for intent, definition in package["intents"].items()
    ]


def _domains_of_name(block: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(block.get("requires_context", {}).get("domain", _DEVICE_DOMAINS))
