"""The command `parlance skew`, as a user types it, over logs that the server's own writer wrote."""

import html
import json

import numpy as np
import pytest
import yaml

from components.ingestion import ingest
from components.validation import arrow_statistics, schema_file
from pipeline import cli, config, logged_data, records
from serving.messages import PredictRequest, PredictResponse
from serving.server.request_log import RequestLog, RequestLogOptions
from serving.tensors import Tensor, to_proto
from tests.pipeline.test_results import Root, State

pytestmark = pytest.mark.tensorflow

ROWS = 1500
VERSION = 1_795_320_309
RUN = "tickets-20261122-040110-4a7d"
SECRET = "zanzibar"
SCHEMA = """
feature { name: "text" type: BYTES }
feature { name: "channel" type: BYTES }
feature { name: "fare" type: FLOAT }
feature { name: "region" type: BYTES not_in_environment: "SERVING" }
feature { name: "queue" type: BYTES not_in_environment: "SERVING" }
"""
PIPELINE = {
    "name": "tickets",
    "data": {
        "source": {"type": "csv", "path": "rows.csv"},
        "text": "text",
        "label": "queue",
        "segments": ["region"],
        "group": "conversation",
        "split": {"by": "group"},
    },
    "schema": "schema.pbtxt",
    "evaluation": {"gates": [{"metric": "accuracy", "min": 0.5}]},
}
WORDS = [f"{first}{last}" for first in "bdfgklmnprstvz" for last in ("ab", "en", "ir", "ol", "um")]


def messages(rng, count, web=0.6, fare=1.0, words=WORDS):
    """Columns of so many messages: what may move is the share of the channel web, the scale of fares, and the words."""
    return {
        "text": [" ".join(rng.choice(words, 6)) for _ in range(count)],
        "channel": np.where(rng.random(count) < web, "web", "phone").tolist(),
        "fare": (fare * rng.lognormal(2, 0.5, count)).astype(np.float32).round(2).tolist(),
    }


def write_log(folder, columns, model="tickets"):
    """Logs each message as a request of its own, as a server does."""
    log = RequestLog(RequestLogOptions(folder, sampling_rate=1.0))
    log.start()
    for row in zip(*columns.values(), strict=True):
        request, response = PredictRequest(), PredictResponse()
        request.model_spec.name = response.model_spec.name = model
        response.model_spec.version.value = VERSION
        for name, value in zip(columns, row, strict=True):
            request.inputs[name].CopyFrom(to_proto(Tensor.of(np.float32([value]) if name == "fare" else [value])))
        response.outputs["label"].CopyFrom(to_proto(Tensor.of(["billing"])))
        response.outputs["score"].CopyFrom(to_proto(Tensor.of(np.float32([0.9]))))
        log.record(request, response, seconds=0.002, origin="GRPC")
    log.close()


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with a pipeline file, and a root with the run that made a released model."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "schema.pbtxt").write_text(SCHEMA)
    (folder / "tickets.yaml").write_text(yaml.safe_dump(PIPELINE))
    rng = np.random.default_rng(0)
    table = messages(rng, ROWS)
    table |= {
        "region": rng.choice(["north", "south"], ROWS).tolist(),
        "queue": rng.choice(["billing", "returns"], ROWS).tolist(),
        "conversation": [f"c{number}" for number in range(ROWS)],
    }
    rows = [",".join(map(str, row)) for row in zip(*table.values(), strict=True)]
    (folder / "rows.csv").write_text("\n".join([",".join(table), *rows]) + "\n")
    root = Root(_made(folder / "root"))
    examples, statistics = root.artifact("examples"), root.artifact("statistics")
    settings = {**PIPELINE, "data": {**PIPELINE["data"], "source": {"type": "csv", "path": str(folder / "rows.csv")}}}
    loaded = config.PipelineConfig.model_validate({**settings, "schema": str(folder / "schema.pbtxt")})
    schema = schema_file.parse(SCHEMA)
    ingest.ingest(loaded.data, schema, None, str(root.path / "examples"), str(folder / "quarantine"))
    train = _made(root.path / "statistics" / "Split-train") / "FeatureStats.pb"
    files = sorted((root.path / "examples" / "Split-train").glob("*.gz"))
    computed = arrow_statistics.compute({"train": files}, schema)["train"]
    train.write_bytes(computed.SerializeToString())
    made = {
        "ExampleGen": ("complete", State.COMPLETE, {"examples": examples}),
        "StatisticsGen": ("complete", State.COMPLETE, {"statistics": statistics}),
    }
    root.run(RUN, made, order=1)
    release = _made(root.path / "serving" / "tickets" / str(VERSION))
    (release / "manifest.json").write_text(json.dumps({"run": RUN, "version": VERSION}))
    return folder


def _made(folder):
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def skew(project, tmp_path, monkeypatch, capsys):
    """Types the command over a log of some messages; returns exit code, what it printed and its page."""
    monkeypatch.chdir(project)

    def typed(columns, *arguments, model="tickets"):
        if columns is not None:
            write_log(tmp_path / "log", columns, model)
        page = tmp_path / "page.html"
        code = cli.main(
            ["skew", "tickets.yaml", "--root", "root", "--log", str(tmp_path / "log"), "--report", str(page), *arguments]
        )
        printed = capsys.readouterr()
        return code, printed.out + printed.err, page.read_text() if page.exists() else ""

    return typed


def found(result):
    """Severity by subject of the findings that matter."""
    return {one["subject"]: one["severity"] for one in result["findings"] if one["severity"] != "info"}


