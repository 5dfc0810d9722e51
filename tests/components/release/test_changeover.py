"""Changes of labels carried out, with servers that follow, servers that cannot, and commands that are killed."""

import concurrent.futures
import itertools
import pathlib
import subprocess
import sys
import textwrap
import threading

import pytest

from components.errors import EnvironmentFailure, GateError, UsageError
from components.release import audit, changeover, push, rollout
from components.release.audit import State
from components.release.model_servers import ModelServers, listens
from serving.client import Client
from serving.server.config import ModelSettings, VersionPolicy
from tests.components.release import released
from tests.serving.conformance.servers import free_port

PROJECT = pathlib.Path(changeover.__file__).parents[2]
NOBODY = ModelServers(())


def labels(folder):
    return dict(changeover.standing(folder, "intents").served.labels)


def change(folder, plan, version=None, servers=NOBODY, timeout=5.0, **more):
    """Plans a change and carries it out, as the command does."""
    with folder.locked("intents"):
        changeover.settle_unfinished(folder, "intents")
        planned = plan(changeover.standing(folder, "intents"), version)
        return changeover.carry_out(folder, planned, servers, timeout=timeout, settled=0.1, **more)


@pytest.fixture
def two(tmp_path):
    """A folder with two versions of one model, and their numbers."""
    first, second = released.release(tmp_path, 2), released.release(tmp_path, 3)
    return released.folder(tmp_path), first, second


class TestWithoutServers:
    def test_the_file_says_at_last_what_is_wanted(self, two):
        folder, first, second = two
        change(folder, rollout.promote, first)
        entry = change(folder, rollout.canary, reason="more data")
        assert labels(folder) == {"stable": first, "canary": second}
        [model] = folder.listed()
        assert model.policy == VersionPolicy(0, frozenset({first, second}))
        assert (entry.state, entry.reason, entry.by, entry.servers) == (State.DONE, "more data", audit.user(), ())
        assert entry.config_sha256

    def test_other_models_keep_what_they_have(self, two, tmp_path):
        folder, first, _ = two
        released.release(tmp_path, model="taxi")
        change(folder, rollout.promote, first)
        assert [model.name for model in folder.listed()] == ["intents", "taxi"]
        assert folder.listed()[1] == ModelSettings("taxi", str(folder.path / "taxi"))

    def test_rollbacks_walk_back_through_what_was_stable(self, two, tmp_path):
        folder, first, second = two
        third = released.release(tmp_path)
        for version in (first, second, third):
            change(folder, rollout.promote, version)
        assert [change(folder, rollout.rollback).after["stable"] for _ in range(2)] == [second, first]
        with pytest.raises(UsageError, match="nothing to roll back"):
            change(folder, rollout.rollback)


