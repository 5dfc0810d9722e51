import random
import sys

import pytest

from components.errors import UsageError
from components.ingestion import registers, tagged_text
from components.ingestion.common_words import CommonWords


@pytest.mark.parametrize(
    ("language", "word"),
    [("en", "with"), ("de", "nicht"), ("fr", "vous"), ("es", "para"), ("it", "che"), ("nl", "niet"), ("pt", "que")],
)
def test_each_language_has_words_of_its_own(language, word):
    words = CommonWords(random.Random(0), frozenset())
    drawn = [words.one(language) for _ in range(5000)]
    assert word in drawn
    assert len(set(drawn)) > 1500
    assert all(word.isalpha() for word in drawn)


def test_names_are_none_but_for_the_most_frequent_words():
    named = CommonWords(random.Random(0), frozenset({"orchestra", "you"}))
    kept, _ = named._known("en")
    assert "you" in kept
    assert "orchestra" not in kept
    assert "orchestra" in CommonWords(random.Random(0), frozenset())._known("en")[0]


def test_equal_sources_of_chance_draw_equal_words():
    first, second = (CommonWords(random.Random(3), frozenset()).some("en", 2, 9) for _ in range(2))
    assert first == second
    assert 2 <= len(first.split()) <= 9


def test_names_are_those_of_the_registers():
    names = registers.Registers.names(200)
    assert names == registers.Registers.names(200)
    assert {"john", "maria"} <= names
    assert not {name for name in names if name != name.lower() or " " in name}


def test_stand_around_names():
    sentences = tagged_text.sentences(["en"], 400, 0)
    listed = {word for words in tagged_text._words("words.txt").values() for word in words}
    in_use = set(CommonWords(random.Random(0), frozenset())._known("en")[0]) - listed
    plain = {
        word
        for sentence in sentences
        for piece in sentence.pieces
        if piece.label == "none"
        for word in piece.text.lower().split()
    }
    assert len(plain & in_use) > 300


def test_without_the_lists_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "spellchecker", None)
    with pytest.raises(UsageError, match=r"pyspellchecker; .*parlance-tfx\[tagger\]"):
        tagged_text.sentences(["en"], 1, 0)
