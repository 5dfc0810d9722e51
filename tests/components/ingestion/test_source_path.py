"""Where the files of a source are."""

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