class TestWithServers:
    def test_a_canary_its_promotion_and_its_rollback_cut_nobody_off(self, two, tmp_path, monkeypatch):
        folder, first, second = two
        with released.serving(tmp_path, monkeypatch) as server:
            target = f"127.0.0.1:{server.port}"
            with ModelServers([target]) as servers, Client(target, timeout=10.0, check_inputs=False) as client:
                change(folder, rollout.promote, first, servers)
                stop, answers, failures = threading.Event(), set(), []

                def ask(label):
                    while not stop.is_set():
                        try:
                            answer = client.predict("intents", {"x": [1.0]}, label=label)
                            answers.add((label, answer.version, float(answer["y"][0])))
                        except Exception as error:
                            failures.append((label, str(error)))

                threads = [threading.Thread(target=ask, args=(label,)) for label in ("stable", "canary", "stable", "canary")]
                for thread in threads:
                    thread.start()
                try:
                    for plan in (rollout.canary, rollout.rollback, rollout.canary, rollout.promote, rollout.rollback):
                        entry = change(folder, plan, servers=servers)
                        seen = {
                            label: client.predict("intents", {"x": [1.0]}, label=label).version for label in ("stable", "canary")
                        }
                        assert seen == entry.after
                finally:
                    stop.set()
                    for thread in threads:
                        thread.join()
        assert failures == []
        assert answers == {(label, *version) for label in ("stable", "canary") for version in ((first, 2.0), (second, 3.0))}

    def test_a_server_that_cannot_load_it_leaves_everything_as_it_was(self, two, tmp_path, monkeypatch):
        folder, first, _ = two
        change(folder, rollout.promote, first)
        broken = released.release(tmp_path, "no number")
        with released.serving(tmp_path, monkeypatch) as server, ModelServers([f"127.0.0.1:{server.port}"]) as servers:
            before = folder.text()
            with pytest.raises(GateError, match=rf"canary of version {broken}.*stable {first} holds as before.*could not load"):
                change(folder, rollout.canary, broken, servers)
            assert folder.text() == before
            last = folder.trail("intents").entries()[-1]
            assert (last.action, last.state) == ("canary", State.FAILED)
            assert f"could not load version {broken}" in last.detail
            # That this load failed before says nothing about another attempt, which fails for its own reasons only.
            (folder.path / "intents" / str(broken) / "factor").write_text("7")
            assert change(folder, rollout.canary, broken, servers).state is State.DONE

    def test_a_server_that_reads_another_file_is_not_waited_for_forever(self, two, tmp_path, monkeypatch):
        folder, first, second = two
        elsewhere = tmp_path / "elsewhere"
        number = released.release(elsewhere)
        (elsewhere / "serving" / "intents" / str(number)).rename(elsewhere / "serving" / "intents" / "1")
        message = f"promotion of version {first}.*not known there.*read this models.config"
        with (
            released.serving(elsewhere, monkeypatch) as server,
            ModelServers([f"127.0.0.1:{server.port}"]) as servers,
            pytest.raises(GateError, match=message),
        ):
            change(folder, rollout.promote, first, servers, timeout=0.3)
        assert folder.text() is None
        assert labels(folder) == {}

    def test_a_server_that_is_gone_is_noticed_before_anything_is_written(self, two):
        folder, first, _ = two
        with (
            ModelServers([f"127.0.0.1:{free_port()}"]) as servers,
            pytest.raises(EnvironmentFailure, match="nothing was changed"),
        ):
            change(folder, rollout.promote, first, servers)
        assert (folder.text(), folder.trail("intents").entries()) == (None, [])

    def test_an_interrupted_person_leaves_what_was_before(self, two, monkeypatch):
        folder, first, _ = two

        def interrupt(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(ModelServers, "wait_until_labelled", interrupt)
        with pytest.raises(KeyboardInterrupt):
            change(folder, rollout.promote, first)
        assert folder.text() is None
        assert folder.trail("intents").entries()[-1].state is State.FAILED


# A command in a process of its own that dies, without a chance to clean up, before or after it writes models.config for the n-th time.
DYING_COMMAND = textwrap.dedent(
    """
    import os, signal, sys
    from components.release.release_folder import ReleaseFolder
    from pipeline import cli

    when, deadly, *command = sys.argv[1:]
    calls, write = 0, ReleaseFolder.write

    def dying(self, models):
        global calls
        calls += 1
        if calls == int(deadly) and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        digest = write(self, models)
        if calls == int(deadly):
            os.kill(os.getpid(), signal.SIGKILL)
        return digest

    ReleaseFolder.write = dying
    cli.main(command)
    """
)


class TestKilled:
    @pytest.mark.parametrize(
        ("when", "number", "done", "next_command"),
        [
            ("before", 1, False, "again"),
            ("after", 1, False, "again"),
            ("after", 1, False, "rollback"),
            ("before", 2, False, "rollback"),
            ("after", 2, True, "again"),
        ],
    )
    def test_at_any_moment_leaves_labels_of_before_or_after_and_the_next_command_goes_on_or_undoes(
        self, two, tmp_path, when, number, done, next_command
    ):
        folder, first, second = two
        change(folder, rollout.promote, first)
        before, stable = folder.text(), {"stable": first, "canary": first}
        command = ["release", "canary", "--no-server", "--root", str(tmp_path)]
        arguments = [sys.executable, "-c", DYING_COMMAND, when, str(number), *command]
        died = subprocess.run(arguments, cwd=PROJECT, check=False, capture_output=True)
        assert died.returncode == -9, died.stderr
        assert labels(folder) == ({"stable": first, "canary": second} if done else stable)
        assert audit.unfinished(folder.trail("intents").entries()) is not None

        from pipeline import cli

        if next_command == "again":
            assert cli.main(command) == 0
            assert labels(folder) == {"stable": first, "canary": second}
        else:
            assert cli.main(["release", "rollback", *command[2:]]) == 0
            assert folder.text() == before
        entries = folder.trail("intents").entries()
        assert audit.unfinished(entries) is None
        assert audit.stable_history(entries) == [first]
        found = [entry.state for entry in entries if "its command was killed" in entry.detail]
        assert found == [State.DONE if done else State.ABANDONED]

    def test_the_first_promotion_ever_can_be_taken_back_to_no_file_at_all(self, two, tmp_path):
        folder, first, _ = two
        command = ["release", "promote", str(first), "--no-server", "--root", str(tmp_path)]
        subprocess.run([sys.executable, "-c", DYING_COMMAND, "after", "1", *command], cwd=PROJECT, check=False)
        assert [model.policy.specific for model in folder.listed()] == [frozenset({first})]
        with folder.locked("intents"):
            begun = changeover.settle_unfinished(folder, "intents")
            changeover.take_back(folder, "intents", begun, "not now")
        assert folder.text() is None


class TestConcurrent:
    def test_pushes_and_rollouts_take_turns(self, two, tmp_path):
        folder, first, second = two
        change(folder, rollout.promote, first)
        versions = itertools.cycle([first, second])

        def work(number):
            if number % 2:
                return released.release(tmp_path)
            with folder.locked("intents"):
                planned = rollout.promote(changeover.standing(folder, "intents"), next(versions))
                return changeover.carry_out(folder, planned, NOBODY, timeout=1.0, settled=0.0).after["stable"]

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            done = list(pool.map(work, range(12)))
        assert all(push.verify(folder.path / "intents" / str(number)) == [] for number in folder.numbers("intents"))
        assert len(folder.numbers("intents")) == 2 + len(done[1::2])
        entries = folder.trail("intents").entries()
        # Each change's two lines stand together: nobody came in between.
        assert [entry.state for entry in entries] == [State.BEGUN, State.DONE] * (len(entries) // 2)
        assert labels(folder)["stable"] == entries[-1].after["stable"]

    def test_a_rollout_waits_for_a_push_and_says_so_if_that_never_ends(self, two):
        folder, _, _ = two
        with (
            push.locked(folder.path / "intents", 1.0),
            pytest.raises(EnvironmentFailure, match="or a rollout, has held"),
            folder.locked("intents", timeout=0.1),
        ):
            pass


def test_a_server_is_named_by_host_and_port():
    assert not listens(f"127.0.0.1:{free_port()}")
    with pytest.raises(UsageError, match="named as HOST:PORT.*'8500'"):
        listens("8500")
