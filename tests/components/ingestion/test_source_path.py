"""Where the files of a source are."""

import datetime
import pathlib

import pytest

from components.errors import UsageError
from components.ingestion import source_path


class TestResolve:
    def test_relative_paths_are_the_working_directorys(self, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        assert source_path.resolve("data/t.csv") == str(tmp_path / "data" / "t.csv")

    def test_files_inside_packages(self):
        assert pathlib.Path(source_path.resolve("package:pytest/__init__.py")).is_file()

    @pytest.mark.parametrize(
        ("path", "message"), [("package:no_such_pkg/x", "not installed"), ("package:pytest/x.csv", "has no x.csv")]
    )
    def test_packages_that_do_not_have_it(self, path, message):
        with pytest.raises(UsageError, match=message):
            source_path.resolve(path)


class TestSplit:
    @pytest.mark.parametrize(
        ("path", "parts"),
        [
            ("/data/a.csv", ("/data", "a.csv")),
            ("/data/*.csv", ("/data", "*.csv")),
            ("/data/span-{SPAN}/part-*/a.csv", ("/data", "span-{SPAN}/part-*/a.csv")),
            ("/*.csv", ("/", "*.csv")),
        ],
    )
    def test_the_folder_is_as_long_as_it_can_be(self, path, parts):
        assert source_path.split(path) == parts

    def test_of_a_folder_everything(self, tmp_path):
        assert source_path.split(str(tmp_path)) == (str(tmp_path), "*")


class TestSpansBefore:
    @pytest.fixture
    def write(self, tmp_path):
        def files(*names):
            for name in names:
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name).touch()
            return str(tmp_path)

        return files

    @pytest.mark.parametrize(("most", "found"), [(1, [7]), (2, [3, 7]), (9, [1, 3, 7])])
    def test_the_newest_that_there_are(self, write, most, found):
        base = write(
            "span-1/a.csv", "span-3/a.csv", "span-03/b.csv", "span-7/a.csv", "span-10/a.csv", "span-x/a.csv", "span-5/a.txt"
        )
        assert source_path.spans_before(base, "span-{SPAN}/*.csv", 10, most) == found

    def test_days_and_versions(self, write):
        base = write("2026-01-02/v1/a.csv", "2026-01-02/v2/a.csv", "2026-02-30/v1/a.csv", "2025-12-31/v1/a.csv")
        days = (datetime.date(2026, 1, 2) - datetime.date(1970, 1, 1)).days
        pattern = "{YYYY}-{MM}-{DD}/v{VERSION}/a.csv"
        assert source_path.spans_before(base, pattern, days + 1, 5) == [days - 2, days]

    def test_a_name_that_stands_twice_is_the_same_span(self, write):
        base = write("3/a-3.csv", "4/a-3.csv")
        assert source_path.spans_before(base, "{SPAN}/a-{SPAN}.csv", 9, 5) == [3]
