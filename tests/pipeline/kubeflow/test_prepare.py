"""What is prepared once for all runs: tables of ML Metadata, and a volume that can be written to."""

from __future__ import annotations

import os
import pathlib
import sqlite3

import pytest

from components.errors import EnvironmentFailure, UsageError
from pipeline.kubeflow import prepare
from pipeline.kubeflow.options import METADATA_PASSWORD


class TestTables:
    def test_twice_is_once(self, tmp_path):
        for _ in range(2):
            prepare.create_tables(f"sqlite:///{tmp_path}/metadata.db", 0)
        with sqlite3.connect(tmp_path / "metadata.db") as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert {"Artifact", "Execution", "Event", "Context", "MLMDEnv"} <= tables

    def test_waits_for_a_server_and_then_gives_up(self, monkeypatch):
        now = [0.0]
        monkeypatch.setattr(prepare.time, "monotonic", lambda: now[0])

        def pause(seconds: float) -> None:
            now[0] += seconds

        with pytest.raises(
            EnvironmentFailure, match="mysql://someone@127.0.0.1:1/parlance cannot be used.*is the password"
        ) as raised:
            prepare.create_tables("mysql://someone@127.0.0.1:1/parlance", 12.0, {METADATA_PASSWORD: "hush"}, pause)
        assert now == [10.0]
        assert "hush" not in str(raised.value)

    def test_refuses_what_no_step_could_use(self):
        with pytest.raises(UsageError, match="PostgreSQL is not an option"):
            prepare.create_tables("postgres://a@b/c", 0)


class TestVolume:
    def test_leaves_nothing_behind(self, tmp_path):
        prepare.check_volume(tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_says_who_may_not_write(self, tmp_path, monkeypatch):
        def refuse(*arguments, **options):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(pathlib.Path, "write_text", refuse)
        with pytest.raises(EnvironmentFailure, match=f"cannot write to .*they run as user {os.getuid()}, group {os.getgid()}"):
            prepare.check_volume(tmp_path)

    def test_a_folder_that_is_not_there(self, tmp_path):
        with pytest.raises(EnvironmentFailure, match="No such file"):
            prepare.check_volume(tmp_path / "nothing")


def test_as_the_job_runs_it(tmp_path):
    arguments = ["--metadata", f"sqlite:///{tmp_path}/metadata.db", "--volume", str(tmp_path)]
    assert prepare.main(arguments) == 0
    assert prepare.main([*arguments, "--volume", str(tmp_path / "nothing")]) == 3
    assert prepare.main(["--metadata", "mysql://x"]) == 2
