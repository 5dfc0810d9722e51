import logging

import pytest

from serving.server.config import ModelSettings, VersionPolicy
from serving.server.source import VersionSource


@pytest.fixture
def base(tmp_path):
    def make(*children):
        for child in children:
            (tmp_path / child).mkdir()
        return str(tmp_path)

    return make


def poll(base_path, policy=None, name="m"):
    return VersionSource().poll([ModelSettings(name, base_path, policy or VersionPolicy())])


class TestVersions:
    def test_are_the_children_whose_names_are_numbers(self, base):
        path = base("1", "00000123", "tmp-124", "125.partial", "v7")
        assert poll(path, VersionPolicy(0)) == {"m": {123: f"{path}/00000123", 1: f"{path}/1"}}

    def test_beyond_64_bits_are_none(self, base):
        path = base(str(2**63 - 1), str(2**63))
        assert list(poll(path, VersionPolicy(0))["m"]) == [2**63 - 1]

    def test_of_two_names_for_one_number_the_last_counts_and_is_named(self, base, caplog):
        path = base("3", "003")
        assert poll(path) == {"m": {3: f"{path}/3"}}
        assert "Version 3 will be loaded from 3, 003 will be ignored." in caplog.text


class TestPolicies:
    @pytest.mark.parametrize(
        ("policy", "wanted"),
        [
            (VersionPolicy(), [30]),
            (VersionPolicy(latest=2), [30, 20]),
            (VersionPolicy(latest=9), [30, 20, 9]),
            (VersionPolicy(latest=0), [30, 20, 9]),
            (VersionPolicy(specific=frozenset({9, 20, 50})), [20, 9]),
            (VersionPolicy(specific=frozenset()), []),
        ],
    )
    def test_choose_by_number_not_by_name(self, base, policy, wanted):
        assert list(poll(base("9", "20", "30"), policy)["m"]) == wanted

    def test_a_specific_version_that_is_missing_is_named(self, base, caplog):
        poll(base("1"), VersionPolicy(specific=frozenset({1, 2})))
        assert "Version 2 of servable m, which was requested to be served as a 'specific' version" in caplog.text


class TestTrouble:
    def test_a_missing_base_path_ends_the_poll_for_all_models(self, base, tmp_path, caplog):
        models = [ModelSettings("good", base("1")), ModelSettings("gone", str(tmp_path / "gone")), ModelSettings("later", base())]
        assert VersionSource().poll(models) == {}
        [record] = caplog.records
        assert record.levelno == logging.ERROR
        assert f"Could not find base path {tmp_path / 'gone'} for servable gone" in record.getMessage()

    def test_an_empty_base_path_is_a_model_without_versions(self, base, caplog):
        path = base("not-a-number")
        assert poll(path) == {"m": {}}
        assert f"No versions of servable m found under base path {path}. Did you forget to name your leaf" in caplog.text

    def test_is_told_once_until_it_changes(self, tmp_path, caplog):
        source, models = VersionSource(), [ModelSettings("m", str(tmp_path / "base"))]
        for _ in range(3):
            source.poll(models)
        assert len(caplog.records) == 1
        (tmp_path / "base" / "1").mkdir(parents=True)
        assert source.poll(models) == {"m": {1: str(tmp_path / "base" / "1")}}
        assert len(caplog.records) == 1
        (tmp_path / "base" / "1").rmdir()
        (tmp_path / "base").rmdir()
        for _ in range(3):
            source.poll(models)
        assert len(caplog.records) == 2

    def test_a_base_path_that_is_a_file_or_may_not_be_read(self, tmp_path):
        (tmp_path / "file").write_text("")
        assert poll(str(tmp_path / "file")) == {}

        def refuse(path):
            raise PermissionError(13, "Permission denied", path)

        assert VersionSource(refuse).poll([ModelSettings("m", "/secret")]) == {}
