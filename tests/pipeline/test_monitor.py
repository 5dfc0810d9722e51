"""The command `parlance monitor`, as a user types it."""

import json

import numpy as np
import pytest
import yaml

from pipeline import cli, records
from tests.components.monitoring import logs
from tests.pipeline.test_results import Root, State

DAY = 86_400
START = 20_451 * DAY  # 2025-12-29
DAYS = 30
SCHEMA = "".join(f'feature {{ name: "{name}" type: BYTES }}\n' for name in ("text", "intent", "language"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, with a pipeline file and its schema."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "schema.pbtxt").write_text(SCHEMA)
    pipeline = {
        "name": "intents",
        "data": {
            "source": {"type": "csv", "path": "rows.csv"},
            "text": "text",
            "label": "intent",
            "segments": ["language"],
            "timestamp": "at",
        },
        "schema": "schema.pbtxt",
        "evaluation": {"gates": [{"metric": "accuracy", "min": 0.5}]},
    }
    (tmp_path / "intents.yaml").write_text(yaml.safe_dump(pipeline))
    return tmp_path


def write_table(folder, flood):
    """40 messages a day; on the last, as many again of one language if `flood`."""
    rng = np.random.default_rng(0)
    lines = ["at,text,intent,language"]
    for day in range(DAYS):
        for number in range(40):
            lines.append(
                f"{START + day * DAY + number},my secret message {number},{rng.choice(['on', 'off'])},{rng.choice(['en', 'de'])}"
            )
        if flood and day == DAYS - 1:
            lines += [f"{START + day * DAY + 5000 + number},buy now,on,xx" for number in range(40)]
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")


def monitor(capsys, *arguments):
    """Exit code and JSON."""
    code = cli.main(["monitor", "intents.yaml", "--output", "json", *arguments])
    return code, json.loads(capsys.readouterr().out)


class TestTable:
    def test_a_flood_is_an_error_and_says_of_what(self, folder, capsys):
        write_table(folder, flood=True)
        assert cli.main(["monitor", "intents.yaml"]) == 1
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith("FAIL  On 2026-01-27, the number of rows was 80, expected")
        assert "the share of language=xx was 50.0%, expected 0.0% to" in lines[1]
        assert lines[-1] == f"report   {folder / '.parlance' / 'monitoring' / 'intents.html'}"
        page = (folder / ".parlance" / "monitoring" / "intents.html").read_text()
        assert "language=xx" in page
        assert "secret" not in page + "".join(lines)

    def test_without_one_there_is_nothing_unusual(self, folder, capsys):
        write_table(folder, flood=False)
        assert cli.main(["monitor", "intents.yaml"]) == 0
        assert capsys.readouterr().out.startswith("nothing unusual\n")

    def test_json_says_what_was_looked_at(self, folder, capsys):
        write_table(folder, flood=True)
        code, result = monitor(capsys, "--report", "page.html")
        assert code == 1
        assert {name: result[name] for name in ("pipeline", "source", "unit", "periods", "first", "since", "last", "report")} == {
            "pipeline": "intents", "source": "data of intents", "unit": "day", "periods": 30, "first": "2025-12-29",
            "since": "2026-01-27", "last": "2026-01-27", "report": str(folder / "page.html"),
        }  # fmt: skip
        assert result["findings"][0]["severity"] == "error"
        assert (folder / "page.html").exists()

    def test_until_looks_at_the_time_before(self, folder, capsys):
        write_table(folder, flood=True)
        code, result = monitor(capsys, "--until", "2026-01-27")
        assert (code, result["last"], result["findings"]) == (0, "2026-01-26", [])

    @pytest.mark.parametrize(("since", "first"), [("3", "2026-01-25"), ("2026-01-20", "2026-01-20"), ("all", "2025-12-29")])
    def test_since(self, folder, capsys, since, first):
        write_table(folder, flood=False)
        assert monitor(capsys, "--since", since)[1]["since"] == first

    def test_settings_and_unit_can_be_overridden(self, folder, capsys):
        write_table(folder, flood=False)
        _, result = monitor(capsys, "--unit", "week", "--set", "monitoring.minimum_history=4", "--until", "2026-01-26")
        assert (result["unit"], result["periods"]) == ("week", 4)
        assert "There are 4 weeks; one is judged when 4 came before it" in result["findings"][0]["message"]
        assert not result["judged"]
        assert "<h1>Too little history to judge</h1>" in (folder / ".parlance" / "monitoring" / "intents.html").read_text()


class TestLog:
    def test_answers_that_change_are_seen(self, folder, capsys):
        rng = np.random.default_rng(0)
        log = folder / "log"
        log.mkdir()
        written = []
        for day in range(DAYS):
            last = day == DAYS - 1
            for number in range(4):
                scores = rng.uniform(0.1, 0.3, 10) if last else rng.uniform(0.7, 0.9, 10)
                answers = rng.choice(["on", "off"], 10).tolist()
                written.append(
                    logs.record(
                        START + day * DAY + number, ["hidden words"] * 10, answers, scores.tolist(), [last] * 10, version=3 + last
                    )
                )
        logs.write(log, written)
        code, result = monitor(capsys, "--log", "log", "--until", "2026-01-28")
        assert code == 1
        found = {finding["subject"]: finding["severity"] for finding in result["findings"]}
        assert found["abstained=true"] == "error"
        assert found["score"] == "error"
        assert next(severity for subject, severity in found.items() if subject.startswith("model_version")) == "info"
        assert not any(subject.startswith("intent") for subject in found)
        assert "hidden words" not in json.dumps(result) + (folder / ".parlance" / "monitoring" / "intents.html").read_text()

    def test_a_server_that_nobody_asks_any_more_is_seen(self, folder, capsys):
        log = folder / "log"
        log.mkdir()
        logs.write(log, [logs.record(START + day * DAY, ["a"] * 20, ["on"] * 20, [0.9] * 20) for day in range(DAYS)])
        code, result = monitor(capsys, "--log", "log", "--until", "2026-01-29")
        assert code == 1
        assert result["findings"][0]["message"].startswith("On 2026-01-28, the number of rows was 0, expected")


class TestRuns:
    def test_each_run_is_a_period_and_runs_over_the_same_data_are_one(self, folder, capsys):
        (folder / "root").mkdir()
        root = Root(folder / "root")
        for number in range(9):
            artifact = root.artifact(f"examples-{number}")
            rows = 5000 if number == 8 else 1000
            labels = {"train": {"on": rows // 2, "off": rows // 2}}
            summary = {"rows": {"train": rows, "quarantined": 0}, "labels": labels, "segments": {}}
            (folder / "root" / f"examples-{number}" / "summary.json").write_text(json.dumps(summary))
            for again in range(2):
                name, order = f"intents-{number}{again}", 2 * number + again + 1
                root.run(name, {"ExampleGen": ("complete", State.COMPLETE, {"examples": artifact})}, order)
                path = folder / "root" / "runs" / name
                records.write(path, {**json.loads((path / "run.json").read_text()), "pipeline": "intents"})
        code, result = monitor(capsys, "--unit", "span", "--root", "root")
        assert (code, result["periods"], result["last"]) == (1, 9, "run intents-80")
        assert result["findings"][0]["message"].startswith("In run intents-80, the number of rows was 5,000, expected")


class TestMistakes:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--log", "nowhere"), "There is no request log nowhere"),
            (("--log", ".", "--unit", "span"), "A request log has no spans"),
            (("--model", "x"), "--model goes with --log"),
            (("--since", "yesterday"), "--since takes a date or time"),
            (("--until", "now"), "--until takes a date or time"),
            (("--set", "monitoring.history=3"), "greater than or equal to 5"),
        ],
    )
    def test_are_explained(self, folder, capsys, arguments, message):
        write_table(folder, flood=False)
        assert cli.main(["monitor", "intents.yaml", *arguments]) == 2
        assert message in capsys.readouterr().err

    def test_a_page_that_cannot_be_written_is_the_environments_fault(self, folder, capsys):
        write_table(folder, flood=False)
        (folder / "file").write_text("")
        assert cli.main(["monitor", "intents.yaml", "--report", "file/page.html"]) == 3
        assert "--report names another place" in capsys.readouterr().err
