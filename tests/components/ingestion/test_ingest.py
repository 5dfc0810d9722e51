import csv
import errno
import gzip
import json
import os
import pathlib
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.errors import EnvironmentFailure, GateError, UsageError
from components.ingestion import earlier_texts, in_order, ingest, readers
from components.privacy.options import PrivacyOptions
from components.validation import schema_file

SCHEMA = {"text": "BYTES", "label": "BYTES"}
TEXTS = [f"message number {number}" for number in range(200)]
LABELS = ["ask" if number % 3 else "tell" for number in range(200)]


@pytest.fixture
def run(tmp_path, make_options, make_schema):
    """Ingests a file and returns the summary; keywords are settings of the `data:` section."""

    def ingest_file(path, features=SCHEMA, **settings):
        options, schema = make_options(path, **settings), make_schema(**features)
        return ingest.ingest(options, schema, None, str(tmp_path / "out"), str(tmp_path / "quarantine"))

    return ingest_file


class TestSummary:
    @pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
    def test_counts_what_was_stored(self, kind, run, write_rows, tmp_path):
        summary = run(write_rows(kind, text=TEXTS, label=LABELS, extra=LABELS))
        assert sum(summary["rows"].values()) == 200
        assert summary["rows"]["quarantined"] == 0
        assert {name: sum(labels.values()) for name, labels in summary["labels"].items()} | {"quarantined": 0} == summary["rows"]
        assert summary["ignored_columns"] == ["extra"]
        assert summary["bytes"] == sum(path.stat().st_size for path in (tmp_path / "out").glob("Split-*/*.gz"))
        assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary

    def test_every_format_stores_the_same(self, run, write_rows):
        summaries = [run(write_rows(kind, text=TEXTS, label=LABELS)) for kind in ("csv", "jsonl", "parquet")]
        assert len({summary["fingerprint"] for summary in summaries}) == 1
        assert summaries[0]["labels"] == summaries[1]["labels"] == summaries[2]["labels"]

    def test_the_fingerprint_is_that_of_the_rows_in_any_order(self, run, write_rows, monkeypatch):
        first = run(write_rows("jsonl", text=TEXTS, label=LABELS))
        monkeypatch.setattr(readers, "_BLOCK_BYTES", 512)
        second = run(write_rows("jsonl", text=TEXTS[::-1], label=LABELS[::-1]))
        third = run(write_rows("jsonl", text=[*TEXTS[:-1], "message number 1"], label=LABELS))
        assert first["fingerprint"] == second["fingerprint"] != third["fingerprint"]
        assert first["rows"] == second["rows"]

    def test_a_folder_of_files_is_one_table(self, run, write_rows, tmp_path):
        whole = run(write_rows("csv", "whole", text=TEXTS, label=LABELS))
        (tmp_path / "parts").mkdir()
        for index, rows in enumerate((slice(0, 50), slice(50, 200))):
            write_rows("csv", f"parts/{index}", text=TEXTS[rows], label=LABELS[rows])
        parts = run(tmp_path / "whole.csv", source={"type": "csv", "path": str(tmp_path / "parts")})
        assert parts["fingerprint"] == whole["fingerprint"]

    def test_segments_are_counted_and_empty_columns_named(self, run, write_rows):
        path = write_rows("csv", text=TEXTS, label=LABELS, language=["de", "en"] * 100, fare=[None] * 200)
        features = SCHEMA | {"language": "BYTES", "fare": "FLOAT"}
        summary = run(path, features, segments=["language", ["language", "label"]])
        assert summary["segments"] == {"language": {"de": 100, "en": 100}, "label": {"ask": 133, "tell": 67}}
        assert {name: sum(values.values()) for name, values in summary["test_segments"].items()} == dict.fromkeys(
            ("language", "label"), summary["rows"]["test"]
        )
        assert summary["empty_columns"] == ["fare"]


