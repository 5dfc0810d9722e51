import pytest
import tensorflow as tf

from components.transform import text

pytestmark = pytest.mark.tensorflow


def normalise(*texts, max_characters=100):
    return [value.decode() for value in text.normalise(tf.constant(texts), max_characters).numpy()]


class TestNormalForm:
    @pytest.mark.parametrize(
        ("raw", "normal"),
        [
            pytest.param("Turn ON", "turn on", id="case"),
            pytest.param("ΟΔΟΣ οδος", "οδοσ οδοσ", id="greek final sigma"),
            pytest.param("Straße STRASSE", "strasse strasse", id="german sharp s"),
            pytest.param("İstanbul ışık IŞIK", "istanbul isik isik", id="turkish i"),
            pytest.param("ЁЛКА ёлка", "елка елка", id="cyrillic"),
            pytest.param("Ｃａｆé １２", "cafe 12", id="full width"),
            pytest.param("ｶﾀｶﾅ", "カタカナ", id="half width"),
            pytest.param("ﬁne ㎏ Ⅷ", "fine kg viii", id="compatibility forms"),
            pytest.param("𝐁𝒐𝓵𝔡", "bold", id="mathematical letters"),
            pytest.param("e\u0301 \u00e9", "e e", id="composed and decomposed accents"),
            pytest.param("Łódź smørrebrød", "lodz smorrebrod", id="strokes"),
            pytest.param("مُحَمَّد مـحمد", "محمد محمد", id="arabic vowels and elongation"),
            pytest.param("שָׁלוֹם", "שלום", id="hebrew points"),
            pytest.param("สวัสดีครับ", "สวัสดีครับ", id="thai vowels stay"),
            pytest.param("हिन्दी", "हिन्दी", id="devanagari marks stay"),
            pytest.param("がぎ", "がぎ", id="voiced kana stay"),
            pytest.param("你好，世界。", "你好 世界", id="ideographic punctuation"),
            pytest.param("한국어", "한국어", id="hangul"),
            pytest.param("می\u200cخواهم co\u00adop", "میخواهم coop", id="invisible characters vanish"),
            pytest.param("  a\t\n\u3000\u00a0b  ", "a b", id="white space"),
            pytest.param("what's up?!", "what s up", id="punctuation"),
            pytest.param("👍🏽 50€", "👍🏽 50€", id="emoji and symbols stay"),
            pytest.param("½", "1⁄2", id="fraction"),
            pytest.param("", "", id="empty"),
            pytest.param("?!", "", id="nothing left"),
            pytest.param("𠀀𪛖", "𠀀𪛖", id="beyond the table"),
        ],
    )
    def test_of(self, raw, normal):
        assert normalise(raw) == [normal]

    def test_is_a_fixed_point(self):
        once = normalise("Ｃａｆé,\tÖPEN ½ ﬁ ЁЛКА")
        assert normalise(*once) == once

    @pytest.mark.parametrize("raw", [b"a\x00b", b"a\xff\xfeb", b"a\xc3", b"\xed\xa0\x80a", b"a\x1bb"])
    def test_broken_bytes_become_spaces(self, raw):
        assert text.normalise(tf.constant([raw]), 100).numpy()[0].decode() in {"a b", "a"}

    def test_cuts_long_texts(self):
        assert normalise("x" * 5000, "ab cd", max_characters=4) == ["xxxx", "ab c"]

    def test_keeps_rows_apart(self):
        assert normalise("A", "", "ﬁ", "b") == ["a", "", "fi", "b"]

    def test_of_no_rows(self):
        assert text.normalise(tf.constant([], tf.string), 10).shape == [0]


