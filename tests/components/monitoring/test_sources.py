"""Timelines of tables, request logs and runs."""

import numpy as np
import pytest
from tensorflow_metadata.proto.v0 import schema_pb2

from components.errors import UsageError
from components.ingestion.options import DataOptions
from components.monitoring import sources
from components.monitoring.options import MonitoringOptions
from components.monitoring.series import LEVEL, MISSING, ROWS, SHARE
from tests.components.monitoring import logs

DAY = 86_400
START = 20_451 * DAY
NOW = START + 1000 * DAY
OPTIONS = MonitoringOptions()


def schema(**types):
    return schema_pb2.Schema(
        feature=[schema_pb2.Feature(name=name, type=schema_pb2.FeatureType.Value(kind)) for name, kind in types.items()]
    )


SCHEMA = schema(text="BYTES", intent="BYTES", language="BYTES", amount="FLOAT")


def table(tmp_path, content, now=NOW, timestamp="at", **data):
    path = tmp_path / "rows.csv"
    path.write_text(content)
    values = {
        "source": {"type": "csv", "path": str(path)},
        "text": "text",
        "label": "intent",
        "segments": ["language", "amount"],
        "timestamp": timestamp,
        **data,
    }
    return sources.of_table(DataOptions.model_validate(values), SCHEMA, OPTIONS, now)


def names(timeline):
    return [(one.measure, one.column, one.value) for one in timeline.series]


class TestTable:
    CONTENT = (
        "at,text,intent,language,amount\n"
        "2025-12-29T10:00:00,turn it on,on,en,5\n"
        "2025-12-29T23:30:00-02:00,mach an,on,de,\n"
        "2025-12-31,off,off,de,7\n"
    )

    def test_labels_segments_missing_cells_texts_and_numbers(self, tmp_path):
        timeline = table(tmp_path, self.CONTENT)
        assert [timeline.name(index) for index in range(3)] == ["2025-12-29", "2025-12-30", "2025-12-31"]
        assert names(timeline) == [
            (ROWS, "", ""), (SHARE, "intent", "off"), (SHARE, "intent", "on"), (SHARE, "language", "de"), (SHARE, "language", "en"),
            (MISSING, "intent", ""), (MISSING, "text", ""), (MISSING, "language", ""), (MISSING, "amount", ""),
            (LEVEL, "length of text", ""), (LEVEL, "amount", ""),
        ]  # fmt: skip
        assert timeline.series[0].values.tolist() == [1, 1, 1]
        # No text in it, but how long it is.
        assert "turn" not in repr(timeline)
        assert timeline.series[-2].values == pytest.approx([10, 7, 3])

    def test_a_derived_label_is_computed(self, tmp_path):
        timeline = table(tmp_path, self.CONTENT, label="large", derive={"large": "amount > 6"})
        shares = {(one.column, one.value): one.values.tolist() for one in timeline.series if one.measure == SHARE}
        assert shares["large", "true"][2] == 1

    def test_a_day_that_is_not_over_is_left_out(self, tmp_path):
        now = START + 2.5 * DAY
        assert [table(tmp_path, self.CONTENT, now).name(-1), table(tmp_path, self.CONTENT, START + 3 * DAY).name(-1)] == [
            "2025-12-30", "2025-12-31",
        ]  # fmt: skip

    def test_cells_that_are_no_time_are_counted(self, tmp_path):
        timeline = table(tmp_path, self.CONTENT + "yesterday,x,on,de,1\n,x,on,de,1\n2999-01-01,x,on,de,1\n")
        assert (timeline.undated, timeline.future, timeline.series[0].values.sum()) == (2, 1, 3)

    def test_without_a_column_of_time_it_says_what_to_do(self, tmp_path):
        with pytest.raises(UsageError, match="set data.timestamp, or monitoring.unit to span"):
            table(tmp_path, self.CONTENT, timestamp=None)

    def test_a_column_that_is_not_there_is_named(self, tmp_path):
        with pytest.raises(UsageError, match="Monitoring reads 'when', but there is no such column"):
            table(tmp_path, self.CONTENT, timestamp="when")

    def test_all_spans_are_read(self, tmp_path):
        for span, day in ((1, 29), (2, 30)):
            folder = tmp_path / f"span-{span}"
            folder.mkdir()
            (folder / "rows.csv").write_text(f"at,text,intent,language,amount\n2025-12-{day},hi,on,en,5\n")
        source = {"type": "csv", "path": str(tmp_path / "span-{SPAN}" / "*.csv")}
        data = DataOptions.model_validate({"source": source, "text": "text", "label": "intent", "timestamp": "at"})
        assert sources.of_table(data, SCHEMA, OPTIONS, NOW).series[0].values.tolist() == [1, 1]


