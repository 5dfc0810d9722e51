"""Texts and languages in the report."""

from components.reporting import report, texts

TRAIN = {
    "rows": 200,
    "empty": 50,
    "length": {"histogram": [[3, 50], [40, 100]], "quantiles": {"p5": 3, "p50": 40, "p95": 40, "max": 40}},
    "words": {"histogram": [[1, 50], [8, 100]], "quantiles": {"p5": 1, "p50": 8, "p95": 8, "max": 8}},
    "scripts": {"Latin": 120, "Cyrillic": 15, "Greek": 6, "Thai": 5, "Han": 4},
    "languages": {},
    "duplicates": 0.25,
    "all_words": 850,
}
TEST = {**TRAIN, "rows": 20, "unknown_words": 0.125}
FOUND = {
    "rows": 1000,
    "detected": {"und": 100, "en": 600, "de": 300},
    "undetermined": 0.1,
    "column": "language",
    "silent": 40,
    "filled": True,
    "beyond": {},
    "compared": 860,
    "agreement": 0.95,
    "by_language": {"<b>en": {"rows": 860, "agreement": 0.95, "detected": {"en": 817, "de": 43}}},
}


def test_a_row_for_each_split_that_has_any():
    train, test = texts.tables({"text": {"train": TRAIN, "eval": {**TRAIN, "rows": 0}, "test": TEST}})
    assert (train.split, test.split) == ("train", "test")
    assert (train.empty, train.length, train.duplicates, train.unknown) == ("25.0%", "40 (3 to 40, at most 40)", "25.0%", "–")
    assert train.scripts == "Latin 80.0%, Cyrillic 10.0%, Greek 4.0%, Thai 3.3%, 1 more"
    assert (train.languages, test.unknown) == ("–", "12.5%")


def test_longer_texts_are_further_right_in_the_chart():
    [train] = texts.tables({"text": {"train": TRAIN}})
    short, long = train.charts["train"]
    assert short.x < long.x
    assert short.height * 2 == long.height


def test_a_split_without_a_text_has_no_chart():
    nothing = {"histogram": [], "quantiles": {}}
    silent = {**TRAIN, "empty": 200, "length": nothing, "words": nothing, "scripts": {}, "all_words": 0}
    [train] = texts.tables({"text": {"train": silent}})
    assert (train.charts, train.length, train.scripts) == ({}, "–", "–")


def test_languages_in_a_sentence_and_a_table():
    found = texts.languages(FOUND)
    assert found.summary == (
        "90.0% of 1,000 rows have a text that tells its language: en 60.0%, de 30.0%. 40 rows did not say it and got the one"
        " their text is in. Of 860 rows that say it, 95.0% agree with their text."
    )
    assert [(row.rows, row.agreement, row.detected) for row in found.rows] == [(860, 0.95, "en 95.0%, de 5.0%")]


def test_languages_that_were_not_to_choose_from():
    found = texts.languages({**FOUND, "beyond": {"da": 30, "sv": 10}})
    assert "40 rows say one that was not to choose from (data.language.languages): da 75.0%, sv 25.0%." in found.summary


def test_without_a_column_there_is_no_table():
    found = texts.languages({name: FOUND[name] for name in ("rows", "detected", "undetermined")})
    assert (found.column, found.rows) == ("", ())


def test_nothing_where_nobody_asked():
    assert texts.languages({}) is None


def test_the_page_holds_them_escaped():
    page = report.render(
        report.ReportData(ingestion={"texts": {"<i>text": {"train": TRAIN}}, "languages": FOUND, "rows": {"train": 1}})
    )
    assert "Latin 80.0%" in page
    assert "&lt;i&gt;text" in page
    assert "&lt;b&gt;en" in page
    assert "<b>en" not in page
    assert "<i>text" not in page
