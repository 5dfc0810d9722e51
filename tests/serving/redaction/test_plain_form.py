import pytest

from serving.redaction.plain_form import PlainForm


@pytest.mark.parametrize(
    ("original", "plain"),
    [
        ("plain text", "plain text"),
        ("größer, Ünïcode 今日は", "größer, Ünïcode 今日は"),
        ("ＡＢＣ１２３＠", "ABC123@"),
        ("١٢٣ १२३ ๑๒๓ 𝟏𝟐𝟑", "123 123 123 123"),
        ("a\u200bb\u00adc\u202ed", "abcd"),
        ("1\ufe0f\u20e32", "12"),
        ("1\u20142\u00a03\u20094", "1-2 3 4"),
        ("例。com", "例.com"),
        ("İ", "I"),
        ("½ ﬁ", "½ ﬁ"),
    ],
)
def test_one_form(original, plain):
    assert PlainForm(original).text == plain


@pytest.mark.parametrize("original", ["abc@d", "a\u200bbc\u200b@d", "\u200b\u200bx\u200b", "１２\u200b３"])
def test_positions_lead_back(original):
    form = PlainForm(original)
    visible = [(position, character) for position, character in enumerate(original) if PlainForm(character).text]
    for index, (position, _) in enumerate(visible):
        assert form.original(index, index + 1) == (position, position + 1)
    start, end = form.original(0, len(form.text))
    assert (start, end) == (visible[0][0], visible[-1][0] + 1)
