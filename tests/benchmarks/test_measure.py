"""What alternating runs are summed up to, and what a command is said to take."""

import sys

import pytest

from benchmarks import measure

OURS = [{"wall_s": 3.0, "cpu_s": 4.0, "peak_mib": 100.0}, {"wall_s": 1.0, "cpu_s": 6.0, "peak_mib": 300.0}]
OURS += [{"wall_s": 2.0, "cpu_s": 5.0, "peak_mib": 200.0}]
STOCK = [{"wall_s": 8.0, "cpu_s": 10.0, "peak_mib": 150.0}]


class TestCompared:
    def test_has_median_lowest_and_highest_of_each_side_and_the_ratio_of_medians(self):
        row = measure.compared("work", {"ours": OURS, "stock": STOCK}, 1000)
        assert row["runs"] == {"ours": 3, "stock": 1}
        assert row["ours"]["wall_s"] == {"median": 2.0, "min": 1.0, "max": 3.0}
        assert row["stock"]["peak_mib"] == {"median": 150.0, "min": 150.0, "max": 150.0}
        assert row["ratio"] == {"wall_s": 0.25, "cpu_s": 0.5, "peak_mib": pytest.approx(4 / 3)}

    def test_without_stock_there_is_no_ratio(self):
        row = measure.compared("work", {"ours": OURS})
        assert "ratio" not in row
        assert "stock" not in row

    def test_a_number_that_some_run_lacks_is_left_out(self):
        row = measure.compared("work", {"ours": [{"wall_s": 1.0, "peak_mib": 5.0}, {"wall_s": 2.0, "peak_mib": None}]})
        assert list(row["ours"]) == ["wall_s"]

    def test_another_number_may_be_compared(self):
        row = measure.compared("work", {"ours": [{"seconds": 2.0}], "stock": [{"seconds": 4.0}]}, 10, "seconds")
        assert row["ratio"] == {"seconds": 0.5}


class TestTable:
    def test_shows_medians_with_lowest_and_highest_rows_a_second_and_the_ratio(self):
        lines = measure.table([measure.compared("work", {"ours": OURS, "stock": STOCK}, 1000)]).splitlines()
        assert lines[2] == "| work | 1,000 | 3 / 1 | 2.00 s (1.00 to 3.00) | 500 | 8.00 s | 0.25 | 200 (100 to 300) | 150 |"

    def test_leaves_cells_empty_where_there_is_nothing(self):
        row = measure.compared("request", {"ours": [{"wall_s": 0.00125}]}, unit="ms")
        assert measure.table([row]).splitlines()[2] == "| request |  | 1 | 1.25 ms |  |  |  |  |  |"


def test_the_result_of_an_area_has_the_headlines_medians():
    rows = [measure.compared("warm-up", {"ours": OURS}), measure.compared("work", {"ours": OURS, "stock": STOCK}, 1000)]
    result = measure.result("area", rows, {"more": 1}, headline=1)
    assert (result["rows"], result["wall_ratio"]) == (1000, 0.25)
    assert result["ours"] == {"wall_s": 2.0, "cpu_s": 5.0, "peak_mib": 200.0}
    assert measure.result("area", rows, {})["stock"] is None


class TestCommand:
    def test_counts_what_its_children_read_and_looks_at_memory(self):
        child = "import sys; open('/dev/zero', 'rb').read(64 << 20)"
        code = f"import subprocess, sys, time; time.sleep(0.3); subprocess.run([sys.executable, '-c', {child!r}]); print('done')"
        looks = []
        printed, taken = measure.command([sys.executable, "-c", code], looks=looks)
        assert printed == "done\n"
        assert 64 <= taken["read_mib"] < 80
        assert taken["wall_s"] >= 0.3
        assert taken["peak_mib"] == max(mib for _, mib in looks) > 1

    def test_that_fails_is_an_error_with_what_it_said(self):
        with pytest.raises(RuntimeError, match="ended with 3:\noh no"):
            measure.command([sys.executable, "-c", "import sys; sys.stderr.write('oh no'); sys.exit(3)"])

    def test_that_takes_too_long_is_ended(self):
        with pytest.raises(RuntimeError, match="did not end within"):
            measure.command([sys.executable, "-c", "import time; time.sleep(60)"], timeout=0.3)
