"""Whether labels still fit their rows: what is found of labels that are wrong, and that nothing is found of those that are right."""

import random

import numpy as np
import pyarrow as pa
import pytest

from components.findings import Severity
from components.ingestion import encode
from components.validation import label_agreement
from components.validation.label_agreement import Columns
from components.validation.options import Limit, ValidationOptions

WORDS = {
    "billing": ["invoice", "refund", "charge", "payment", "receipt"],
    "delivery": ["parcel", "courier", "shipping", "address", "tracking"],
    "account": ["password", "login", "username", "locked", "profile"],
}
FILLERS = ["please", "the", "my", "is", "again", "still", "with", "help", "today", "since"]
CLASSES = list(WORDS)
COLUMNS = Columns("queue", ["text"], ["channel", "amount"])
OPTIONS = ValidationOptions()


def table(seed, rows=600, noise=0.1):
    """Rows as columns of Python values: some texts are about another queue than theirs, because people are."""
    dice = random.Random(seed)
    queues = [dice.choice(CLASSES) for _ in range(rows)]
    about = [dice.choice(CLASSES) if dice.random() < noise else queue for queue in queues]
    texts = [" ".join(dice.choices(WORDS[topic], k=2) + dice.choices(FILLERS, k=3)) for topic in about]
    return {"text": texts, "queue": queues}


def split(columns, names=COLUMNS):
    """Deals rows to splits as ingestion does, in their order."""
    rows = len(columns["queue"])
    drawn = np.random.default_rng(0).choice(3, rows, p=[0.8, 0.1, 0.1])
    batch = pa.RecordBatch.from_pydict({name: pa.array(values) for name, values in columns.items()})
    return {
        name: label_agreement.rows_of(batch.filter(pa.array(drawn == code)), names)
        for code, name in enumerate(("train", "eval", "test"))
    }


def compare(new, old=None, names=COLUMNS, options=OPTIONS):
    return label_agreement.compare(split(old or table(1), names), split(new, names), "the previous data", options)


def finding(new, options=OPTIONS, **more):
    [found] = label_agreement.findings(compare(new, options=options, **more), "queue", options)
    return found


def shifted(columns, by):
    return {**columns, "queue": columns["queue"][-by:] + columns["queue"][:-by]}


class TestVerdict:
    def test_labels_that_fit_are_no_news(self):
        found = finding(table(2))
        assert found.severity is Severity.INFO
        assert "fits the rows as before" in found.message

    def test_samples_of_one_population_never_alarm(self):
        severities = {finding(table(seed, rows=300, noise=0.4), old=table(-seed, 300, 0.4)).severity for seed in range(1, 21)}
        assert severities == {Severity.INFO}

    @pytest.mark.parametrize(("by", "text"), [(1, "shifted by one row"), (-1, "shifted by one row"), (2, "shifted by 2 rows")])
    def test_labels_of_other_rows_are_an_error(self, by, text):
        found = finding(shifted(table(2), by))
        assert found.severity is Severity.ERROR
        assert found.subject == "queue"
        assert text in found.message
        assert ("before" if by > 0 else "after") in found.message

    def test_exchanged_classes_are_named(self):
        columns = table(2)
        turned = [CLASSES[(CLASSES.index(queue) + 1) % 3] for queue in columns["queue"]]
        found = finding({**columns, "queue": turned})
        assert found.severity is Severity.ERROR
        assert "'delivery' where 'billing' is expected" in found.message

    def test_two_of_them_as_well(self):
        columns = table(2)
        other = {"billing": "account", "account": "billing", "delivery": "delivery"}
        agreement = compare({**columns, "queue": [other[queue] for queue in columns["queue"]]})
        assert set(agreement.exchanged) == {("billing", "account"), ("account", "billing")}

    def test_labels_that_all_became_one_class_are_no_exchange(self):
        columns = table(2)
        agreement = compare({**columns, "queue": ["billing"] * len(columns["queue"])})
        assert agreement.exchanged == ()
        assert label_agreement.findings(agreement, "queue", OPTIONS)[0].severity is Severity.WARNING

    def test_labels_drawn_by_lot_are_a_warning_that_says_so(self):
        columns, dice = table(2), random.Random(3)
        lots = [dice.choice(CLASSES) if dice.random() < 0.6 else queue for queue in columns["queue"]]
        found = finding({**columns, "queue": lots})
        assert found.severity is Severity.WARNING
        assert "drawn by lot" in found.message

    def test_other_texts_are_a_warning_that_says_that_they_fit_among_themselves(self):
        columns = table(2)
        found = finding({**columns, "text": [text.translate({ord("e"): "ε", ord("i"): "ι"}) for text in columns["text"]]})
        assert found.severity is Severity.WARNING
        assert "fit among themselves" in found.message

    def test_the_pipeline_file_says_how_much_may_be_lost_and_how_severe_it_is(self):
        dice = random.Random(3)
        columns = table(2)
        lots = {**columns, "queue": [dice.choice(CLASSES) if dice.random() < 0.6 else queue for queue in columns["queue"]]}
        assert finding(lots, ValidationOptions(labels=Limit(warn=0.1, fail=0.2))).severity is Severity.ERROR
        assert finding(lots, ValidationOptions(labels=Limit(warn=0.9))).severity is Severity.INFO
        assert finding(shifted(columns, 1), ValidationOptions(severity={"queue": {"drift": "warning"}})).severity == "warning"
        ignored = ValidationOptions(severity={"queue": {"drift": "ignore"}})
        assert label_agreement.findings(compare(shifted(columns, 1)), "queue", ignored) == []


