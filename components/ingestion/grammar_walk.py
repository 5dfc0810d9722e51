"""Random walks over the parse trees of hassil, the sentence grammar of Home Assistant.

hassil's own sampler enumerates every sentence in order, which on templates with millions of sentences never leaves the first few.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hassil import expression as hassil
from hassil.parse_expression import parse_sentence

Draw = Callable[[], str]
"""Draws one text at random."""


class SentenceGrammar:
    """Turns sentence templates into functions that draw one of their sentences at random.

    Optional parts are taken half of the time; alternatives, list values and the orders of a permutation are equally likely.

    Example:
      >>> import random
      >>> grammar = SentenceGrammar({"on": "(on|up)"}, {}, {"name": ["lamp"]}, random.Random(0).random)
      >>> grammar.compile("turn <on> the {name}")()
      'turn up the lamp'
    """

    def __init__(
        self,
        rules: Mapping[str, str],
        lists: Mapping[str, Mapping[str, Any]],
        vocabulary: Mapping[str, Sequence[str]],
        uniform: Callable[[], float],
    ):
        """Prepares a grammar.

        Args:
          rules: Expansion rules by name (`<name>` in a template), as templates.
          lists: Lists by name (`{name}` in a template) as home-assistant-intents writes them: `{"values": [{"in": template}]}` or
            `{"range": {"from": 0, "to": 100, "step": 5}}`, which draws whole numbers in digits.
          vocabulary: Plain words for lists whose values the package leaves open; what is named here wins over `lists`.
          uniform: Source of numbers in [0, 1), such as `random.Random(seed).random`.
        """
        self._rules = rules
        self._lists = lists
        self._vocabulary = vocabulary
        self._uniform = uniform
        self._shared: dict[str, Draw] = {}

    def compile(self, template: str) -> Draw:
        """Returns a function that draws a sentence of the template, with the template's own white space.

        Raises:
          LookupError: The template refers to a rule or list that is not defined.
        """
        return self._compile(parse_sentence(template).expression)

    def _compile(self, node: hassil.Expression) -> Draw:
        match node:
            case hassil.TextChunk():
                return _constant(node.original_text)
            case hassil.Sequence():
                return _sequence([self._compile(item) for item in node.items])
            case hassil.Alternative(is_optional=True):
                # The parser marks an optional by an empty last branch, which would make it rarer the more branches there are.
                return self._optional(self._choice([self._compile(item) for item in node.items[:-1]]))
            case hassil.Alternative():
                return self._choice([self._compile(item) for item in node.items])
            case hassil.Permutation():
                return self._permutation([self._compile(item) for item in node.items])
            case hassil.RuleReference():
                return self._share(f"<{node.rule_name}>", lambda: self._rule(node.rule_name))
            case hassil.ListReference():
                return self._share(f"{{{node.list_name}}}", lambda: self._list(node.list_name))
        raise TypeError(f"a template consists of hassil's expressions; received {type(node).__name__}")

    def _share(self, reference: str, build: Callable[[], Draw]) -> Draw:
        if reference not in self._shared:
            self._shared[reference] = build()
        return self._shared[reference]

    def _rule(self, name: str) -> Draw:
        if name not in self._rules:
            raise LookupError(f"a template refers to the rule <{name}>, which is not defined; rules: {sorted(self._rules)}")
        return self.compile(self._rules[name])

    def _list(self, name: str) -> Draw:
        if name in self._vocabulary:
            return self._choice([_constant(word) for word in self._vocabulary[name]])
        definition = self._lists.get(name, {})
        if "values" in definition:
            return self._choice([self.compile(value["in"]) for value in definition["values"]])
        if "range" in definition:
            limits = definition["range"]
            return self._number(range(limits["from"], limits["to"] + 1, limits.get("step", 1)))
        raise LookupError(f"a template refers to the list {{{name}}}, which has no values; give it some in the vocabulary")

    def _choice(self, branches: list[Draw]) -> Draw:
        if len(branches) == 1:
            return branches[0]
        uniform, count = self._uniform, len(branches)
        return lambda: branches[int(uniform() * count)]()

    def _optional(self, part: Draw) -> Draw:
        uniform = self._uniform
        return lambda: part() if uniform() < 0.5 else ""

    def _number(self, numbers: range) -> Draw:
        uniform, count = self._uniform, len(numbers)
        return lambda: str(numbers[int(uniform() * count)])

    def _permutation(self, parts: list[Draw]) -> Draw:
        uniform = self._uniform

        def draw() -> str:
            texts = [part() for part in parts]
            return "".join(sorted(texts, key=lambda _: uniform()))

        return draw


def _constant(text: str) -> Draw:
    return lambda: text


def _sequence(parts: list[Draw]) -> Draw:
    if len(parts) == 1:
        return parts[0]
    return lambda: "".join([part() for part in parts])
