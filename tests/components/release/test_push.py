import concurrent.futures
import errno
import fcntl
import json
import os
import pathlib
import subprocess
import sys
import textwrap

import pytest

from components.errors import EnvironmentFailure, UsageError
from components.release import push as push_module
from components.release.push import MANIFEST, WARMUP, push, verify


@pytest.fixture
def model(tmp_path):
    """A folder that looks like a SavedModel."""
    folder = tmp_path / "model"
    for name, content in {"saved_model.pb": b"graph", "variables/variables.index": b"i", "assets/label": b"a\nb\n"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def base(tmp_path):
    return tmp_path / "serving" / "intents"


def visible(base: pathlib.Path) -> list[str]:
    """What TF Serving takes for versions."""
    return sorted(entry.name for entry in base.iterdir() if entry.name.isdecimal())


def leftovers(base: pathlib.Path) -> list[str]:
    return sorted(entry.name for entry in base.iterdir() if entry.name.startswith(".incoming-"))


class TestVersion:
    def test_holds_the_model_and_what_is_known_about_it(self, model, base):
        pushed = push(model, base, {"run": "r1", "metrics": {"accuracy": 0.9}}, warmup=b"requests")
        version = pathlib.Path(pushed.path)
        assert version == base / pushed.version
        assert (version / "variables/variables.index").read_bytes() == b"i"
        assert (version / WARMUP).read_bytes() == b"requests"
        manifest = json.loads((version / MANIFEST).read_text())
        assert manifest["run"] == "r1"
        assert manifest["version"] == pushed.version
        assert manifest["files"].keys() == {"saved_model.pb", "variables/variables.index", "assets/label", WARMUP}
        assert manifest["files"]["saved_model.pb"]["bytes"] == 5

    def test_leaves_the_source_alone_and_nothing_half_done(self, model, base):
        push(model, base, {}, warmup=b"requests")
        assert not (model / WARMUP).exists()
        assert leftovers(base) == []

    def test_has_no_warmup_file_without_requests(self, model, base):
        assert not (pathlib.Path(push(model, base, {}).path) / "assets.extra").exists()

    def test_is_the_time_of_the_push(self, model, base, monkeypatch):
        monkeypatch.setattr(push_module.time, "time", lambda: 1732176000.9)
        assert push(model, base, {}).version == "1732176000"

    def test_always_grows_within_a_second_and_when_the_clock_goes_back(self, model, base, monkeypatch):
        versions = []
        for now in (1732176000, 1732176000, 1600000000):
            monkeypatch.setattr(push_module.time, "time", lambda now=now: now)
            versions.append(push(model, base, {}).version)
        assert versions == ["1732176000", "1732176001", "1732176002"]

    def test_other_names_in_the_folder_are_no_versions(self, model, base):
        base.mkdir(parents=True)
        (base / "99999999999-backup").mkdir()
        assert int(push(model, base, {}).version) < 99999999999


class TestVerify:
    def test_an_intact_version_has_no_problems(self, model, base):
        assert verify(push(model, base, {}, warmup=b"requests").path) == []

    def test_names_every_difference(self, model, base):
        version = pathlib.Path(push(model, base, {}).path)
        (version / "saved_model.pb").write_bytes(b"other")
        (version / "assets/label").unlink()
        (version / "extra").touch()
        assert verify(version) == [
            "assets/label: missing",
            "extra: not in the manifest",
            "saved_model.pb: changed since the push",
        ]

    def test_a_folder_without_manifest(self, tmp_path):
        assert verify(tmp_path) == ["manifest.json: missing or unreadable (FileNotFoundError)"]


# Pushes in a process of its own that dies, without a chance to clean up, at the n-th call of one function.
DYING_PUSH = textwrap.dedent(
    """
    import os, signal, sys
    from components.release import push

    def dying(function, deadly_call):
        calls = 0
        def call(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == deadly_call:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)
        return call

    model, base, function, deadly_call = sys.argv[1:]
    setattr(os, function, dying(getattr(os, function), int(deadly_call)))
    push.push(model, base, {}, warmup=b"requests")
    """
)


class TestKilled:
    @pytest.mark.parametrize(
        ("function", "call", "complete"),
        [("mkdir", 6, 0), ("fsync", 1, 0), ("fsync", 3, 0), ("fsync", 5, 0), ("fsync", 8, 0), ("rename", 1, 0), ("fsync", 10, 1)],
    )
    def test_at_any_moment_leaves_whole_versions_only(self, model, base, function, call, complete):
        repository = pathlib.Path(push_module.__file__).parents[2]
        arguments = [sys.executable, "-c", DYING_PUSH, str(model), str(base), function, str(call)]
        died = subprocess.run(arguments, env={**os.environ, "PYTHONPATH": str(repository)}, check=False)
        assert died.returncode == -9
        assert len(visible(base)) == complete
        assert len(leftovers(base)) == 1 - complete

        pushed = push(model, base, {})
        assert leftovers(base) == []
        assert len(visible(base)) == complete + 1
        assert [verify(base / version) for version in visible(base)] == [[]] * (complete + 1)
        assert visible(base)[-1] == pushed.version


class TestConcurrent:
    def test_pushes_all_succeed_with_versions_of_their_own(self, model, base):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            pushed = list(pool.map(lambda _: push(model, base, {}), range(8)))
        assert sorted(entry.version for entry in pushed) == visible(base)
        assert len(visible(base)) == 8
        assert all(verify(entry.path) == [] for entry in pushed)

    def test_a_push_that_never_ends_is_reported(self, model, base):
        base.mkdir(parents=True)
        with open(base / ".push.lock", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with pytest.raises(EnvironmentFailure, match="Only one push at a time"):
                push(model, base, {}, lock_timeout=0.1)


class TestFailure:
    def test_what_is_not_a_saved_model_is_refused(self, tmp_path, base):
        with pytest.raises(UsageError, match="saved_model.pb"):
            push(tmp_path, base, {})
        assert not base.exists()

    @pytest.mark.parametrize(("function", "code"), [("fsync", errno.ENOSPC), ("rename", errno.EROFS)])
    def test_of_the_disk_leaves_nothing_behind(self, model, base, monkeypatch, function, code):
        def fail(*_):
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, function, fail)
        with pytest.raises(EnvironmentFailure, match=f"{os.strerror(code)}.*No version was added"):
            push(model, base, {})
        assert visible(base) == leftovers(base) == []

    def test_a_folder_that_cannot_be_made_is_reported(self, model, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(EnvironmentFailure, match="space and write access"):
            push(model, tmp_path / "file" / "intents", {})

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_a_read_only_folder_is_reported(self, model, base):
        base.mkdir(parents=True, mode=0o555)
        with pytest.raises(EnvironmentFailure, match="Permission denied"):
            push(model, base, {})

    def test_an_interrupted_push_leaves_nothing_behind(self, model, base, monkeypatch):
        def interrupt(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "rename", interrupt)
        with pytest.raises(KeyboardInterrupt):
            push(model, base, {})
        assert visible(base) == leftovers(base) == []