class TestWhatCannotBeTold:
    def test_few_rows(self):
        assert compare(table(2, rows=40)) is None
        assert compare(table(2), old=table(1, rows=100)) is None

    def test_labels_that_never_had_to_do_with_the_texts(self):
        assert compare(table(2, noise=1.0), old=table(1, noise=1.0)) is None

    def test_no_earlier_rows(self):
        assert compare(table(2), old={"text": [], "queue": []}) is None

    def test_rows_of_a_new_class_do_not_count(self):
        columns = table(2)
        queues = ["press" if number % 3 == 0 else queue for number, queue in enumerate(columns["queue"])]
        assert compare({**columns, "queue": queues}).after == pytest.approx(compare(columns).after, abs=0.05)


class TestColumns:
    def test_categories_and_numbers_tie_labels_where_there_is_no_text(self):
        dice = random.Random(5)
        queues = [dice.choice(CLASSES) for _ in range(800)]
        columns = {
            "queue": queues,
            "channel": [queue[0] if queue != "account" else "d" for queue in queues],
            "amount": [dice.gauss(CLASSES.index(queue) * 9, 2) if dice.random() < 0.9 else None for queue in queues],
        }
        names = Columns("queue", [], ["channel", "amount"])
        assert compare(columns, old=columns, names=names).before > 0.9
        assert compare(shifted(columns, 1), old=columns, names=names).offset == -1
        assert compare(columns, old=columns, names=Columns("queue", [], ["channel"])).before < 0.8

    def test_texts_without_spaces_are_told_apart_by_characters(self):
        dice = random.Random(6)
        signs = {"billing": "請求書返金支払", "delivery": "荷物配達住所追跡", "account": "暗証番号登録利用者"}
        queues = [dice.choice(CLASSES) for _ in range(600)]
        texts = ["".join(dice.choices(signs[queue] + "のをはにでお願", k=8)) for queue in queues]
        columns = {"text": texts, "queue": queues}
        assert compare(columns, old=columns).before > 0.9

    def test_rows_are_read_from_examples_and_no_word_is_kept(self, tmp_path):
        columns = table(1, rows=50)
        columns["channel"] = [None, *["web"] * 49]
        batch = pa.RecordBatch.from_pydict({**columns, "amount": pa.array(range(50), pa.float32())})
        with encode.ExampleWriter(tmp_path / "Split-train", rows_per_shard=20) as writer:
            writer.write(batch)
        read = label_agreement.read(tmp_path, COLUMNS)
        assert read["train"].labels.to_pylist() == columns["queue"]
        assert np.diff(read["train"].ends).tolist() == [5, *[6] * 49]
        assert read["train"].numbers["amount"].tolist() == list(range(50))
        assert len(read["eval"]) == len(read["test"]) == 0
        assert read["train"].words.dtype == np.uint64