class TestQuarantine:
    def test_rows_set_aside_are_counted_and_described_without_their_text(self, run, tmp_path):
        path = tmp_path / "t.csv"
        rows = [f"{text},{label},1.5" for text, label in zip(TEXTS, LABELS, strict=True)]
        rows[10] = "secret text,,1.5"
        rows[20] = "secret text,ask,cheap"
        rows[30] = "secret text,ask"
        rows[40] = f"{'secret' * 1_000_000},ask,1.5"
        path.write_bytes(("text,label,fare\n" + "\n".join(rows) + "\nsecret \0,ask,1\n").encode() + b"secret \xff,ask,1\n")
        summary = run(path, SCHEMA | {"fare": "FLOAT"})
        assert summary["rows"]["quarantined"] == 6
        assert summary["quarantine_reasons"] == {
            "wrong number of fields": 1,
            "text: invalid UTF-8": 1,
            "text: NUL byte": 1,
            "missing label": 1,
            "fare: not a number": 1,
            "text too long": 1,
        }
        [part] = (tmp_path / "quarantine").iterdir()
        assert "secret" not in part.read_text()
        described = [json.loads(line) for line in part.read_text().splitlines()]
        assert {entry["position"] for entry in described} == {11, 21, 31, 41, 201, 202}
        assert {entry["source"] for entry in described} == {"t.csv"}

    def test_reasons_are_counted_by_segment(self, run, write_rows):
        languages = ["de"] * 60 + ["en"] * 140
        path = write_rows("csv", text=TEXTS, label=[None] * 10 + LABELS[10:], language=languages)
        summary = run(path, SCHEMA | {"language": "BYTES"}, segments=["language"])
        assert summary["quarantine_segments"] == {"language": {"de": {"missing label": 10}}}
        assert summary["segments"]["language"] == {"de": 50, "en": 140}

    def test_a_column_that_changes_type_mid_file_does_not_end_the_run(self, run, write_rows):
        values = [1.5] * 150 + ["cheap"] * 10 + [2] * 40
        summary = run(write_rows("csv", text=TEXTS, label=LABELS, fare=values), SCHEMA | {"fare": "FLOAT"})
        assert summary["quarantine_reasons"] == {"fare: not a number": 10}
        assert (
            run(write_rows("jsonl", text=TEXTS, label=LABELS, fare=values), SCHEMA | {"fare": "FLOAT"})["rows"] == summary["rows"]
        )


class TestEnforcedSchema:
    @pytest.fixture
    def enforce(self, write_rows, make_options, tmp_path):
        """Ingests columns whose channel has a domain, and whose `text` every row has."""
        schema = schema_file.parse(
            """
            feature { name: "text" type: BYTES presence { min_fraction: 1 } }
            feature { name: "label" type: BYTES }
            feature { name: "channel" type: BYTES string_domain { value: "web" value: "phone" } }
            """
        )

        def ingest_columns(**columns):
            path = write_rows("csv", **{"text": TEXTS, "label": LABELS, "channel": ["web", "phone"] * 100} | columns)
            options = make_options(path, enforce_schema=True, exclude=["known"], timestamp="at")
            return ingest.ingest(options, schema, None, str(tmp_path / "out"), str(tmp_path / "quarantine"))

        return ingest_columns

    def test_what_is_new_is_counted_of_rows_that_are_set_aside(self, enforce):
        summary = enforce(channel=["fax"] * 20 + ["tv"] * 3 + ["web"] * 177, text=[*TEXTS[:-1], ""])
        assert summary["quarantine_reasons"] == {"channel: not in its domain": 23, "text: missing": 1}
        assert summary["broken_rules"]["channel"]["values"] == {"fax": 20}
        assert summary["broken_rules"]["channel"]["unnamed"] == 3
        assert summary["broken_rules"]["text"]["rows"] == {"missing": 1}

    def test_what_does_not_fit_was_not_missing(self, write_rows, make_options, tmp_path):
        schema = schema_file.parse(
            "".join(
                f'feature {{ name: "{name}" type: {kind} presence {{ min_fraction: 1 }} }}'
                for name, kind in (("text", "BYTES"), ("label", "BYTES"), ("fare", "FLOAT"), ("turn", "INT"))
            )
        )
        columns = {"text": ["x" * 99, *TEXTS[1:]], "fare": ["n.n."] * 20 + [""] + [2.5] * 179, "turn": ["one"] * 20 + [1] * 180}
        options = make_options(write_rows("csv", label=LABELS, **columns), enforce_schema=True, max_text_bytes=50)
        summary = ingest.ingest(options, schema, None, str(tmp_path / "out"), str(tmp_path / "quarantine"))
        assert summary["quarantine_reasons"] == {"fare: not a number": 19, "text too long": 1, "fare: missing": 1}
        assert {name: told["rows"] for name, told in summary["broken_rules"].items()} == {"fare": {"missing": 1}}

    def test_columns_that_nobody_named_are_told_apart_from_excluded_ones(self, enforce):
        summary = enforce(known=LABELS, at=list(range(200)), unheard_of=LABELS)
        assert summary["ignored_columns"] == ["known", "at", "unheard_of"]
        assert summary["new_columns"] == ["unheard_of"]

    @pytest.mark.parametrize(
        ("columns", "reason"),
        [
            ({"text": [""] * 200}, "Column 'text' has no value in 200 of 200 rows"),
            ({"text": ["web"] * 200, "channel": TEXTS}, "Column 'channel' seems to have changed places with column 'text'"),
            ({"channel": ["fax"] * 199 + ["web"]}, "Column 'channel' has values missing from the schema: fax (99.5%)"),
        ],
    )
    def test_a_table_of_which_too_little_is_left_is_rejected_for_the_rule_it_breaks(self, columns, reason, enforce):
        with pytest.raises(GateError) as rejected:
            enforce(**columns)
        assert str(rejected.value).startswith(reason)
        assert [finding.severity for finding in rejected.value.findings] == ["error"]
        assert "message number" not in str(rejected.value)

    def test_a_table_of_no_use_that_breaks_no_rule_is_still_an_error_of_its_own(self, enforce):
        with pytest.raises(UsageError, match="at least two classes"):
            enforce(label=["ask"] * 200)


