import pytest

from serving.redaction import FILLER, EntityRule, RedactionRules, Redactor, tagger
from serving.redaction.tagger import Tagger, most_likely, tokens, windows


def scores(label, share=0.97):
    labels = (tagger.NOTHING, *tagger.ENTITIES)
    return {each: share if each == label else (1 - share) / 3 for each in labels}


class KnowsWords:
    """A model that knows a few words and no context."""

    def __init__(self):
        self.calls = []
        self.closed = False

    def __call__(self, windows):
        self.calls.append(list(windows))
        return [scores(self.label(window.words.split(" ")[tagger.AROUND])) for window in windows]

    def label(self, word):
        if word.lower() in ("ann", "smith", "jean", "o'brien"):
            return "person"
        if word in ("12", "Main", "Street", ",", "Dover"):
            return "address"
        return "organisation" if word in ("acme", "ltd") else tagger.NOTHING

    def close(self):
        self.closed = True


@pytest.fixture
def model():
    return KnowsWords()


def found(model, text):
    return [(text[span.start : span.end], span.entity) for span in Tagger(model).find(text)]


class TestTokens:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("my name's John.", ["my", "name", "'", "s", "John", "."]),
            ("O'Brien, Jean-Luc", ["O'Brien", ",", "Jean-Luc"]),
            ("12a Main\nSt", ["12", "a", "Main", "\n", "St"]),
            (f"call {FILLER * 3} now", ["call", FILLER * 3, "now"]),
            ("naïve 今日は", ["naïve", "今日は"]),
            ("", []),
        ],
    )
    def test_are_words_numbers_and_signs(self, text, words):
        assert [text[start:end] for start, end in tokens(text)] == words


class TestWindows:
    def test_a_word_stands_among_its_neighbours(self):
        text = "i am Jürgen O'Brien, 12"
        assert [window.words for window in windows(text, tokens(text))[1:3]] == [
            "<edge> <edge> <edge> i am Jürgen O'Brien , 12",
            "<edge> <edge> i am Jürgen O'Brien , 12 <edge>",
        ]

    def test_what_is_no_word_has_a_name_of_its_own(self):
        text = f"a {FILLER * 5}\n>"
        assert windows(text, tokens(text))[0].words.split(" ")[4:] == ["a", "<data>", "<line>", ">", "<edge>"]

    def test_all_are_equally_long(self):
        text = "one two three four five six seven eight nine ten eleven twelve"
        shown = [window.words for window in windows(text, tokens(text))]
        assert {len(window.split(" ")) for window in shown} == {2 * tagger.AROUND + 1}
        assert [window.split(" ")[tagger.AROUND] for window in shown] == text.split()

    def test_an_endless_word_is_cut(self):
        text = "x" * 100_000
        [window] = windows(text, tokens(text))
        assert window.words == " ".join(["<edge>"] * 4 + ["x" * 40] + ["<edge>"] * 4)

    @pytest.mark.parametrize(("text", "casing"), [("ann", "small"), ("ANN 1", "capitals"), ("Ann", "mixed"), ("12", "small")])
    def test_a_text_in_one_case_is_told_apart(self, text, casing):
        assert windows(text, tokens(text))[0].casing == casing


class TestTagger:
    @pytest.mark.parametrize(
        ("text", "spans"),
        [
            ("i am Ann Smith.", [("Ann Smith", "person")]),
            ("Ann\nSmith", [("Ann", "person"), ("Smith", "person")]),
            ("see 12 Main Street, Dover, ok", [("12 Main Street, Dover", "address")]),
            ("flight 12", []),
            ("acme ltd, Jean O'Brien", [("acme ltd", "organisation"), ("Jean O'Brien", "person")]),
            ("ok", []),
            ("", []),
        ],
    )
    def test_neighbours_of_one_label_are_one_find(self, model, text, spans):
        assert found(model, text) == spans

    def test_a_text_of_plain_words_is_not_looked_at(self, model):
        assert found(model, "ok thank you, 12 of 13!") == []
        assert model.calls == []

    def test_many_texts_are_judged_together_and_equal_rows_once(self, model):
        texts = ["ann", "turn on the light", "ann", "i am smith"]
        assert [[span.entity for span in spans] for spans in Tagger(model).find_all(texts)] == [
            ["person"],
            [],
            ["person"],
            ["person"],
        ]
        [words] = model.calls
        assert len(words) == len(set(words)) == 8

    def test_is_one_detector_among_others(self, model):
        rules = RedactionRules(
            {"person": EntityRule(detectors=("tagger",)), "email": EntityRule(detectors=("email_address",))}, ("text",)
        )
        redactor = Redactor(rules, detectors=[Tagger(model)])
        # What the rules do not name stays, and what has a form keeps its name.
        assert redactor.redact("ann smith of acme ltd, ann.smith@example.org") == "[person] of acme ltd, [email]"
        assert redactor.redact("[person] of acme ltd, [email]") == "[person] of acme ltd, [email]"

    def test_closes_its_model(self, model):
        Tagger(model).close()
        assert model.closed


class TestMostLikely:
    def test_a_change_has_to_be_worth_its_cost(self):
        doubtful = {tagger.NOTHING: 0.55, "person": 0.45}
        sure = {tagger.NOTHING: 0.01, "person": 0.99}
        assert most_likely([sure, doubtful, sure], change=0.7) == ["person"] * 3
        assert most_likely([sure, doubtful, sure], change=0.0) == ["person", tagger.NOTHING, "person"]

    def test_one_word(self):
        assert most_likely([scores("address")]) == ["address"]

    def test_a_score_of_nothing_is_no_error(self):
        assert most_likely([{"a": 1.0, "b": 0.0}, {"a": 0.0, "b": 1.0}]) == ["a", "b"]
