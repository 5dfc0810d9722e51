import os

import pytest

from components.errors import EnvironmentFailure, UsageError
from components.release import changeover, retention, rollout
from components.release.audit import Entry, State
from components.release.model_servers import ModelServers
from components.release.retention import to_delete
from components.release.rollout import Standing
from serving.server.config import ModelSettings, VersionPolicy
from tests.components.release import released
from tests.serving.conformance.servers import free_port

NOBODY = ModelServers(())


def standing(*, versions=range(1, 11), history=(), policy=None, **labels):
    policy = policy or VersionPolicy(0, frozenset(labels.values()))
    return Standing(ModelSettings("intents", "/models/intents", policy, labels), list(versions), history)


class TestToDelete:
    @pytest.mark.parametrize(
        ("where", "loaded", "keep", "deleted"),
        [
            (standing(stable=10), (), 3, [1, 2, 3, 4, 5, 6, 7]),
            (standing(stable=2, canary=4), (), 1, [1, 3, 5, 6, 7, 8, 9]),
            (standing(stable=10, history=(1, 5, 10)), (), 1, [1, 2, 3, 4, 6, 7, 8, 9]),
            (standing(stable=10), (3, 4), 1, [1, 2, 5, 6, 7, 8, 9]),
            (standing(policy=VersionPolicy(2)), (), 1, [1, 2, 3, 4, 5, 6, 7, 8]),
            (standing(policy=VersionPolicy(0)), (), 1, []),
            (standing(policy=VersionPolicy(0, frozenset({6}))), (), 1, [1, 2, 3, 4, 5, 7, 8, 9]),
            (standing(stable=10), (), 20, []),
            (standing(stable=1), (), 0, [2, 3, 4, 5, 6, 7, 8, 9]),
        ],
        ids=[
            "keep",
            "labelled",
            "rollback target",
            "loaded",
            "latest",
            "all",
            "named",
            "more than there are",
            "always the newest",
        ],
    )
    def test_what_nobody_needs(self, where, loaded, keep, deleted):
        assert to_delete(where, loaded, keep) == deleted


@pytest.fixture
def five(tmp_path):
    """A folder with five versions, of which the first is stable; and their numbers."""
    numbers = [released.release(tmp_path, factor) for factor in range(2, 7)]
    folder = released.folder(tmp_path)
    with folder.locked("intents"):
        change = rollout.promote(changeover.standing(folder, "intents"), numbers[0])
        changeover.carry_out(folder, change, NOBODY, timeout=1.0)
    return folder, numbers


class TestPrune:
    def test_deletes_what_may_go_and_tells_the_trail(self, five):
        folder, numbers = five
        with folder.locked("intents"):
            assert retention.prune(folder, "intents", NOBODY, 2, "disk") == numbers[1:3]
        assert folder.numbers("intents") == [numbers[0], *numbers[3:]]
        last = folder.trail("intents").entries()[-1]
        assert (last.action, last.state, last.reason) == ("prune", State.DONE, "disk")
        assert all(str(number) in last.detail for number in numbers[1:3])

    def test_never_what_a_server_has_loaded_whatever_the_file_says(self, five, tmp_path, monkeypatch):
        folder, numbers = five
        with released.serving(tmp_path, monkeypatch) as server, ModelServers([f"127.0.0.1:{server.port}"]) as servers:
            # Servers read the file again within a second; this one has not yet.
            folder.write([ModelSettings("intents", str(folder.path / "intents"), VersionPolicy(0, frozenset({numbers[4]})), {})])
            monkeypatch.setattr(ModelServers, "loaded", lambda self, model: {"server": {numbers[0]}})
            assert retention.prune(folder, "intents", servers, 1, "") == numbers[1:4]
            assert numbers[0] in folder.numbers("intents")

    def test_asks_servers_and_deletes_nothing_if_one_is_silent(self, five):
        folder, numbers = five
        with (
            ModelServers([f"127.0.0.1:{free_port()}"]) as servers,
            pytest.raises(EnvironmentFailure, match="nothing was changed"),
        ):
            retention.prune(folder, "intents", servers, 1, "")
        assert folder.numbers("intents") == numbers

    def test_a_server_tells_what_it_has_loaded(self, five, tmp_path, monkeypatch):
        _, numbers = five
        with released.serving(tmp_path, monkeypatch) as server, ModelServers([f"127.0.0.1:{server.port}"]) as servers:
            [loaded] = servers.loaded("intents").values()
            assert loaded == {numbers[0]}

    def test_not_while_a_rollout_is_unfinished(self, five):
        folder, numbers = five
        folder.trail("intents").append(Entry("promote", State.BEGUN, "me", "", {}, {"stable": numbers[1]}))
        with pytest.raises(UsageError, match="killed before it ended"):
            retention.prune(folder, "intents", NOBODY, 1, "")
        assert folder.numbers("intents") == numbers

    def test_a_version_loses_its_number_before_it_loses_a_file(self, five, monkeypatch):
        folder, numbers = five
        monkeypatch.setattr("components.release.release_folder.shutil.rmtree", lambda *_: os._exit(1))
        died = os.fork()
        if not died:
            folder.delete("intents", numbers[1])
        assert os.waitstatus_to_exitcode(os.waitpid(died, 0)[1]) == 1
        monkeypatch.undo()
        base = folder.path / "intents"
        assert numbers[1] not in folder.numbers("intents")
        assert (base / f".deleted-{numbers[1]}" / "saved_model.pb").exists()
        with folder.locked("intents"):
            retention.prune(folder, "intents", NOBODY, 10, "")
        assert not list(base.glob(".deleted-*"))