class TestColumns:
    @pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
    def test_a_missing_label_column_is_an_error_that_names_the_nearest(self, kind, run, write_rows):
        with pytest.raises(UsageError, match="data.label names 'label', but there is no such column. Did you mean 'labels'"):
            run(write_rows(kind, text=TEXTS, labels=LABELS))

    def test_a_column_the_schema_lists_must_be_there(self, run, write_rows):
        with pytest.raises(UsageError, match="The schema lists 'fare', but .* The columns are 'text', 'label'"):
            run(write_rows("csv", text=TEXTS, label=LABELS), SCHEMA | {"fare": "FLOAT"})

    def test_every_csv_file_of_a_folder_needs_the_columns(self, run, write_rows, tmp_path):
        write_rows("csv", "1", text=TEXTS, label=LABELS)
        write_rows("csv", "2", text=TEXTS)
        with pytest.raises(UsageError, match="data.label names 'label'"):
            run(tmp_path / "1.csv", source={"type": "csv", "path": str(tmp_path)})

    def test_json_lines_may_leave_columns_out(self, run, tmp_path, monkeypatch):
        monkeypatch.setattr(readers, "_BLOCK_BYTES", 256)
        path = tmp_path / "t.jsonl"
        rows = [{"text": text, "label": label} for text, label in zip(TEXTS, LABELS, strict=True)]
        rows[150]["fare"] = 2.5
        path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"fare": 1}\n')
        summary = run(path, SCHEMA | {"fare": "FLOAT"})
        assert summary["rows"]["quarantined"] == 1
        assert summary["empty_columns"] == []

    def test_derived_columns_are_stored_and_their_sources_need_not_be(self, run, write_rows):
        numbers = list(range(200))
        path = write_rows("csv", text=TEXTS, tips=numbers, fare=[100] * 200)
        derivations = {"share": "tips / fare", "label": "share > 0.5"}
        summary = run(path, SCHEMA | {"share": "FLOAT"}, derive=derivations, exclude=["tips"])
        assert sum(labels["true"] for labels in summary["labels"].values()) == 149
        assert summary["ignored_columns"] == ["tips", "fare"]

    def test_a_derived_column_must_not_exist_already(self, run, write_rows):
        with pytest.raises(UsageError, match="data.derive makes 'label', but the table has it already"):
            run(write_rows("csv", text=TEXTS, label=LABELS), derive={"label": "text == 'a'"})

    def test_an_expression_over_an_unknown_column_is_an_error(self, run, write_rows):
        with pytest.raises(UsageError, match=r"data.derive.label \(tip > 1\) reads 'tip', .* Did you mean 'tips'"):
            run(write_rows("csv", text=TEXTS, tips=[1] * 200), derive={"label": "tip > 1"})


