"""What tests share: the order (fast first), the real data sets, and one pipeline run for all end-to-end tests."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import pytest

PROJECT = pathlib.Path(__file__).resolve().parent.parent
# xdist has one in its workers, whose output would then be cut to it.
os.environ.pop("COLUMNS", None)

# Small enough for a minute, large enough that a trained model beats the majority class by far.
SMALL_INTENTS = (
    "data.source.languages=[de, en, es]",
    "data.source.rows=4000",
    "model.epochs=4",
    "evaluation.gates=[{metric: accuracy, above_majority: 0.2}, {metric: accuracy, max_drop: 0.05}]",
    "validation.warn_only=[language, intent]",
)


@pytest.hookimpl(tryfirst=True)  # before xdist looks at groups
def pytest_collection_modifyitems(items):
    """Runs tests without TensorFlow first, then those with it, then those that run pipelines.

    Two workers (`make test`) share them by folder, so that what a folder's tests have in common is made once; tests that run pipelines by
    file, but for the files that look at one shared run.
    """
    items.sort(key=_rank)
    of_shared_run = {item.path for item in items if "shared_run" in item.fixturenames}
    for item in items:
        place = item.path.parent if _rank(item) < 2 else item.path
        group = "shared run" if item.path in of_shared_run else str(place.relative_to(PROJECT))
        item.add_marker(pytest.mark.xdist_group(group))


def _rank(item):
    return 2 if item.get_closest_marker("end_to_end") else 1 if item.get_closest_marker("tensorflow") else 0


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """Folder of the real data sets (see benchmarks/README.md); tests that need it skip without it."""
    folder = pathlib.Path(os.environ.get("PARLANCE_DATA", PROJECT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data sets in {folder}; name their folder in PARLANCE_DATA")
    return folder


def parlance(*arguments: Any, cwd: pathlib.Path = PROJECT, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs the command line as a user would."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
        **options,
    )


def run_arguments(root: pathlib.Path, *more: str) -> list[str]:
    """The arguments of a run of the small intents pipeline."""
    settings = [word for setting in SMALL_INTENTS for word in ("--set", setting)]
    return ["run", "--root", str(root), *settings, *more]


class SharedRun:
    """One finished run of the small intents pipeline, with its root."""

    def __init__(self, root: pathlib.Path):
        shown = parlance(*run_arguments(root, "--output", "json"))
        assert shown.returncode == 0, shown.stdout + shown.stderr
        self.root = root
        self.record: dict[str, Any] = json.loads(shown.stdout)
        self.progress = shown.stderr

    def output(self, node_id: str, channel: str) -> pathlib.Path:
        """The artifact a node of this run wrote to a channel."""
        [execution_id] = [node["execution_id"] for node in self.record["nodes"] if node["id"] == node_id]
        return self.root / "pipelines" / "intents" / node_id / channel / str(execution_id)


@pytest.fixture(scope="session")
def shared_run(tmp_path_factory) -> SharedRun:
    """The run that all end-to-end tests look at. They must not change its root."""
    return SharedRun(tmp_path_factory.mktemp("shared") / "root")
