"""`parlance release`: what people and scripts see."""

import json
import re
import subprocess
import sys

import pytest
import yaml

from pipeline import cli
from serving.server.errors import StatusCode
from serving.server.metrics import Metrics
from tests.components.release import released
from tests.conftest import PROJECT
from tests.serving.conformance.servers import free_port


@pytest.fixture
def root(tmp_path):
    return tmp_path


@pytest.fixture
def release(root, capsys):
    """Runs a subcommand that asks no server; returns its exit code, output and errors."""

    def run(name, *arguments, servers=("--no-server",)):
        code = cli.main(["release", name, "--root", str(root), *servers, *map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


class TestCommands:
    def test_a_rollout_from_the_first_push_to_a_rollback(self, root, release):
        first = released.release(root, metrics={"accuracy": 0.9}, run="intents-1")
        assert "no version is stable yet" in release("list")[1]
        code, said, _ = release("promote")
        assert (code, f"promote   intents: no labels -> stable {first}" in said) == (0, True)
        second = released.release(root, override={"reason": "urgent"})
        assert release("canary", "--reason", "more German data")[0] == 0
        lines = release("list")[1].splitlines()
        assert lines[2].split()[:2] == [str(second), "canary"]
        assert "intact, by override" in lines[2]
        assert lines[3].split()[:2] == [str(first), "stable"]
        assert lines[3].endswith("intents-1")
        assert "canary done" in lines[4]
        assert lines[4].endswith(": more German data")
        assert f"stable {first}, canary {second} -> stable {second}" in release("promote")[1]
        assert f"stable {second} -> stable {first}" in release("rollback", "--reason", "worse")[1]
        assert release("promote", first)[1] == f"nothing to do: intents has stable {first} already\n"

    def test_machines_get_one_object(self, root, release):
        first = released.release(root, metrics={"accuracy": 0.9})
        changed = json.loads(release("promote", "--output", "json")[1])
        assert (changed["action"], changed["state"], changed["after"]) == ("promote", "done", {"stable": first, "canary": first})
        [model] = json.loads(release("list", "--output", "json")[1])["models"]
        assert model["labels"] == {"stable": first, "canary": first}
        [version] = model["versions"]
        assert (version["accuracy"], version["problems"], version["loaded"]) == (0.9, [], [])
        assert model["last_change"]["config_sha256"] == changed["config_sha256"]

    def test_a_damaged_version_is_seen_and_not_rolled_out(self, root, release):
        first = released.release(root)
        (root / "serving" / "intents" / str(first) / "factor").write_text("3")
        assert "damaged (1 files)" in release("list")[1]
        code, _, said = release("promote")
        assert code == 2
        assert "factor: changed since the push" in said

    def test_an_unfinished_change_is_shown_with_what_to_do(self, root, release):
        first = released.release(root)
        folder = released.folder(root)
        from components.release.audit import Entry, State

        folder.trail("intents").append(Entry("promote", State.BEGUN, "me", "", {}, {"stable": first}))
        assert "unfinished: promote begun" in release("list")[1]

    def test_old_versions_go_with_a_promotion_that_servers_followed_and_by_prune(self, root, release, monkeypatch):
        numbers = [released.release(root) for _ in range(4)]
        release("promote", numbers[0])
        (root / "runs" / "r").mkdir(parents=True)
        rollout = {"release": {"rollout": {"keep": 1}}}
        (root / "runs" / "r" / "config.yaml").write_text(yaml.safe_dump(rollout))
        last = released.release(root, run="r")
        with released.serving(root, monkeypatch) as server:
            code, said, _ = release("promote", last, servers=("--server", f"127.0.0.1:{server.port}"))
        assert (code, f"deleted   {', '.join(map(str, numbers[1:]))}" in said) == (0, True)
        another = released.release(root)
        assert release("prune", "--keep", 1)[1].startswith(f"deleted   nothing; left: {numbers[0]}, {last}, {another}")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["promote", "7"], "There is no version 7"),
            (["canary"], "needs a stable version"),
            (["rollback"], "nothing to roll back"),
            (["judge"], "needs a stable version and a canary"),
            (["prune", "--keep", "0"], "1 or more; received 0"),
            (["list", "--model", "taxi"], "no released model 'taxi'.*Models: intents"),
        ],
    )
    def test_what_cannot_be_is_2_and_says_why(self, root, release, arguments, message):
        released.release(root)
        code, _, said = release(*arguments)
        assert code == 2
        assert re.search(message, said)

    def test_nothing_released(self, release):
        code, _, said = release("list")
        assert (code, "`parlance run` releases one" in said) == (2, True)

    def test_several_models_have_to_be_told_apart(self, root, release):
        released.release(root)
        released.release(root, model="taxi")
        assert "name one with --model: intents, taxi" in release("promote")[2]
        assert release("promote", "--model", "taxi")[0] == 0
        assert release("list")[1].count("version ") >= 2

    def test_a_server_that_is_named_must_answer(self, root, release):
        released.release(root)
        target = f"127.0.0.1:{free_port()}"
        code, _, said = release("promote", servers=("--server", target))
        assert (code, f"nothing does at {target}" in said) == (3, True)
        assert not (root / "serving" / "models.config").exists()

    def test_importing_the_command_imports_nothing_heavy(self):
        code = (
            "import sys; from pipeline import release\n"
            "print(sorted({'tensorflow', 'tfx', 'grpc', 'numpy', 'yaml', 'pydantic', 'google.protobuf'} & set(sys.modules)))"
        )
        shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PROJECT)
        assert shown.stdout == "[]\n"


