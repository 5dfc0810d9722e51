"""The `validation:` section."""

import pytest

from components.validation.options import Limit, SpanMonitoring, TextLimits, ValidationOptions

FULL = {
    "texts": {"script": {"warn": 0.01, "fail": 0.2}, "duplicates": {"warn": None}},
    "monitoring": {"minimum_history": 8, "stop": True, "warning": {"rows": 0.1, "share": 0.05, "level": 0.2}},
    "environment": "SERVING",
}


def test_it_survives_the_way_through_json():
    options = ValidationOptions.model_validate(FULL)
    assert ValidationOptions.model_validate_json(options.model_dump_json()) == options
    assert (options.texts.script, options.texts.duplicates) == (Limit(warn=0.01, fail=0.2), Limit())
    assert options.monitoring.needed_history == 8


def test_without_a_word_texts_and_series_are_watched_and_stop_nothing():
    options = ValidationOptions()
    assert all(limit.warn is not None and limit.fail is None for limit in vars(TextLimits()).values())
    assert (options.monitoring, options.monitoring.stop, options.environment) == (SpanMonitoring(), False, None)
    assert (options.monitoring.unit, options.monitoring.looked_back, options.monitoring.needed_history) == ("span", 20, 5)


def test_the_series_can_be_left_alone():
    assert ValidationOptions.model_validate({"monitoring": None}).monitoring is None


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"monitoring": {"unit": "day"}}, "span"),
        ({"monitoring": {"minimum_history": 30}}, "must not exceed monitoring.history"),
        ({"texts": {"script": {"warn": 0.3, "fail": 0.1}}}, "warn is at most fail"),
        ({"texts": {"scripts": {}}}, "Extra inputs"),
        ({"environment": "serving"}, "SERVING"),
    ],
)
def test_what_does_not_fit_is_refused(section, said):
    with pytest.raises(ValueError, match=said):
        ValidationOptions.model_validate(section)
