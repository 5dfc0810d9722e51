"""Lines through runs, and what they say of more rows than were measured."""

import dataclasses
import json

import pytest

from benchmarks import cost

MACHINE = {"cpu": "a processor", "cores": 2, "memory_gib": 16.0}
GB = 1e9


def run_on_a_line(table):
    """A run whose every number is on a line along rows: 5 s and 2 ms a row, 1 KiB of memory a row, and so on."""
    rows = table.rows
    seconds = {"ExampleGen": 1e-5, "StatisticsGen": 2e-5, "Transform": 3e-5, "Trainer": 1e-4, "Evaluator": 5e-5}
    return {
        "wall_s": 5 + 2e-3 * rows,
        "cpu_s": 10 + 4e-3 * rows,
        "peak_mib": 1000 + rows / 1024,
        "read_mib": 50 + rows * 500 / 2**20,
        **{f"{node} s": 1 + rise * rows for node, rise in seconds.items()},
        **{f"{node} bytes": 100.0 * rows for node in cost.NODES},
        "stored bytes": 500.0 * rows,
        "source bytes": 25.0 * rows,
    }


@pytest.fixture
def result(monkeypatch):
    monkeypatch.setattr(cost, "run_once", run_on_a_line)
    return cost.sweep("rows", (1_000, 2_000, 5_000), {})


def test_lines_are_those_that_runs_are_on(result):
    assert result["lines"]["wall_s"] == pytest.approx((5, 2e-3))
    assert cost.farthest(result, "wall_s") == pytest.approx(0, abs=1e-9)


def test_a_run_far_from_the_line_is_told(monkeypatch):
    monkeypatch.setattr(
        cost, "run_once", lambda table: {**run_on_a_line(table), "wall_s": {10: 1.0, 20: 4.0, 30: 3.0}[table.rows]}
    )
    assert cost.farthest(cost.sweep("rows", (10, 20, 30), {}), "wall_s") == pytest.approx(2 / 3)


def test_a_table_that_several_axes_share_runs_once(monkeypatch):
    asked = []
    monkeypatch.setattr(cost, "run_once", lambda table: asked.append(table) or run_on_a_line(table))
    known = {}
    cost.sweep("rows", (20_000, 30_000), known)
    cost.sweep("slices", (5, 50), known)
    assert len(asked) == len(known) == 3
    assert dataclasses.replace(cost.Table(), slices=50) in known


def test_limits_come_in_the_order_in_which_they_are_met(result):
    found = cost.limits(result, memory_mib=16 * 1024, free_bytes=500 * GB, epochs=10)
    rows = [limit for limit, _ in found]
    assert rows == sorted(rows)
    assert [what.split(":")[0] for _, what in found[:2]] == ["memory", "time"]
    assert rows[0] == pytest.approx((16 * 1024 - 1000) * 1024)
    # Ten epochs of 0.1 ms a row.
    assert found[1][1].startswith("time: Trainer (copies of the network (`model.distribution`), at most 10 epochs)")
    assert rows[1] == pytest.approx((cost._DAY - 1) / 1e-3, rel=1e-6)
    assert {what.split(":")[0]: limit for limit, what in found}["disk"] == pytest.approx(1e9)


def test_what_does_not_grow_is_no_limit(result):
    flat = dict(result, lines={**result["lines"], "peak_mib": (1000.0, 0.0), "stored bytes": (1.0, -1.0)})
    assert cost.reached(flat, "peak_mib", 4096) == cost.reached(flat, "stored bytes", 1e9) == float("inf")
    assert cost.at(flat, "stored bytes", 10) == 0.0


def test_what_stops_growing_is_extrapolated_from_the_largest_tables(monkeypatch):
    monkeypatch.setattr(
        cost, "run_once", lambda table: {**run_on_a_line(table), "peak_mib": {1: 100.0, 2: 300.0, 3: 300.0}[table.rows]}
    )
    swept = cost.sweep("rows", (1, 2, 3), {})
    assert swept["lines"]["peak_mib"][1] > 0
    assert cost.at(cost.last_stretch(swept), "peak_mib", 1e9) == pytest.approx(300)


def test_passes_count_how_often_table_and_examples_are_read(result):
    assert cost.passes(result) == pytest.approx(500 / (25 + 100))


def test_the_section_has_runs_lines_and_what_breaks_first(result):
    page = cost.markdown([result], MACHINE, 500 * GB, epochs=10)
    assert (
        "Measured from 1,000 to 5,000 rows; everything beyond is the line through the two largest tables, 200,000 times" in page
    )
    assert "| Evaluator, hours | 13.9 | 1,388.9 |" in page
    assert "| stored by the nodes, GB | 500 | 50,000 |" in page
    assert "A run reads table and examples 4.0 times over." in page
    assert "1. 16,000,000 rows: memory: the run's peak is the machine's 16 GiB." in page
    assert "First to break: memory" in page
    assert "The node that grows most with rows is Trainer, 100 s for each million." in page


def test_other_axes_have_lines_alone(monkeypatch):
    monkeypatch.setattr(cost, "run_once", run_on_a_line)
    page = cost.markdown([cost.sweep("slices", (5, 50), {})], MACHINE, GB, 10)
    assert "wall_s by slices" in page
    assert "A billion rows" not in page


def test_the_command_writes_what_it_measured(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(cost, "run_once", run_on_a_line)
    monkeypatch.setattr("sys.argv", ["cost", "--quick", "--output", str(tmp_path)])
    cost.main()
    assert json.loads((tmp_path / "cost.json").read_text())["results"][0]["sizes"] == [2_000, 4_000]
    assert (tmp_path / "cost.md").read_text() in capsys.readouterr().out


def test_sizes_need_their_axis(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["cost", "--sizes", "10", "20"])
    with pytest.raises(SystemExit):
        cost.main()
    assert "--sizes needs one --axis and at least two sizes; received None and [10, 20]" in capsys.readouterr().err
