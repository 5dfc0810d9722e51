import collections

import pyarrow.csv as pa_csv
import pytest

from benchmarks import intents, stock_tfx


@pytest.fixture(scope="module", autouse=True)
def few_languages():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intents, "_LANGUAGES", ("en",))
        yield


@pytest.fixture(scope="module")
def tables(tmp_path_factory, few_languages):
    folder = tmp_path_factory.mktemp("tables")
    intents.write_tables(folder, 400)
    return folder


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_our_side_ingests_all_rows_and_times_it(kind, tables):
    measured = intents.ours(str(tables), kind)
    assert measured["rows"] == 400
    assert measured["seconds"] > 0


def test_rows_beyond_the_distinct_ones_have_a_word_more(tables, tmp_path, monkeypatch):
    monkeypatch.setattr(intents, "_DISTINCT_ROWS", 400)
    intents.write_tables(tmp_path, 1000)
    few, more = (pa_csv.read_csv(folder / "csv" / "data.csv").to_pylist() for folder in (tables, tmp_path))
    # The last one, the label's place, depends on how many rows there are.
    columns = ("text", "intent", "language", "template")
    assert [[row[name] for name in columns] for row in more[:400]] == [[row[name] for name in columns] for row in few]
    assert len({row["text"] for row in more}) == 1000
    assert [row["text"].rpartition(" ")[0] for row in more[400:800]] == [row["text"] for row in few]
    assert [row["intent"] for row in more[400:800]] == [row["intent"] for row in few]
    assert intents.ours(str(tmp_path), "parquet")["rows"] == 1000


def test_label_numbers_are_places_in_the_vocabulary_of_the_rows_that_stock_trains_on(tables):
    rows = pa_csv.read_csv(tables / "csv" / "data.csv").to_pylist()
    counts = collections.Counter(row["intent"] for row in rows if stock_tfx.trains_on(row["template"]))
    numbers = {row["intent"]: row["label_number"] for row in rows}
    ordered = sorted(numbers, key=numbers.__getitem__)
    assert sorted(numbers.values()) == list(range(len(numbers)))
    assert [counts[label] for label in ordered] == sorted(counts.values(), reverse=True) + [0] * (len(numbers) - len(counts))


def test_the_profile_shows_where_time_goes(capsys):
    intents.profile(400, "csv")
    printed = capsys.readouterr().out
    assert "function calls" in printed
    assert "encode.py" in printed