class TestNames:
    @pytest.mark.parametrize(
        ("raw", "frame"),
        [
            pytest.param("play Heat Wave by Steve on Spotify", "play _ by _ on _", id="runs are one blank"),
            pytest.param("Find Heat Wave", "find _", id="first word"),
            pytest.param("PLAY THE SONG ON TV", "play the song on tv", id="all capitals"),
            pytest.param("what can I see", "what can i see", id="one letter"),
            pytest.param("an iPhone by McDonald", "an iphone by _", id="capitals inside words"),
            pytest.param("call (Anna), Mc'Neil", "call _", id="punctuation"),
            pytest.param("включи Свет в Ванной", "включи _ в _", id="cyrillic"),
            pytest.param("打开 灯 ok", "打开 灯 ok", id="scripts without case"),
            pytest.param("[play _ on _]", "play on", id="blanks and brackets of the user"),
            pytest.param("", "", id="empty"),
        ],
    )
    def test_are_blanks_in_frames(self, raw, frame):
        frame = f"[ {frame} ]" if frame else ""
        marked = normalise(*text.with_names_marked(tf.constant([raw]), 100).numpy())
        assert text.frames(tf.constant(marked)).numpy()[0].decode() == frame

    @pytest.mark.parametrize("raw", ["play Heat Wave by Steve", b"a Bc\xff De\x00Fg", "É Éa e\u0301Ab", "Ａｂ Ｃｄ"])
    def test_leave_the_normal_form_alone(self, raw):
        marked = normalise(*text.with_names_marked(tf.constant([raw]), 100).numpy())
        assert [value.decode() for value in text.without_marks(tf.constant(marked)).numpy()] == normalise(raw)


class TestNgrams:
    def test_words_of_scripts_without_spaces_are_characters(self):
        assert [[word.decode() for word in row] for row in text.words(tf.constant(["turn on 你好 ok", "ไทย", ""])).to_list()] == [
            ["turn", "on", "你", "好", "ok"],
            ["ไ", "ท", "ย"],
            [],
        ]

    def test_of_words(self):
        assert text.word_ngrams(tf.constant(["a b c", ""]), (1, 2)).to_list() == [[b"a", b"b", b"c", b"a b", b"b c"], []]

    def test_of_characters_mark_the_ends_of_words(self):
        ngrams = text.character_ngrams(tf.constant(["go on", ""]), (2, 3)).to_list()
        assert sorted(ngrams[0]) == sorted([b" g", b"go", b"o ", b" o", b"on", b"n ", b" go", b"go ", b" on", b"on "])
        assert ngrams[1] == []

    def test_of_characters_count_characters_and_not_bytes(self):
        assert "你好" in [ngram.decode() for ngram in text.character_ngrams(tf.constant(["你好"]), (2,)).to_list()[0]]


class TestLooks:
    @pytest.mark.parametrize(
        ("word", "look"),
        [
            ("Jürgen", ("jurgen", "jur", "en", "rgen", "Xx")),
            ("O'Brien", ("obrien", "obr", "en", "rien", "X'Xx")),
            ("IBM", ("ibm", "ibm", "bm", "", "XX")),
            ("A", ("a", "a", "", "", "X")),
            ("iPhone", ("iphone", "iph", "ne", "hone", "xXx")),
            ("1234567", ("0000000", "000", "00", "0000", "0")),
            ("今日は", ("今日は", "今日は", "日は", "", "o")),
            ("Ольга", ("ольга", "оль", "га", "льга", "Xx")),
            (",", (",", "", "", "", ",")),
            ("<edge>", ("<edge>", "", "", "", "<x>")),
            ("", ("", "", "", "", "")),
        ],
    )
    def test_of_a_word(self, word, look):
        described = text.looks(tf.constant([word]), prefixes=(3,), suffixes=(2, 4), max_characters=40)
        assert tuple(part.decode() for part in described[0].numpy()) == look

    def test_broken_bytes_and_endless_words_do_no_harm(self):
        described = text.looks(tf.constant([b"\xff\xfeab", b"a\xc3", "ж" * 10_000]), (3,), (2,), max_characters=40)
        assert described.shape == (3, 4)
        assert max(map(len, described[2].numpy())) <= 80

    def test_of_no_words(self):
        assert text.looks(tf.constant([], tf.string), (3,), (2,), 40).shape == (0, 4)