class TestTablesThatMakeNoModel:
    @pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
    def test_no_rows(self, kind, run, tmp_path):
        path = tmp_path / f"t.{kind}"
        if kind == "parquet":
            pq.write_table(pa.table({"text": pa.array([], pa.string()), "label": pa.array([], pa.string())}), path)
        else:
            path.write_text("text,label\n" if kind == "csv" else "")
        with pytest.raises(UsageError, match="The table has no rows"):
            run(path)

    @pytest.mark.parametrize("kind", ["csv", "parquet"])
    @pytest.mark.parametrize(
        ("text", "label", "message"),
        [
            (TEXTS, ["ask"] * 200, "at least two classes; data.label 'label' has one in 200 rows"),
            (TEXTS, [None] * 200, "data.label 'label' has no value in any of 200 rows"),
            ([None] * 200, LABELS, "data.text 'text' has no text in any of 200 rows"),
            (TEXTS[:2], LABELS[:2], "split is empty .* rows"),
            (["x" * 200_000] * 3, LABELS[:3], r"All 3 rows were set aside \(text too long: 3\)"),
        ],
    )
    def test_says_what_is_wrong(self, kind, text, label, message, run, write_rows, tmp_path):
        with pytest.raises(UsageError, match=message):
            run(write_rows(kind, text=text, label=label))
        assert not list((tmp_path / "out").glob("Split-*/*"))


class TestSplits:
    def test_time_order_comes_from_a_column_that_need_not_be_stored(self, run, write_rows):
        path = write_rows("csv", text=TEXTS, label=LABELS, at=[f"2024-01-01T00:{n // 60:02d}:{n % 60:02d}" for n in range(200)])
        summary = run(path, timestamp="at", split={"by": "time", "eval": 0.1, "test": 0.2, "gap": 5})
        assert summary["rows"] == {"train": 135, "eval": 15, "test": 40, "quarantined": 10}

    @pytest.mark.parametrize("kind", ["csv", "jsonl"])
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"timestamp": "at", "split": {"by": "time"}}, "data.timestamp names 'at'"),
            ({"split": {"by": "column", "column": "fold"}}, "data.split.column names 'fold'"),
            ({"group": "who", "split": {"by": "group"}}, "data.group names 'who'"),
        ],
    )
    def test_a_column_to_split_by_must_be_there(self, settings, message, kind, run, write_rows):
        with pytest.raises(UsageError, match=message):
            run(write_rows(kind, text=TEXTS, label=LABELS), **settings)

    def test_a_split_drawn_from_train_is_noted(self, run, write_rows):
        path = write_rows("csv", text=TEXTS, label=LABELS, fold=["train", "train", "train", "test"] * 50)
        summary = run(path, split={"by": "column", "column": "fold"})
        assert summary["rows"]["test"] == 50
        assert summary["notes"] == ["'fold' marks no row as eval; 10% of its train rows were drawn by hash"]

    @pytest.mark.parametrize(("allowed", "together"), [(False, True), (True, False)])
    def test_near_duplicates_stay_together_unless_allowed(self, allowed, together, run, write_rows):
        texts = [spelling for text in TEXTS for spelling in (text, text.upper() + "!")]
        path = write_rows("csv", text=texts, label=[label for label in LABELS for _ in range(2)])
        found = run(path, split={"eval": 0.2, "test": 0.2, "allow_near_duplicates": allowed})["leaks"]["near"]
        assert (found["test"]["rows"] == found["eval"]["rows"] == 0) is together

    def test_texts_that_a_column_puts_into_two_splits_are_reported(self, run, write_rows):
        folds = ["train"] * 100 + ["eval"] * 50 + ["test"] * 50
        path = write_rows("csv", text=[*TEXTS[:195], *TEXTS[:5]], label=LABELS, fold=folds)
        leaks = run(path, split={"by": "column", "column": "fold"})["leaks"]
        assert leaks["exact"]["test"] == {"rows": 5, "share": 0.1}
        assert leaks["label_conflicts"]["texts"] == sum(LABELS[n] != LABELS[195 + n] for n in range(5))


