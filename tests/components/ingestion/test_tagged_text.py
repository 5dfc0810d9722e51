import collections
import json
import random
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.errors import UsageError
from components.ingestion import readers, registers, tagged_text
from components.ingestion.options import TaggedTextSource
from components.ingestion.tagged_text import MarkedTexts
from serving.redaction import tagger


def table(languages=("en", "de"), texts=200, seed=0, path=None):
    return pa.Table.from_batches(tagged_text.batches(languages, texts, seed, path and MarkedTexts(path)))


class TestSentences:
    @pytest.mark.parametrize("language", tagged_text.LANGUAGES)
    def test_every_pattern_of_a_language_can_be_filled(self, language):
        sentences = tagged_text.sentences([language], 3000, 1)
        patterns = len(tagged_text._lines("carriers.txt")[language])
        assert len({sentence.template for sentence in sentences}) == patterns
        assert not [sentence.text for sentence in sentences if not sentence.text or set("{}|") & set(sentence.text)]

    def test_pieces_say_what_they_are(self):
        labels = collections.Counter(
            piece.label for sentence in tagged_text.sentences(["en"], 500, 0) for piece in sentence.pieces
        )
        assert set(labels) == {tagger.NOTHING, *tagger.ENTITIES}

    def test_names_are_made_up_as_well(self):
        names = {
            word
            for sentence in tagged_text.sentences(["fr"], 500, 0)
            for piece in sentence.pieces
            if piece.label == "person"
            for word in piece.text.casefold().split()
        }
        listed = {word.casefold() for words in tagged_text._words("names.txt").values() for word in words}
        assert 0.2 < len(names - listed) / len(names) < 0.8

    def test_names_come_from_registers_as_well(self):
        source = random.Random(0)
        known = registers.Registers(source)
        drawn = {region: {known.given(region) for _ in range(200)} for region in registers.REGIONS}
        assert min(map(len, drawn.values())) > 30
        assert "Jürgen" in {known.given("de") for _ in range(20_000)}
        assert all(
            make(region) for make in (known.family, known.company, known.town, known.street, known.address) for region in drawn
        )

    def test_without_registers_the_error_names_the_extra(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "faker", None)
        with pytest.raises(UsageError, match=r"parlance-tfx\[tagger\]"):
            tagged_text.sentences(["en"], 1, 0)

    def test_people_type_as_they_like(self):
        texts = [sentence.text for sentence in tagged_text.sentences(["en"], 400, 0)]
        assert 80 < sum(text == text.lower() for text in texts) < 250
        assert any(text == text.upper() and text != text.lower() for text in texts)

    def test_equal_seeds_make_equal_sentences(self):
        assert tagged_text.sentences(["en", "nl"], 30, 5) == tagged_text.sentences(["en", "nl"], 30, 5)
        assert tagged_text.sentences(["en", "nl"], 30, 5) != tagged_text.sentences(["en", "nl"], 30, 6)


class TestBatches:
    def test_a_row_is_a_word_as_the_tagger_sees_it(self):
        rows = table(["en"], 40)
        sentence = tagged_text.sentences(["en"], 1, 0)[0]
        places = tagger.tokens(sentence.text)
        first = rows.slice(0, len(places)).to_pydict()
        assert list(zip(first["window"], first["casing"], strict=True)) == tagger.windows(sentence.text, places)
        assert set(first["template"]) == {sentence.template}
        assert set(rows["label"].to_pylist()) <= {tagger.NOTHING, *tagger.ENTITIES}

    def test_the_first_language_has_half_of_the_texts(self):
        languages = collections.Counter(sentence.language for sentence in tagged_text.sentences(["en", "de", "fr"], 600, 0))
        assert 250 < languages["en"] < 350

    def test_an_unknown_language_is_refused(self):
        with pytest.raises(UsageError, match="no sentences are known in tlh; there are: en, de"):
            table(["en", "tlh"])

    def test_is_a_source(self):
        source = TaggedTextSource(type="tagged_text", languages=("en",), texts=20)
        chunks = list(readers.read_batches(source, None, {"window", "label"}))
        assert chunks[0].rows.schema.names == ["window", "label"]
        assert chunks[0].columns == tagged_text.COLUMNS
        assert chunks[0].positions[0] == 1


class TestMarkedTexts:
    def write(self, path, **columns):
        pq.write_table(pa.table(columns), path)
        return str(path)

    def test_are_added_to_those_made(self, tmp_path):
        spans = [{"entity": "person", "start": 6, "end": 15}, {"entity": "date", "start": 20, "end": 26}]
        path = self.write(tmp_path / "marked.parquet", text=["call, Ann Smith on Monday"], spans=[json.dumps(spans)])
        rows = table(["en"], 1, path=path).to_pylist()
        added = [row for row in rows if row["template"] == "table/0"]
        assert [row["label"] for row in added] == ["none", "none", "person", "person", "none", "none"]
        assert len(rows) > len(added)

    def test_one_template_stays_together(self, tmp_path):
        path = self.write(
            tmp_path / "m.parquet", text=["a b", "c"], spans=["[]", "[]"], template=["7", "7"], language=["fr", "fr"]
        )
        assert {(sentence.template, sentence.language) for sentence in MarkedTexts(path).sentences()} == {("table/7", "fr")}

    def test_may_have_names_of_their_own_for_what_is_in_them(self, tmp_path):
        spans = [{"entity": "PERSON", "start": 3, "end": 6}, {"entity": "GPE", "start": 10, "end": 15}]
        path = self.write(tmp_path / "m.parquet", text=["hi Ann in Dover"], spans=[json.dumps(spans)], template_id=[8])
        [sentence] = MarkedTexts(path, {"PERSON": "person"}).sentences()
        assert [piece.label for piece in sentence.pieces] == ["none", "person", "none"]
        assert sentence.template == "table/8"

    def test_copies_are_typed_as_others_type(self, tmp_path):
        spans = [{"entity": "person", "start": 4, "end": 13}]
        path = self.write(tmp_path / "m.parquet", text=["Hi, Ann Smith!"], spans=[json.dumps(spans)])
        first, *others = MarkedTexts(path, copies=60).sentences()
        assert first.text == "Hi, Ann Smith!"
        assert {"hi, ann smith!", "hi ann smith", "HI, ANN SMITH!"} <= {sentence.text for sentence in others}
        assert {piece.label for piece in others[0].pieces} == {"none", "person"}
        assert {sentence.template for sentence in others} == {first.template}

    def test_a_table_of_something_else_is_refused(self, tmp_path):
        with pytest.raises(UsageError, match="has no column spans; it has: text"):
            list(MarkedTexts(self.write(tmp_path / "m.parquet", text=["a"])).sentences())
        with pytest.raises(UsageError, match="data.source.table cannot be read as Parquet"):
            list(MarkedTexts(str(tmp_path / "nothing.parquet")).sentences())
