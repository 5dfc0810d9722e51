"""The image's Dockerfile, read as what it is: instructions in stages. Building it needs Docker and a network; see the README."""

from __future__ import annotations

import fnmatch
import pathlib
import re
import runpy
import shlex
from typing import Any

import pytest

from pipeline.kubeflow.image import locked, prune

PROJECT = pathlib.Path(__file__).resolve().parents[3]
FOLDER = PROJECT / "pipeline" / "kubeflow" / "image"


class Stage:
    """One stage: its base and its instructions."""

    def __init__(self, base: str):
        self.base = base
        self.instructions: list[tuple[str, str]] = []

    def all(self, instruction: str) -> list[str]:
        """The arguments of every instruction of a kind."""
        return [arguments for found, arguments in self.instructions if found == instruction]


@pytest.fixture(scope="module")
def stages() -> list[Stage]:
    """The stages of the Dockerfile; what precedes the first belongs to none."""
    text = re.sub(r"^\s*#.*\n", "", (FOLDER / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    found: list[Stage] = []
    defaults = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        instruction, _, arguments = line.partition(" ")
        if instruction == "FROM":
            base = arguments.split(" AS ")[0]
            for name, value in defaults.items():
                base = base.replace(f"${{{name}}}", value)
            found.append(Stage(base))
        elif instruction == "ARG" and not found:
            name, _, defaults[name] = arguments.partition("=")
        else:
            found[-1].instructions.append((instruction, arguments.strip()))
    return found


class TestDockerfile:
    def test_bases_have_a_tag_and_take_a_digest(self, stages):
        assert len(stages) == 2
        for stage in stages:
            assert re.fullmatch(r"python:3\.1[123](-slim)?-trixie", stage.base)
        assert "-slim-" in stages[-1].base
        lines = (FOLDER / "Dockerfile").read_text()
        assert len(re.findall(r"^FROM \$\{(BUILD|RUN)_IMAGE\}\$\{(BUILD|RUN)_DIGEST\}", lines, re.MULTILINE)) == 2

    def test_what_is_copied_is_there_and_is_let_through(self, stages):
        ignored = (FOLDER / "Dockerfile.dockerignore").read_text().splitlines()
        let_through = [line[1:] for line in ignored if line.startswith("!")]
        assert "*" in ignored
        for stage in stages:
            for arguments in stage.all("COPY"):
                *sources, _ = shlex.split(arguments)
                if sources[0].startswith("--from="):
                    continue
                for source in sources:
                    assert (PROJECT / source).exists(), source
                    assert any(fnmatch.fnmatch(source, f"{pattern}*") for pattern in let_through), source

    def test_every_package_of_the_distribution_is_copied(self, stages):
        copied = {source for arguments in stages[0].all("COPY") for source in shlex.split(arguments)[:-1]}
        assert {"pipeline", "components", "serving", "schemas"} <= copied

    def test_data_files_are_part_of_the_distribution(self, monkeypatch):
        """In the image there is no checkout to find them in."""
        said: dict[str, Any] = {}
        monkeypatch.setattr("setuptools.setup", lambda **settings: said.update(settings))
        runpy.run_path(str(PROJECT / "setup.py"))
        shipped = {
            file
            for package, patterns in said["package_data"].items()
            for pattern in patterns
            for file in (PROJECT / package).glob(pattern)
        }
        # What people read, and what kubectl and docker are given, is used from a checkout.
        not_shipped = ("serving/deploy/", "pipeline/kubeflow/deploy/", "pipeline/kubeflow/image/")
        files = [file for package in said["package_data"] for file in (PROJECT / package).rglob("*") if file.is_file()]
        assert [
            str(file.relative_to(PROJECT))
            for file in files
            if file not in shipped
            and file.suffix not in (".py", ".pyc", ".md")
            and not str(file.relative_to(PROJECT)).startswith(not_shipped)
        ] == []

    def test_everything_is_checked_by_its_hash(self, stages):
        commands = [
            command for stage in stages for run in stage.all("RUN") for command in run.split("&&") if " install " in command
        ]
        assert commands
        for command in commands:
            words = shlex.split(command)
            assert "--no-deps" in words
            from_the_lock = "--require-hashes" in words
            of_the_checkout = words[-1] == "."
            assert from_the_lock or of_the_checkout, command
            # In isolation pip fetches what builds by name.
            assert "--no-build-isolation" in words or "--only-binary=:all:" in words, command

    def test_the_last_stage_has_no_tools(self, stages):
        text = " ".join(stages[-1].all("RUN"))
        assert not re.search(r"\b(apt|apt-get|apk|curl|wget|gcc|g\+\+|pip install)\b", text)
        assert "pip uninstall" in text
        assert [arguments for arguments in stages[-1].all("COPY") if not arguments.startswith("--from=build ")] == []

    def test_its_user_is_a_number_that_the_manifests_know(self, stages):
        [user] = stages[-1].all("USER")
        uid, gid = map(int, user.split(":"))
        assert min(uid, gid) > 0
        job = (FOLDER.parent / "deploy" / "base" / "prepare.yaml").read_text()
        [pod] = re.findall(r"runAsUser: (\d+)\n\s+runAsGroup: (\d+)", job)
        assert tuple(map(int, pod)) == (uid, gid)
        # Nothing that needs root comes after it.
        kinds = [kind for kind, _ in stages[-1].instructions]
        assert not {"RUN", "COPY", "ADD"} & set(kinds[kinds.index("USER") :])

    def test_no_secret_is_built_in(self, stages):
        for stage in stages:
            for arguments in (*stage.all("ENV"), *stage.all("ARG")):
                assert not re.search(r"(?i)password|token|secret|credential", arguments)


LOCK = """a==1 \\
    --hash=sha256:1 \\
    --hash=sha256:2
b-c==2 ; python_full_version < '3.13' \\
    --hash=sha256:3
b-c==3 ; python_full_version >= '3.13' \\
    --hash=sha256:4
"""


class TestLocked:
    def test_entries_keep_their_hashes_and_their_order(self):
        assert locked.entries(LOCK, ["b-c", "a"]) == "".join(
            LOCK.splitlines(keepends=True)[3:] + LOCK.splitlines(keepends=True)[:3]
        )

    def test_what_the_lock_does_not_hold(self):
        with pytest.raises(KeyError, match="the lock has no b, d"):
            locked.entries(LOCK, ["a", "b", "d"])

    def test_the_projects_lock_holds_what_builds(self):
        text = locked.entries((PROJECT / "requirements" / "lock.txt").read_text(), ["setuptools", "wheel"])
        assert re.search(r"^setuptools==\S+ ", text, re.MULTILINE)
        assert text.count("--hash=sha256:") >= 4


class TestPrune:
    REQUIREMENTS = {
        "app": ["lib>=1", "Tool; extra == 'dev'", "cloud[auth]; extra == 'cloud'", "old; python_version < '3'"],
        "lib": ["base"],
        "base": [],
        "tool": ["base", "tool-part"],
        "tool-part": [],
        "cloud": ["lib", "tokens; extra == 'auth'"],
        "tokens": ["tool-part"],
        "old": [],
    }

    @pytest.mark.parametrize(
        ("extras", "expected"),
        [
            ([], {"app", "lib", "base"}),
            (["cloud"], {"app", "lib", "base", "cloud", "tokens", "tool-part"}),
            (["dev"], {"app", "lib", "base", "tool", "tool-part"}),
        ],
    )
    def test_what_is_needed(self, extras, expected):
        assert prune.needed("app", extras, self.REQUIREMENTS) == expected

    def test_here_it_keeps_what_steps_import_and_drops_the_tools(self):
        requirements = prune.installed()
        kept = prune.needed("parlance-tfx", ["kubeflow"], requirements)
        assert {"tfx", "tensorflow", "ml-metadata", "kfp", "kfp-kubernetes", "kfp-server-api", "pydantic"} <= kept
        assert not {"pytest", "ruff", "mypy", "kubernetes-validate", "pip", "nbconvert", "grpcio-tools"} & kept

    def test_nothing_is_touched_if_the_distribution_is_not_there(self, capsys):
        assert prune.main(["no-such-distribution"]) == 2
        assert "no-such-distribution is not installed" in capsys.readouterr().err