class TestComparison:
    def test_a_log_of_the_same_kind_has_no_skew_and_leaves_nothing_but_the_page(self, skew, tmp_path, project):
        code, printed, page = skew(messages(np.random.default_rng(1), 800))
        lines = printed.splitlines()
        assert code == 0
        assert lines[0] == "what the model is asked is like what it was trained on"
        assert "no columns 'conversation', 'region'" in lines[1]
        assert lines[2].startswith("compared 800 rows of requests to tickets with 1,")
        assert f"version {VERSION} was trained on (run {RUN})" in lines[2]
        assert "<h1>No skew</h1>" in page
        assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "page.html"]
        assert [path.name for path in (project / "root" / "runs").iterdir()] == [RUN]

    def test_a_moved_column_is_named_with_both_distributions(self, skew):
        code, printed, page = skew(messages(np.random.default_rng(1), 800, web=0.2))
        assert code == 0
        [line] = [line for line in printed.splitlines() if line.startswith("warn")]
        assert line.startswith(f"warn  Column 'channel' differs from the training data of tickets version {VERSION}: web 6")
        for part in (
            "% in training, ",
            "% in serving; phone ",
            "PSI ",
            "L-infinity ",
            "Jensen-Shannon divergence ",
            "chance below",
        ):
            assert part in line
        assert "<h1>1 warning</h1>" in page
        assert line.removeprefix("warn  ")[:60] in html.unescape(page)

    def test_severities_of_the_pipeline_file_decide_and_json_holds_all_distances(self, skew):
        columns = messages(np.random.default_rng(1), 800, web=0.2)
        code, printed, _ = skew(columns, "--output", "json", "--set", "validation.severity={channel: {skew: error}}")
        result = json.loads(printed)
        assert (code, found(result), result["different"]) == (1, {"channel": "error"}, ["channel"])
        assert result["training"] == {
            "model": "tickets",
            "version": VERSION,
            "run_id": RUN,
            "rows": result["comparison"]["rows"][0],
        }
        assert result["comparison"]["kind"] == "skew"
        # Inputs of the model, and nothing else.
        by_name = {one["column"]: one for one in result["comparison"]["columns"]}
        assert by_name.keys() == {"text", "channel", "fare"}
        channel = by_name["channel"]
        moved = {one["cell"]: round(one["before"] - one["after"], 1) for one in channel["contributions"]}
        assert moved == {"web": 0.4, "phone": -0.4}
        assert channel["psi"] > 0.5 > channel["largest"] > 0.3 > channel["divergence"] > 0.05
        assert not by_name["fare"]["different"]

    def test_another_unit_is_an_error_and_other_words_are_seen_but_never_shown(self, skew):
        words = [SECRET, *(word[::-1] + "q" for word in WORDS)]
        code, printed, page = skew(messages(np.random.default_rng(1), 800, fare=100, words=words), "--output", "json")
        assert (code, found(json.loads(printed))) == (1, {"fare": "error", "text": "warning"})
        assert "looks multiplied by 100" in printed
        assert "of the words are none of the training data of tickets" in printed
        assert SECRET not in printed + page

    def test_requests_to_other_models_and_of_other_times_do_not_count(self, skew):
        code, printed, _ = skew(messages(np.random.default_rng(1), 50), model="other")
        assert code == 2
        assert "holds no logged request of the model 'tickets' (50 records of other models)" in printed
        code, printed, _ = skew(None, "--model", "other", "--until", "2020-01-01")
        assert code == 2
        assert "(50 records of other times)" in printed


class TestMistakes:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--log", "nowhere"), "There is no request log nowhere"),
            (("--log", ".", "--version", "3"), r"There is no version 3 of tickets in"),
            (("--log", ".", "--since", "yesterday"), "--since takes a date or time"),
            (("--log", ".", "--root", "elsewhere"), "There is no released model in"),
        ],
    )
    def test_are_explained(self, project, monkeypatch, capsys, arguments, message):
        monkeypatch.chdir(project)
        assert cli.main(["skew", "tickets.yaml", "--root", "root", *arguments]) == 2
        assert message in capsys.readouterr().err


class TestRunsOverALog:
    @pytest.fixture
    def logged(self, project, monkeypatch):
        monkeypatch.chdir(project)
        return config.load("tickets.yaml", ["data.source={type: prediction_log, path: log, model: tickets, label: queue}"])

    @pytest.mark.parametrize("to_node", [None, "Trainer", "Transform"])
    def test_train_nothing(self, logged, to_node):
        from components.errors import UsageError

        with pytest.raises(UsageError, match=r"no model is trained on it.*`parlance skew FILE --log log`.*--to DataGate"):
            logged_data.refuse_training(logged, to_node)

    def test_may_end_at_the_data_gate(self, logged, project):
        logged_data.refuse_training(logged, "DataGate")
        logged_data.refuse_training(config.load("tickets.yaml"))

    def test_are_not_what_a_later_run_goes_on_from(self, logged, tmp_path):
        table = config.load("tickets.yaml")

        def ran(number, loaded, state="complete"):
            run_id = f"tickets-2026112{number}-000000-0000"
            folder = _made(tmp_path / "runs" / run_id)
            (folder / "config.yaml").write_text(yaml.safe_dump(loaded.effective()))
            records.write(folder, {"run_id": run_id, "pipeline": "tickets", "nodes": [{"id": "ExampleGen", "state": state}]})
            return run_id

        known = records.Records(tmp_path)
        assert logged_data.base_run(known, table, "own") is None
        log = ran(1, logged)
        with pytest.raises(LookupError):
            logged_data.base_run(known, table, "own")
        first, _, _ = ran(2, table), ran(3, table, "failed"), ran(4, logged)
        assert logged_data.base_run(known, table, "own") == first
        assert logged_data.base_run(known, logged, "tickets-20261124-000000-0000") == log
