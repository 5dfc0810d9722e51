"""Run records on disk."""

import pytest

from components.errors import UsageError
from pipeline import records


@pytest.fixture
def runs(tmp_path):
    found = records.Records(tmp_path)
    for run_id in ("intents-20260101-000000-aaaa", "intents-20260102-000000-bbbb"):
        folder = found.folder / run_id
        folder.mkdir(parents=True)
        records.write(folder, {"run_id": run_id, "state": "succeeded"})
    return found


def test_latest_and_unique_beginnings_name_a_run(runs):
    assert runs.one("intents-20260101")["run_id"].endswith("aaaa")
    assert runs.one("latest")["run_id"] in {record["run_id"] for record in runs.all()}


@pytest.mark.parametrize(("name", "message"), [("intents", "Several runs"), ("taxi", "No run is called 'taxi'")])
def test_other_names_list_the_runs(runs, name, message):
    with pytest.raises(UsageError, match=message):
        runs.one(name)


def test_a_damaged_record_does_not_hide_the_others(runs):
    (runs.folder / "intents-20260101-000000-aaaa" / records.FILE_NAME).write_text("{half")
    assert len(runs.all()) == 1


def test_writing_leaves_nothing_but_the_record(runs):
    folder = runs.folder / "intents-20260101-000000-aaaa"
    records.write(folder, {"run_id": folder.name, "state": "failed"})
    assert [path.name for path in folder.iterdir()] == [records.FILE_NAME]
