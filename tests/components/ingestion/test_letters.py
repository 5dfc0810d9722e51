import random
import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from components.ingestion import letters, near_duplicates


def mapped(text):
    codes, odd = letters.plain_letters(np.array([ord(character) for character in text], np.uint32))
    return "".join(map(chr, codes)), odd.tolist()


class TestPlainLetters:
    @pytest.mark.parametrize(
        ("text", "plain"),
        [
            ("Grüße, Ａ-B!", "grüße  a b "),
            ("ΣΊΣΥΦΟΣ", "σίσυφοσ"),
            ("٤२๓", "423"),
            ("¿Qué…?", " qué  "),
            ("ที่ 你好 👍", "ที่ 你好  "),
            ("İ", "i"),
        ],
    )
    def test_maps_case_width_digits_and_signs(self, text, plain):
        assert mapped(text) == (plain, [False] * len(text))

    @pytest.mark.parametrize("text", ["e\u0301", "\u1100\u1161", "ﬁ", "½", "\u0e33", "\u0e48\u0e38", "\U00020000", "\u0378"])
    def test_tells_apart_what_depends_on_neighbours_or_becomes_several(self, text):
        assert any(mapped(text)[1])

    def test_a_page_is_made_once_and_the_same_again(self):
        codes = np.arange(0x400, 0x600, dtype=np.uint32)
        first, second = letters.plain_letters(codes), letters.plain_letters(codes[::-1])
        assert first[0].tolist() == second[0][::-1].tolist()


class TestBothWays:
    """Whatever is mapped by table must be what looking at each text gives."""

    @staticmethod
    def agree(texts):
        column = pa.array(texts, pa.string())
        whole = near_duplicates.plain_form(column)
        foreign = pc.invert(pc.string_is_ascii(column))
        words = near_duplicates._ascii_form(near_duplicates._unify(column.filter(foreign)))
        assert whole.filter(foreign).to_pylist() == words.to_pylist()

    @pytest.mark.parametrize(("before", "after"), [("", ""), ("a", "b"), ("", "\u0301"), ("ก", "\u0e38"), ("e\u0323", " x")])
    def test_for_every_code_point_of_living_scripts(self, before, after):
        blocks = (
            range(0x80, 0x3100),
            range(0xA640, 0xABFF),
            range(0xF900, 0x10000),
            range(0x1D400, 0x1D800),
            range(0x1F300, 0x1F700),
        )
        self.agree([f"{before}{chr(code)}{after}" for block in blocks for code in block])

    @pytest.mark.parametrize("seed", range(3))
    def test_for_any_text(self, seed):
        draw = random.Random(seed)
        scripts = [(0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370), (0x390, 0x530), (0x590, 0x700), (0x900, 0xE80), (0x1E00, 0x2100)]
        scripts += [(0x1100, 0x1200), (0xAC00, 0xAD00), (0x3040, 0x3200), (0xFB00, 0xFFEF), (0x1F300, 0x1F700)]

        def word():
            first, last = draw.choice(scripts)
            return "".join(chr(draw.randrange(first, last)) for _ in range(draw.randrange(1, 6)))

        self.agree([draw.choice(["", " ", "! "]).join(word() for _ in range(draw.randrange(1, 6))) for _ in range(4000)])


def test_digits_of_any_script_are_ascii_ones():
    digits = [chr(code) for code in range(0x20000) if unicodedata.category(chr(code)) == "Nd"]
    assert letters.ascii_digits("a" + "".join(digits)) == "a" + "".join(str(unicodedata.decimal(digit)) for digit in digits)
