import pytest

from components.profiling import column_names as names


class TestWords:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("utteranceId", {"utterance", "id"}),
            ("utterance_id", {"utterance", "id"}),
            ("trip start-timestamp", {"trip", "start", "timestamp"}),
            ("HTTPStatus", {"http", "status"}),
            ("größe", {"größe"}),
            ("1st", {"1", "st"}),
            ("文本", {"文本"}),
            ("???", set()),
        ],
    )
    def test_splits_at_case_and_at_what_is_no_letter(self, name, expected):
        assert names.words(name) == expected


class TestHints:
    @pytest.mark.parametrize(
        ("name", "vocabulary", "expected"),
        [
            ("conversation_id", names.IDENTIFIER, True),
            ("video", names.IDENTIFIER, False),
            ("trip_start_hour", names.CODE, True),
            ("slot_labels", names.AFTERWARDS, True),
        ],
    )
    def test_compares_whole_words(self, name, vocabulary, expected):
        assert names.hints(name, vocabulary) is expected
