"""Random walks over sentence templates."""

import random
from collections import Counter

import pytest

from components.ingestion.grammar_walk import SentenceGrammar

DRAWS = 400


def grammar(rules=None, lists=None, vocabulary=None, seed=0):
    return SentenceGrammar(rules or {}, lists or {}, vocabulary or {}, random.Random(seed).random)


def drawn(template, **parts):
    draw = grammar(**parts).compile(template)
    return Counter(" ".join(draw().split()) for _ in range(DRAWS))


class TestReachableSentences:
    @pytest.mark.parametrize(
        ("template", "sentences"),
        [
            ("turn it on", {"turn it on"}),
            ("(red|green|blue)", {"red", "green", "blue"}),
            ("turn(s|ed)", {"turns", "turned"}),
            ("light[s]", {"light", "lights"}),
            ("[this|that] light", {"light", "this light", "that light"}),
            ("(now;please) stop", {"now please stop", "please now stop"}),
            ("[[very ]bright] light", {"light", "bright light", "very bright light"}),
        ],
    )
    def test_a_walk_reaches_every_sentence_and_no_other(self, template, sentences):
        assert set(drawn(template)) == sentences

    def test_rules_are_expanded_wherever_they_occur(self):
        assert set(drawn("<polite> <polite>", rules={"polite": "[<soft>]", "soft": "please"})) == {"", "please", "please please"}

    def test_list_values_are_templates(self):
        lists = {"color": {"values": [{"in": "dark[ ]red", "out": "red"}, {"in": "blue", "out": "blue"}]}}
        assert set(drawn("{color:slot}", lists=lists)) == {"dark red", "darkred", "blue"}

    def test_ranges_are_numbers_in_digits(self):
        assert set(drawn("{level} %", lists={"level": {"range": {"from": 10, "to": 30, "step": 10}}})) == {"10 %", "20 %", "30 %"}

    def test_vocabulary_fills_wildcards_and_lists_that_are_nowhere_else(self):
        lists, vocabulary = {"item": {"wildcard": True}}, {"item": ["milk"], "area": ["kitchen"]}
        assert set(drawn("{item} in {area}", lists=lists, vocabulary=vocabulary)) == {"milk in kitchen"}

    def test_scripts_without_spaces_get_none(self):
        assert set(drawn("เปิด[ไฟ]{area}", vocabulary={"area": ["ห้องครัว"]})) == {"เปิดห้องครัว", "เปิดไฟห้องครัว"}

    def test_letter_case_is_kept(self):
        assert set(drawn("Hallo Welt")) == {"Hallo Welt"}


class TestProbabilities:
    def test_an_optional_part_is_taken_half_of_the_time_however_many_branches_it_has(self):
        counts = drawn("[a|b|c|d] x")
        assert counts["x"] == pytest.approx(DRAWS / 2, rel=0.2)

    def test_alternatives_are_equally_likely(self):
        counts = drawn("(a|b|c|d)")
        assert all(count == pytest.approx(DRAWS / 4, rel=0.3) for count in counts.values())

    def test_the_same_numbers_give_the_same_sentences(self):
        template = "(a|b|c) [d] (e;f;g)"
        first, second = grammar(seed=3).compile(template), grammar(seed=3).compile(template)
        assert [first() for _ in range(20)] == [second() for _ in range(20)]


class TestUndefinedReferences:
    def test_an_undefined_rule_is_named(self):
        with pytest.raises(LookupError, match=r"rule <nowhere>.*rules: \['here'\]"):
            grammar(rules={"here": "x"}).compile("go <nowhere>")

    @pytest.mark.parametrize("lists", [{}, {"area": {"wildcard": True}}])
    def test_a_list_without_values_is_named(self, lists):
        with pytest.raises(LookupError, match=r"list \{area\}.*vocabulary"):
            grammar(lists=lists).compile("in {area}")
