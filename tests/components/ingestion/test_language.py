"""Which language a text is in."""

import sys

import numpy as np
import pyarrow as pa
import pytest

from components.errors import EnvironmentFailure, UsageError
from components.ingestion.language import UNDETERMINED, Detector, LanguageOptions

TEXTS = {
    "de": "Schalte bitte das Licht in der Küche ein",
    "en": "Please turn on the light in the kitchen",
    "fr": "Allume la lumière dans la cuisine s'il te plaît",
    "nb": "Skru på lyset på kjøkkenet og i gangen",
    "ru": "Включи свет на кухне, пожалуйста",
    "th": "เปิดไฟในห้องครัว",
}


@pytest.fixture(scope="module")
def detector():
    pytest.importorskip("py3langid", reason="the extra `language` is not installed")
    return Detector(LanguageOptions(languages=tuple(TEXTS)))


class TestDetect:
    def test_each_language(self, detector):
        languages, confidences = detector.detect(pa.array(TEXTS.values()))
        assert languages.to_pylist() == list(TEXTS)
        assert confidences.dtype == np.float32
        assert (confidences > 0.5).all()

    @pytest.mark.parametrize("text", [None, "", "  ", "4711", "?!", "\N{WAVING HAND SIGN}"])
    def test_what_has_no_letter_has_no_language(self, detector, text):
        languages, confidences = detector.detect(pa.array([text, TEXTS["de"]], pa.string()))
        assert languages.to_pylist() == [UNDETERMINED, "de"]
        assert confidences[0] == 0

    def test_repeated_texts_and_other_batches_have_one_answer(self, detector):
        texts = [TEXTS["ru"], TEXTS["en"], TEXTS["ru"]]
        together, _ = detector.detect(pa.array(texts).dictionary_encode())
        alone = [detector.detect(pa.array([text]))[0][0].as_py() for text in texts]
        assert together.to_pylist() == alone == ["ru", "en", "ru"]

    def test_no_rows(self, detector):
        languages, confidences = detector.detect(pa.array([], pa.string()))
        assert (len(languages), len(confidences)) == (0, 0)

    def test_chunks(self, detector):
        languages, _ = detector.detect(pa.chunked_array([[TEXTS["de"]], [TEXTS["fr"]]]))
        assert languages.to_pylist() == ["de", "fr"]


class TestOptions:
    def test_below_the_confidence_a_text_is_undetermined(self):
        pytest.importorskip("py3langid", reason="the extra `language` is not installed")
        languages, confidences = Detector(LanguageOptions(min_confidence=1.0)).detect(pa.array(["ok"]))
        assert languages.to_pylist() == [UNDETERMINED]
        assert 0 < confidences[0] < 1

    def test_an_unknown_language_is_an_error_that_lists_the_known_ones(self):
        pytest.importorskip("py3langid", reason="the extra `language` is not installed")
        with pytest.raises(UsageError, match=r"'xx'; it knows .*de, .*en,"):
            Detector(LanguageOptions(languages=("de", "xx")))

    def test_a_missing_package_names_the_extra(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "py3langid.langid", None)
        with pytest.raises(EnvironmentFailure, match=r"parlance-tfx\[language\]"):
            Detector()


def test_most_of_people_s_short_commands_are_recognised(real_data):
    pytest.importorskip("py3langid", reason="the extra `language` is not installed")
    import pyarrow.parquet as pq

    table = pq.read_table(real_data / "ohf_intents_tests" / "data.parquet", columns=["text", "language"])
    chosen = ("de", "el", "en", "es", "fr", "nl", "pl", "ru", "th")
    rows = table.filter(pa.compute.is_in(table["language"], pa.array(chosen))).slice(0, 2000)
    found, _ = Detector(LanguageOptions(languages=chosen)).detect(rows["text"])
    right = sum(a == b for a, b in zip(found.to_pylist(), rows["language"].to_pylist(), strict=True))
    assert right / len(found) > 0.95