class TestNearDuplicatesSetAside:
    """Conversations in which everybody writes `Yes.` and `yes!`; the splits are told by conversation, time or column."""

    TEXTS = [("Yes." if number % 2 else "yes!") if number % 4 < 2 else f"message number {number}" for number in range(400)]
    COLUMNS = {
        "text": TEXTS,
        "label": ["ask" if number % 3 else "tell" for number in range(400)],
        "group": [f"conversation {number // 4}" for number in range(400)],
        "at": list(range(400)),
        "split": [("train", "train", "dev", "test")[number // 100] for number in range(400)],
    }
    SPLITS = [
        {"group": "group", "split": {"by": "group", "eval": 0.2, "test": 0.2}},
        {"timestamp": "at", "split": {"by": "time", "eval": 0.2, "test": 0.2}},
        {"split": {"by": "column", "column": "split"}},
    ]

    @pytest.mark.parametrize("settings", SPLITS, ids=lambda settings: settings["split"]["by"])
    def test_no_text_is_in_two_splits_and_train_keeps_all_of_it(self, settings, run, write_rows):
        path = write_rows("csv", **self.COLUMNS)
        reported = run(path, **settings)
        assert reported["leaks"]["near"]["test"]["rows"] > 0
        aside = run(path, **{**settings, "split": {**settings["split"], "near_duplicates": "set_aside"}})
        assert aside["leaks"]["near"] == {name: {"rows": 0, "share": 0.0} for name in ("eval", "test")}
        assert aside["rows"]["train"] == reported["rows"]["train"]
        lost = sum(reported["rows"][name] - aside["rows"][name] for name in ("eval", "test"))
        assert aside["quarantine_reasons"] == {earlier_texts.NEAR_DUPLICATE: lost}
        assert lost == sum(reported["leaks"]["near"][name]["rows"] for name in ("eval", "test"))

    def test_what_is_personal_is_compared_as_it_is_stored(self, write_rows, make_options, make_schema, tmp_path):
        columns = {
            "text": [f"write to user{number}@example.org" if number % 2 else f"message number {number}" for number in range(400)],
            "label": self.COLUMNS["label"],
            "split": self.COLUMNS["split"],
        }
        options = make_options(
            write_rows("csv", **columns), split={"by": "column", "column": "split", "near_duplicates": "set_aside"}
        )
        privacy = PrivacyOptions(redact=["email"])
        summary = ingest.ingest(
            options, make_schema(**SCHEMA), None, str(tmp_path / "out"), str(tmp_path / "quarantine"), privacy
        )
        assert summary["rows"] == {"train": 200, "eval": 50, "test": 50, "quarantined": 100}
        assert summary["privacy"]["rows"] == 400

    def test_batches_do_not_matter(self, run, write_rows, monkeypatch):
        settings = {"group": "group", "split": {"by": "group", "eval": 0.2, "test": 0.2, "near_duplicates": "set_aside"}}
        path = write_rows("jsonl", **self.COLUMNS)
        whole = run(path, **settings)
        monkeypatch.setattr(readers, "_BLOCK_BYTES", 512)
        monkeypatch.setattr(earlier_texts, "_MOST_PENDING", 10)
        assert run(path, **settings)["split_fingerprints"] == whole["split_fingerprints"]

    def test_rows_drawn_by_their_text_are_not_read_twice(self, run, write_rows, monkeypatch):
        monkeypatch.setattr(earlier_texts, "EarlierTexts", None)
        assert run(write_rows("csv", **self.COLUMNS), split={"near_duplicates": "set_aside"})["rows"]["quarantined"] == 0

    def test_allowed_ones_cannot_be_set_aside(self, make_options, tmp_path):
        with pytest.raises(ValueError, match="goes without split.allow_near_duplicates"):
            make_options(tmp_path / "t.csv", split={"allow_near_duplicates": True, "near_duplicates": "set_aside"})


class TestWindow:
    @pytest.mark.parametrize("kind", ["csv", "parquet"])
    def test_the_files_of_a_span_are_the_same_in_every_window(self, kind, write_rows, make_options, make_schema, tmp_path):
        # All spans have a file of the same name, and one has a second file.
        paths = {}
        for span in range(4):
            (tmp_path / f"span-{span}").mkdir()
            for name in ("data", "more")[: 1 + (span == 2)]:
                texts = [f"{name} of {span}: {text}" for text in TEXTS]
                paths.setdefault(span, write_rows(kind, f"span-{span}/{name}", text=texts, label=LABELS).parent)
        files = {}
        for window in ((0, 1, 2), (1, 2, 3)):
            out = tmp_path / f"until-{window[-1]}"
            options, schema = make_options(paths[0] / f"data.{kind}"), make_schema(**SCHEMA)
            ingest.ingest(options, schema, [str(paths[span]) for span in window], str(out), str(tmp_path / "quarantine"))
            for split in ("train", "eval", "test"):
                content = [file.read_bytes() for file in sorted((out / f"Split-{split}").iterdir())]
                assert len(content) == 3
                files[window, split] = content
        for split in ("train", "eval", "test"):
            assert files[(0, 1, 2), split][1:] == files[(1, 2, 3), split][:2]
            assert files[(1, 2, 3), split][2] not in files[(0, 1, 2), split]


class TestDisk:
    def test_a_full_disk_is_the_environment(self, run, write_rows, tmp_path):
        (tmp_path / "out" / "Split-train").mkdir(parents=True)
        (tmp_path / "out" / "Split-train" / ".data_tfrecord-00000.partial").symlink_to("/dev/full")
        with pytest.raises(EnvironmentFailure, match="Cannot write to .*out.*: the disk is full"):
            run(write_rows("csv", text=TEXTS, label=LABELS))

    @pytest.mark.parametrize(("code", "why"), [(errno.EROFS, "read-only"), (errno.EACCES, "not permitted")])
    def test_a_folder_that_cannot_be_written_is_the_environment(self, code, why, run, write_rows, monkeypatch):
        path = write_rows("csv", text=TEXTS, label=LABELS)

        def refuse(folder, **_):
            raise OSError(code, os.strerror(code), str(folder))

        monkeypatch.setattr(pathlib.Path, "mkdir", refuse)
        with pytest.raises(EnvironmentFailure, match=f"Cannot write to .*quarantine: .*{why}"):
            run(path)


def test_real_messages_split_by_conversation(real_data, run):
    path = real_data / "multidogo" / "turn.parquet"
    features = SCHEMA | {"domain": "BYTES", "conversation_id": "BYTES", "turn": "INT"}
    summary = run(path, features, segments=["domain"], group="conversation_id", split={"by": "group"})
    assert sum(summary["rows"].values()) == 116_597
    assert summary["rows"]["quarantined"] == 0
    assert len(summary["segments"]["domain"]) == 6
    assert summary["rows"]["test"] / 116_597 == pytest.approx(0.1, abs=0.01)


class TestPersonalData:
    def test_is_gone_before_anything_is_stored_and_counted_without_values(self, write_rows, make_options, make_schema, tmp_path):
        path = write_rows(
            "csv",
            text=[f"mail person{number}@example.org" if number < 60 else f"order {number}" for number in range(120)],
            label=LABELS[:120],
            language=["de" if number < 60 else "en" for number in range(120)],
        )
        output, aside = tmp_path / "out", tmp_path / "quarantine"
        options, schema = make_options(path, segments=["language"]), make_schema(**SCHEMA, language="BYTES")
        privacy = PrivacyOptions.model_validate({"redact": ["email"]})
        summary = ingest.ingest(options, schema, None, str(output), str(aside), privacy)
        email = summary["privacy"]["entities"]["email"]
        assert (email["found"], email["rows"], email["segments"]) == (60, 60, {"language": {"de": 60}})
        files = [file for folder in (output, aside) for file in folder.rglob("*") if file.is_file()]
        contents = [gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes() for file in files]
        assert sum(content.count(b"mail [email]") for content in contents) == 60
        assert not any(b"example.org" in content for content in contents)


class TestSideBySide:
    """Chunks are worked on in several threads; nothing tells how many."""

    @staticmethod
    def content(folder):
        return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}

    @pytest.fixture
    def ingest_with(self, make_options, make_schema, tmp_path, monkeypatch):
        """Ingests a file with some threads; returns the summary without its seconds, and all files but that."""

        def ingest_file(path, workers, features=SCHEMA, privacy=None, **settings):
            monkeypatch.setattr(in_order, "threads", lambda: workers)
            options, schema = make_options(path, **settings), make_schema(**features)
            output, aside = tmp_path / f"out{workers}", tmp_path / f"quarantine{workers}"
            redact = PrivacyOptions.model_validate(privacy or {})
            summary = ingest.ingest(options, schema, None, str(output), str(aside), redact)
            (output / ingest.SUMMARY_FILE).unlink()
            return summary | {"seconds": 0}, self.content(output) | self.content(aside)

        return ingest_file

    @pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
    def test_everything_is_the_same(self, kind, ingest_with, write_rows, monkeypatch):
        monkeypatch.setattr(readers, "_ROWS_PER_BATCH", 64)
        monkeypatch.setattr(readers, "_BLOCK_BYTES", 4096)
        rows = {
            "text": [f"mail ann{n % 40}@example.org" if n % 9 == 0 else f"Bitte Nr. {n % 700}!" for n in range(1000)],
            "label": [None if n % 97 == 0 else LABELS[n % 200] for n in range(1000)],
            "language": [("de", "en", None)[n % 3] for n in range(1000)],
            "fare": ["cheap" if n % 89 == 0 else str(n / 4) for n in range(1000)],
        }
        features = SCHEMA | {"language": "BYTES", "fare": "FLOAT"}
        settings = {"features": features, "privacy": {"redact": ["email"]}, "segments": ["language"]}
        summary, files = ingest_with(write_rows(kind, **rows), 1, **settings)
        again, files_again = ingest_with(write_rows(kind, **rows), 5, **settings)
        assert summary == again
        assert files == files_again
        assert summary["rows"]["quarantined"] == sum(n % 97 == 0 or n % 89 == 0 for n in range(1000))
        assert summary["privacy"]["entities"]["email"]["rows"] == sum(n % 9 == 0 for n in range(1000))

    def test_quoted_line_breaks_at_the_ends_of_blocks(self, ingest_with, tmp_path, monkeypatch):
        path, texts = tmp_path / "t.csv", [f'line {n}\n\nand, "{"x" * (n % 50)}"\r\nend' for n in range(600)]
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *zip(texts, LABELS * 3, strict=True)])
        with path.open("a") as file:
            file.write("one,too,many\n")
        whole, _ = ingest_with(path, 1)
        for size in (400, 1013):
            monkeypatch.setattr(readers, "_BLOCK_BYTES", size)
            parts, files = ingest_with(path, 3)
            assert {**parts, "bytes": 0} == {**whole, "bytes": 0}
            assert parts["rows"]["quarantined"] == 1
            assert [json.loads(content)["position"] for name, content in files.items() if name.suffix == ".jsonl"] == [601]

    def test_an_error_in_a_thread_says_what_it_is_and_leaves_nothing(self, ingest_with, write_rows, tmp_path, monkeypatch):
        monkeypatch.setattr(readers, "_ROWS_PER_BATCH", 20)
        with pytest.raises(UsageError, match="privacy.columns: there is no column 'body'"):
            ingest_with(write_rows("csv", text=TEXTS, label=LABELS), 3, privacy={"redact": ["email"], "columns": ["body"]})
        assert not self.content(tmp_path / "out3")
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("ingest")]

    def test_an_error_late_in_the_file_leaves_nothing(self, ingest_with, tmp_path, monkeypatch):
        monkeypatch.setattr(readers, "_BLOCK_BYTES", 512)
        path = tmp_path / "t.csv"
        rows = "".join(f"{text},{label}\n" for text, label in zip(TEXTS, LABELS, strict=True))
        path.write_text("text,label\n" + rows + '"no end of this,ask\n' + "x" * 5000)
        with pytest.raises(UsageError, match="the quote opened in line 202 is never closed"):
            ingest_with(path, 3)
        assert not self.content(tmp_path / "out3")

    def test_an_attempt_that_was_killed_leaves_nothing_that_the_next_one_trusts(self, ingest_with, write_rows, tmp_path):
        leftovers = ("Split-train/data_tfrecord-00000-of-00009.gz", "Split-eval/.data_tfrecord-00000.partial", "summary.json")
        for leftover in leftovers:
            (tmp_path / "out2" / leftover).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "out2" / leftover).write_bytes(b"half")
        path = write_rows("csv", text=TEXTS, label=[None, *LABELS[1:]])
        clean, files = ingest_with(path, 1)
        again, files_again = ingest_with(path, 2)
        assert clean == again
        assert files == files_again
