"""The suite keeps what it measured, and a small sample of it: ours and stock TFX do the same work."""

import json
import sys

import pytest

from benchmarks import measure, suite


def case(area, result=None, code=0):
    """A case whose command ends with a result, or fails."""

    class Fake(suite.Case):
        def command(self, rounds):
            said = f"print({json.dumps(result)!r})" if code == 0 else "sys.stderr.write('out of luck')"
            return [sys.executable, "-c", f"import sys; {said}; sys.exit({code})"]

    return Fake(area)


def result(what, seconds):
    return measure.result(what, [measure.compared(what, {"ours": [{"wall_s": seconds}], "stock": [{"wall_s": 4.0}]})], {})


class TestRun:
    def test_writes_json_and_markdown_with_machine_versions_and_commands(self, tmp_path):
        suite.run([case("taxi", result("taxi", 1.0))], tmp_path)
        stored = json.loads((tmp_path / "results.json").read_text())
        assert stored["cases"]["taxi"]["result"]["wall_ratio"] == 0.25
        assert stored["machine"]["cores"] >= 1
        page = (tmp_path / "results.md").read_text()
        assert "| taxi |  | 1 | 1.00 s |  | 4.00 s | 0.25 |  |  |" in page
        assert f"tfx {stored['machine']['versions']['tfx']}" in page
        assert stored["cases"]["taxi"]["command"] in page
        assert page.startswith(stored["date"][:10])

    def test_a_case_that_fails_is_noted_and_the_next_one_runs(self, tmp_path):
        suite.run([case("startup", code=3), case("taxi", result("taxi", 1.0))], tmp_path)
        stored = json.loads((tmp_path / "results.json").read_text())["cases"]
        assert stored["startup"]["error"] == "ended with 3: out of luck"
        assert "result" in stored["taxi"]
        assert "out of luck" in (tmp_path / "results.md").read_text()

    def test_an_interrupted_suite_keeps_what_it_has(self, tmp_path):
        class Interrupted(suite.Case):
            def command(self, rounds):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            suite.run([case("taxi", result("taxi", 1.0)), Interrupted("startup")], tmp_path)
        assert list(json.loads((tmp_path / "results.json").read_text())["cases"]) == ["taxi"]

    def test_known_cases_are_kept_and_measured_ones_replaced(self, tmp_path):
        known = suite.run([case("taxi", result("taxi", 1.0)), case("startup", result("startup", 1.0))], tmp_path)["cases"]
        suite.run([case("taxi", result("taxi", 2.0))], tmp_path, known=known)
        stored = json.loads((tmp_path / "results.json").read_text())["cases"]
        assert {name: one["result"]["wall_ratio"] for name, one in stored.items()} == {"startup": 0.25, "taxi": 0.5}


class TestChosen:
    def test_cases_are_of_areas_and_rows(self):
        assert [one.name for one in suite.chosen(["taxi"], [15_002], False)] == ["taxi --rows 15002"]
        assert [one.name for one in suite.chosen(["taxi", "startup"], [150_020], False)] == ["startup", "taxi --rows 150020"]
        assert {one.area for one in suite.chosen(None, None, True)} == set(suite.AREAS)
        assert suite.chosen(["taxi"], [7], False) == []

    def test_rounds_given_replace_a_cases_own(self):
        [one] = suite.chosen(["taxi"], [1_500_200], False)
        assert one.command(None)[-2:] == ["--rounds", "1"]
        assert one.command(5)[-2:] == ["--rounds", "5"]


@pytest.mark.tensorflow
def test_a_small_sample_of_ours_and_stock(tmp_path, monkeypatch, capsys):
    """The real command on 1,500 trips; no time is asserted."""
    monkeypatch.setattr(sys, "argv", ["suite", "--areas", "taxi", "--quick", "--output", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        suite.main()
    stored = json.loads((tmp_path / "results.json").read_text())["cases"]
    [only] = stored.values()
    assert ended.value.code == 0, only
    cold, untrained = only["result"]["comparisons"]
    runs = only["result"]["detail"]["1500"]["cold"]
    [ours], [stock] = runs["ours"], runs["stock"]

    assert sum(ours["rows"].values()) == sum(stock["rows"].values()) == 1_500
    assert ours["rows"]["quarantined"] == 0
    # Each hashes rows its own way, so the test splits, and what they say, are as close as 150 rows of a fair sample are.
    assert stock["metrics"]["example_count"] == stock["rows"]["test"]
    assert ours["rows"]["test"] == pytest.approx(stock["rows"]["test"], abs=60)
    assert ours["metrics"]["accuracy"] == pytest.approx(stock["metrics"]["sparse_categorical_accuracy"], abs=0.15)
    assert {"StatisticsGen", "Transform", "Trainer", "Evaluator"} <= ours["nodes"].keys() & stock["nodes"].keys()
    assert set(ours["states"].values()) == {"complete"}

    for side in ("ours", "stock"):
        assert cold[side]["peak_mib"]["median"] >= max(runs[side][0]["node_peak_mib"].values()) > 100
        assert 0 < untrained[side]["untrained_s"]["median"] < cold[side]["wall_s"]["median"]
    page = (tmp_path / "results.md").read_text()
    assert "| taxi, cold | 1,500 | 1 |" in page
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["detail"] == {"failed": []}
