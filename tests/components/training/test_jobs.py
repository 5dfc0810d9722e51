import dataclasses
import json
import pathlib
import types

import pytest

from components.errors import EnvironmentFailure, UsageError
from components.training import jobs

ARGUMENTS = types.SimpleNamespace(
    custom_config={"model": {}},
    train_files=("a.gz", "b.gz"),
    eval_files=("c.gz",),
    schema_path="schema.pbtxt",
    transform_graph_path="transform",
    serving_model_dir="model",
    model_run_dir="run",
    working_dir="of no interest",
)


@pytest.fixture
def job():
    return jobs.Job.of(ARGUMENTS)


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path / "jobs")


def in_turn(*actions):
    """A clock that does one thing after the other while somebody waits."""
    waiting = list(actions)

    def sleep(seconds):
        assert waiting, "waited for ever"
        waiting.pop(0)()

    return sleep


def never(seconds):
    raise AssertionError("waited")


def left(folder):
    return sorted(path.name for path in pathlib.Path(folder).iterdir())


class TestHandingOver:
    def test_waits_until_the_chief_is_done_and_leaves_nothing(self, job, folder):
        taken = []
        jobs.hand_over(
            job, folder, in_turn(lambda: None, lambda: taken.append(jobs.take(folder, never)), lambda: jobs.finish(job, folder))
        )
        assert taken == [job]
        assert job.train_files == ["a.gz", "b.gz"]
        assert left(folder) == []

    def test_tells_why_a_job_was_refused(self, job, folder):
        with pytest.raises(UsageError, match="two labels or more"):
            jobs.hand_over(job, folder, in_turn(lambda: jobs.finish(job, folder, "A classifier needs two labels or more")))
        assert left(folder) == []

    def test_takes_the_job_back_when_it_is_interrupted(self, job, folder):
        with pytest.raises(AssertionError, match="waited"):
            jobs.hand_over(job, folder, never)
        assert left(folder) == []

    def test_leaves_a_newer_job_alone(self, job, folder):
        newer = dataclasses.replace(job, id="newer")

        def replace():
            jobs.hand_over(newer, folder, in_turn(lambda: jobs.finish(newer, folder), lambda: None))

        # The newer one is handed over and done while this one still waits; what is left is this one's done mark, which it removes.
        jobs.hand_over(job, folder, in_turn(replace, lambda: jobs.finish(job, folder)))
        assert left(folder) == []

    def test_says_that_the_folder_cannot_be_written_to(self, job, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(EnvironmentFailure, match="model.distribution.jobs is not writable"):
            jobs.hand_over(job, str(tmp_path / "file"), never)


class TestMembers:
    def test_wait_for_a_job(self, job, folder):
        found = jobs.take(folder, in_turn(lambda: None, lambda: start(job, folder)))
        assert found == job

    def test_do_no_job_twice(self, job, folder):
        start(job, folder)
        jobs.finish(job, folder)
        newer = dataclasses.replace(job, id="newer")
        assert jobs.take(folder, in_turn(lambda: None, lambda: start(newer, folder))) == newer

    def test_that_are_not_the_chief_wait_until_it_is_done(self, job, folder):
        start(job, folder)
        jobs.wait_until_done(job, folder, in_turn(lambda: None, lambda: jobs.finish(job, folder)))

    def test_do_not_wait_for_a_job_that_is_gone(self, job, folder):
        start(dataclasses.replace(job, id="newer"), folder)
        jobs.wait_until_done(job, folder, never)


def start(job, folder):
    """Leaves a job in the folder without waiting for it."""
    place = pathlib.Path(folder)
    place.mkdir(exist_ok=True)
    (place / "job.json").write_text(json.dumps(dataclasses.asdict(job)))
