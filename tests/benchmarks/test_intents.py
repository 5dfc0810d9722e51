import pytest

from benchmarks import intents


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


def test_rows_beyond_the_distinct_ones_are_drawn_again(tables, tmp_path, monkeypatch):
    monkeypatch.setattr(intents, "_DISTINCT_ROWS", 400)
    intents.write_tables(tmp_path, 1000)
    lines = (tmp_path / "csv" / "data.csv").read_text().splitlines()
    assert lines[:401] == (tables / "csv" / "data.csv").read_text().splitlines()
    assert lines[1:201] == lines[401:601] == lines[801:]
    assert intents.ours(str(tmp_path), "parquet")["rows"] == 1000


def test_the_profile_shows_where_time_goes(capsys):
    intents.profile(400, "csv")
    printed = capsys.readouterr().out
    assert "function calls" in printed
    assert "encode.py" in printed
