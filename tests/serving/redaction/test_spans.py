import random

from serving.redaction.spans import FILLER, Span, resolve


def span(start, end, entity="x", priority=0):
    return Span(start, end, entity, priority=priority)


def test_disjoint_spans_stay():
    assert resolve([span(5, 7), span(0, 3)], "abcdefgh") == [span(0, 3), span(5, 7)]


def test_the_stronger_span_gives_the_name():
    assert resolve([span(0, 8, "long", 1), span(2, 5, "strong", 2)], "abcdefgh") == [
        span(0, 2, "long", 1),
        span(2, 5, "strong", 2),
        span(5, 8, "long", 1),
    ]


def test_of_equals_the_longer_then_the_first():
    assert resolve([span(0, 3, "short"), span(0, 5, "long")], "abcdefgh") == [span(0, 5, "long")]
    assert resolve([span(2, 5, "second"), span(0, 3, "first")], "abcdefgh") == [span(0, 3, "first"), span(3, 5, "second")]


def test_what_is_left_without_letters_or_digits_is_dropped():
    assert resolve([span(0, 3, "strong", 2), span(0, 5, "weak", 1)], "abc--fgh") == [span(0, 3, "strong", 2)]


def test_what_is_removed_already_belongs_to_nobody():
    assert resolve([span(0, 6)], f"ab{FILLER}{FILLER}ef") == [span(0, 2), span(4, 6)]


def test_no_character_that_a_span_covers_is_given_up():
    rng = random.Random(7)
    for _ in range(200):
        spans = [span(start := rng.randrange(30), rng.randint(start + 1, 31), str(index), rng.randrange(3)) for index in range(6)]
        kept = resolve(spans, "a" * 31)
        covered = {position for one in spans for position in range(one.start, one.end)}
        assert [position for one in kept for position in range(one.start, one.end)] == sorted(covered)