class Page:
    """Metrics of a server that has been asked so and so often, read twice: empty at first."""

    def __init__(self, monkeypatch):
        self._pages = {}
        monkeypatch.setattr("components.release.server_metrics.scrape", self._scrape)
        monkeypatch.setattr("pipeline.release.time.sleep", lambda seconds: None)

    def counts(self, url, version, n=2000, errors=0, upstream=False):
        metrics = self._pages.setdefault(url, [0, Metrics(), upstream])[1]
        for number in range(n):
            status = StatusCode.INTERNAL if number < errors else StatusCode.OK
            metrics.observe_request("intents", "Predict", "GRPC", 0.001 + number % 50 * 1e-6, status, version)
        metrics.observe_scores("intents", version, [0.9] * 64)

    def _scrape(self, url):
        from components.release.server_metrics import parse

        page = self._pages[url]
        page[0] += 1
        text = page[1].prometheus_text() if page[0] > 1 else ""
        if page[2]:
            text = "\n".join(line for line in text.splitlines() if ":parlance:" not in line)
        return parse(text)


class TestJudge:
    @pytest.fixture
    def page(self, monkeypatch):
        return Page(monkeypatch)

    @pytest.fixture
    def canary(self, root, release):
        """A root with a stable version and a canary."""
        first = released.release(root)
        release("promote")
        second = released.release(root)
        release("canary")
        return first, second

    def test_one_server_that_tells_versions(self, release, page, canary):
        for version in canary:
            page.counts("http://a", version)
        rules = ("--rule", "max_score_shift=null", "--rule", "observe_seconds=60")
        code, said, err = release("judge", "--metrics", "http://a", *rules)
        assert (code, said.splitlines()[-1]) == (0, "decision: promote")
        assert "for 60 s" in err

    @pytest.mark.parametrize(("errors", "decision", "stable"), [(0, "promote", 1), (500, "rollback", 0)])
    def test_act_does_what_the_rules_say_and_the_trail_says_why(self, root, release, page, canary, errors, decision, stable):
        page.counts("http://a", canary[0], upstream=True)
        page.counts("http://b", canary[1], errors=errors, upstream=True)
        urls = ("--stable-metrics", "http://a", "--canary-metrics", "http://b")
        code, said, _ = release("judge", *urls, "--act", "--output", "json")
        judged = json.loads(said)
        assert (code, judged["decision"], judged["acted"]) == (0 if decision == "promote" else 1, decision, decision)
        outcomes = {rule["rule"]: rule["outcome"] for rule in judged["rules"]}
        assert outcomes["max_score_shift"] == "not checked"
        entry = released.folder(root).trail("intents").entries()[-1]
        assert entry.after == {"stable": canary[stable], "canary": canary[stable]}
        assert "max_error_rate_increase: " in entry.detail

    def test_holding_does_nothing_and_is_no_yes(self, root, release, page, canary):
        page.counts("http://a", canary[0])
        before = released.folder(root).text()
        code, said, _ = release("judge", "--metrics", "http://a", "--act")
        assert (code, said.splitlines()[-1]) == (1, "decision: hold")
        assert released.folder(root).text() == before

    def test_servers_that_do_not_tell_versions_have_to_be_two(self, release, page, canary):
        page.counts("http://a", canary[0], upstream=True)
        code, _, said = release("judge", "--metrics", "http://a")
        assert (code, "--stable-metrics and --canary-metrics" in said) == (2, True)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--stable-metrics", "http://a"], "together"),
            (["--rule", "max_errors=1"], "Names: observe_seconds, min_requests"),
            (["--rule", "min_requests=0"], "--rule min_requests cannot be '0'"),
        ],
    )
    def test_wrong_arguments(self, release, canary, arguments, message):
        code, _, said = release("judge", *arguments)
        assert code == 2
        assert message in said