class TestLog:
    DATA = DataOptions.model_validate(
        {"source": {"type": "csv", "path": "unused.csv"}, "text": "text", "label": "intent", "segments": ["language"]}
    )

    def read(self, folder, now, model="intents"):
        return sources.of_log(folder, self.DATA, model, OPTIONS, now)

    def test_answers_abstentions_scores_latency_versions_and_requests(self, tmp_path):
        logs.write(
            tmp_path,
            [
                logs.record(START, ["turn it on", "off"], ["on", "off"], [0.9, 0.5], [False, True], ["en", "en"], 3, 2000),
                logs.record(START + DAY, ["an"], ["on"], [0.7], [False], ["de"], 4, 8000),
            ],
        )
        timeline = self.read(tmp_path, START + 2 * DAY)
        seen = {(one.measure, one.column, one.value): one.values for one in timeline.series}
        assert seen[ROWS, "", ""].tolist() == [2, 1]
        assert seen[SHARE, "intent", "on"].tolist() == [0.5, 1]
        assert seen[SHARE, "abstained", "true"].tolist() == [0.5, 0]
        assert seen[SHARE, "model_version", "4"].tolist() == [0, 1]
        assert seen[SHARE, "language", "de"].tolist() == [0, 1]
        assert seen[LEVEL, "score", ""] == pytest.approx([(1.9 * 1.5) ** 0.5 - 1, 0.7])
        assert seen[LEVEL, "latency_ms", ""] == pytest.approx([2, 8])
        assert seen[LEVEL, "length of text", ""] == pytest.approx([(11 * 4) ** 0.5 - 1, 2])
        assert "turn" not in repr(timeline)

    def test_days_without_a_request_up_to_now_count(self, tmp_path):
        logs.write(tmp_path, [logs.record(START, ["a"], ["on"], [0.9])])
        assert self.read(tmp_path, START + 3.5 * DAY).series[0].values.tolist() == [1, 0, 0]

    def test_today_does_not_count_yet(self, tmp_path):
        logs.write(tmp_path, [logs.record(START, ["a"], ["on"], [0.9])])
        assert len(self.read(tmp_path, START + 0.5 * DAY).periods) == 0

    def test_other_models_are_left_out(self, tmp_path):
        logs.write(tmp_path, [logs.record(START, ["a"], ["on"], [0.9]), logs.record(START, ["a"], ["on"], [0.9], model="taxi")])
        assert self.read(tmp_path, START + DAY).series[0].values.tolist() == [1]
        with pytest.raises(UsageError, match=r"no logged request of the model 'other' \(2 are of other models\)"):
            self.read(tmp_path, START + DAY, "other")

    def test_a_log_that_is_not_there_is_named(self, tmp_path):
        with pytest.raises(UsageError, match="There is no request log .*--request_log_dir"):
            self.read(tmp_path / "nowhere", NOW)


def summary(train, test, aside, **labels):
    return {
        "rows": {"train": train, "test": test, "quarantined": aside},
        "labels": {"train": labels, "test": {"on": 1}},
        "segments": {"language": {"de": train}},
    }


def test_runs_are_periods():
    timeline = sources.of_runs([("run a-1", summary(9, 1, 0, on=9)), ("run a-2", summary(8, 2, 10, on=4, off=4))], "intent")
    seen = {(one.measure, one.column, one.value): one.values.tolist() for one in timeline.series}
    assert seen[ROWS, "", ""] == [10, 10]
    assert [values for (measure, *_), values in seen.items() if measure == MISSING] == [[0, 0.5]]
    assert seen[SHARE, "intent", "off"] == pytest.approx([0, 4 / 9])
    assert seen[SHARE, "language", "de"] == [1, 1]
    assert timeline.name(-1) == "run a-2"
    assert len(sources.of_runs([], "intent").periods) == 0
    assert np.array_equal(timeline.periods, [0, 1])


def test_runs_tell_of_empty_cells_scripts_and_languages():
    told = {
        **summary(9, 1, 0, on=9),
        "missing": {"channel": 4},
        "texts": {
            "text": {"train": {"scripts": {"Latin": 6}, "languages": {}}, "test": {"scripts": {"Han": 2}, "languages": {}}}
        },
    }
    timeline = sources.of_runs([("before", summary(9, 1, 0, on=9)), ("now", told)], "intent")
    seen = {(one.measure, one.column, one.value): one for one in timeline.series}
    missing = seen[MISSING, "channel", ""]
    assert (missing.counts.tolist(), missing.totals.tolist()) == ([0, 4], [0, 10])
    han = seen[SHARE, "script of text", "Han"]
    assert (han.counts.tolist(), han.totals.tolist()) == ([0, 2], [0, 8])
    assert not any(column == "language of text" for _, column, _ in seen)
