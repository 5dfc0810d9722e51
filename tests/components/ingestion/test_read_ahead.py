import threading
import time

import pyarrow as pa
import pyarrow.csv
import pytest

from components.ingestion.read_ahead import ReadAhead

BLOCK = 1 << 16


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("number,text\n" + "".join(f"{number},{'x' * 90}\n" for number in range(40_000)))
    return path


def opened(file):
    """Rows as ingestion reads them, in smaller blocks."""
    options = pyarrow.csv.ReadOptions(block_size=BLOCK, use_threads=False)
    return pyarrow.csv.open_csv(file.arrow, options, pyarrow.csv.ParseOptions(newlines_in_values=True))


def settled(file):
    """Where the file is read to, once nothing more is read."""
    place = -1
    while place != (place := file._file.tell()):
        time.sleep(0.1)
    return place


def test_reads_the_whole_file(path):
    with ReadAhead(path) as file:
        table = pa.Table.from_batches(file.asked_for(opened(file)))
    assert table["number"].to_pylist() == list(range(40_000))
    assert file.closed


def test_reads_no_further_than_someone_wants(path):
    with ReadAhead(path, blocks=3) as file:
        batches = file.asked_for(opened(file))
        for asked_for in range(1, 5):
            next(batches)
            assert settled(file) <= (asked_for + 4) * BLOCK < path.stat().st_size / 2


def test_a_row_longer_than_what_is_read_ahead_is_no_dead_end(tmp_path):
    path = tmp_path / "long.csv"
    path.write_text("number,text\n" + "".join(f'{number},"{"long " * 12_000}"\n' for number in range(9)))
    with ReadAhead(path, blocks=1) as file:
        assert sum(batch.num_rows for batch in file.asked_for(opened(file))) == 9


def test_a_reader_that_fails_is_none_either(tmp_path):
    path = tmp_path / "long.csv"
    path.write_text('number,text\n1,"' + "long\n" * 100_000 + '"\n2,short\n')
    with ReadAhead(path, blocks=1) as file, pytest.raises(pa.ArrowInvalid, match="straddling"):
        list(file.asked_for(opened(file)))


def test_whoever_stops_early_leaves_no_thread_waiting(path):
    before = threading.active_count()
    with ReadAhead(path, blocks=1) as file:
        batches = file.asked_for(opened(file))
        next(batches)
        batches.close()
    del batches
    assert file.read(10) == b""
    assert threading.active_count() <= before + 1


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        ReadAhead(tmp_path / "nothing.csv")
