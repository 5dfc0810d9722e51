import concurrent.futures
import threading

import pytest

pytestmark = pytest.mark.tensorflow

partial_results = pytest.importorskip("components.transform.partial_results")


class Made:
    """Makes a result and remembers of what."""

    def __init__(self):
        self.files = []

    def __call__(self, file):
        self.files.append(file)
        return f"result {len(self.files)}".encode()


@pytest.fixture
def made():
    return Made()


def file(folder, name, content=b"rows"):
    path = folder / name
    path.write_bytes(content)
    return str(path)


def results(folder, run, analysis="quantiles"):
    return partial_results.PartialResults(str(folder / "cache" / str(run)), analysis)


class TestPartialResults:
    def test_of_an_earlier_run_are_found_by_content(self, tmp_path, made):
        first = results(tmp_path, 7).get(file(tmp_path, "a"), made)
        later = results(tmp_path, 12)
        assert later.get(file(tmp_path, "another name"), made) == first
        assert (later.found, later.made, len(made.files)) == (1, 0, 1)

    def test_go_on_being_found_while_every_run_uses_them(self, tmp_path, made):
        for run in range(1, 2 + partial_results._MOST_EARLIER * 2):
            results(tmp_path, run).get(file(tmp_path, "a"), made)
        assert len(made.files) == 1

    @pytest.mark.parametrize(("content", "analysis"), [(b"other rows", "quantiles"), (b"rows", "means")])
    def test_of_something_else_are_not_taken(self, tmp_path, made, content, analysis):
        first = results(tmp_path, 7).get(file(tmp_path, "a"), made)
        later = results(tmp_path, 12, analysis)
        assert later.get(file(tmp_path, "a", content), made) != first
        assert (later.found, later.made) == (0, 1)

    def test_of_a_run_that_was_killed_are_not_taken(self, tmp_path, made):
        results(tmp_path, 7).get(file(tmp_path, "a"), made)
        [kept] = (tmp_path / "cache" / "7").iterdir()
        kept.rename(f"{kept}.unfinished")
        results(tmp_path, 12).get(file(tmp_path, "a"), made)
        assert len(made.files) == 2

    def test_of_folders_that_are_no_runs_are_not_looked_at(self, tmp_path, made):
        results(tmp_path, 7).get(file(tmp_path, "a"), made)
        (tmp_path / "cache" / "7").rename(tmp_path / "cache" / "7.old")
        results(tmp_path, 12).get(file(tmp_path, "a"), made)
        assert len(made.files) == 2

    def test_of_two_files_of_equal_content_may_be_made_at_once(self, tmp_path):
        kept, both = results(tmp_path, 7), threading.Barrier(2, timeout=30)
        files = [file(tmp_path, name) for name in ("a", "b")]
        rename = partial_results.tf.io.gfile.rename

        def rename_when_both_are_written(*names, **options):
            both.wait()
            rename(*names, **options)

        with pytest.MonkeyPatch.context() as patched, concurrent.futures.ThreadPoolExecutor(2) as threads:
            patched.setattr(partial_results.tf.io.gfile, "rename", rename_when_both_are_written)
            assert list(threads.map(lambda path: kept.get(path, lambda _: b"the same"), files)) == [b"the same"] * 2
        [only] = (tmp_path / "cache" / "7").iterdir()
        assert only.read_bytes() == b"the same"
