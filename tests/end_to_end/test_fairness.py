"""A model that is worse for one group only: good enough on the whole, and stopped all the same."""

import csv
import json
import random

import pytest

from tests.conftest import parlance

pytestmark = pytest.mark.end_to_end

# Each language has words of its own, so that learning one says nothing about another.
WORDS = {
    "en": {"billing": ["invoice", "refund", "charge"], "delivery": ["parcel", "courier", "shipping"]},
    "de": {"billing": ["rechnung", "gutschrift", "betrag"], "delivery": ["paket", "kurier", "versand"]},
    "el": {"billing": ["τιμολόγιο", "επιστροφή", "χρέωση"], "delivery": ["δέμα", "κούριερ", "αποστολή"]},
}
ROWS = {"train": 1800, "eval": 400, "test": 900}

PIPELINE = """
name: tickets
data:
  source: {type: csv, path: tickets.csv}
  text: text
  label: queue
  segments: [language]
  split: {by: column, column: split}
schema: schemas/tickets/schema.pbtxt
model: {epochs: 5}
evaluation:
  fairness: {metrics: [accuracy, {metric: equalised_odds, class: billing}]}
  gates:
    - {metric: accuracy, min: 0.75}
    - {metric: accuracy, max_gap: 0.15, slices: {language: "*"}}
    - {metric: accuracy, max_drop: 0.05, slices: {language: "*"}}
"""


def write_table(path, spoilt=()):
    """Rows in three languages; in the train split, labels of spoilt languages are drawn by lot."""
    dice = random.Random(11)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "queue", "language", "split"])
        for split, rows in ROWS.items():
            for number in range(rows):
                language, queue = dice.choices(list(WORDS), [5, 4, 2])[0], dice.choice(["billing", "delivery"])
                text = " ".join(dice.choices(WORDS[language][queue], k=2)) + f" {split} {number}"
                lot = dice.choice(["billing", "delivery"])
                writer.writerow([text, lot if split == "train" and language in spoilt else queue, language, split])


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """Findings by rule and slice of a good model, and of a candidate that learnt nothing about Greek."""
    folder = tmp_path_factory.mktemp("fairness")
    found = []
    for spoilt in ((), ("el",)):
        write_table(folder / "tickets.csv", spoilt)
        if not spoilt:
            shown = parlance(
                "init", "tickets.csv", "--label", "queue", "--segment", "language", "--split-column", "split", cwd=folder
            )
            assert shown.returncode == 0, shown.stderr
            (folder / "tickets.yaml").write_text(PIPELINE, encoding="utf-8")
        shown = parlance("run", "tickets.yaml", "--output", "json", cwd=folder)
        record = json.loads(shown.stdout)
        found.append((record, {(entry["rule"], entry["subject"]): entry for entry in record["verdict"]["findings"]}))
    return found


def test_a_model_that_serves_all_groups_is_blessed(verdicts):
    record, findings = verdicts[0]
    assert record["state"] == "succeeded", record.get("error")
    assert {entry["outcome"] for entry in findings.values()} <= {"pass", "not applied"}


def test_a_candidate_that_is_worse_for_one_group_passes_overall_and_is_rejected_by_fairness(verdicts):
    record, findings = verdicts[1]
    assert record["state"] == "rejected", record.get("error")
    assert record["pushed"] is None
    assert findings["accuracy >= 0.75", ""]["outcome"] == "pass"
    [gap] = [entry for entry in findings.values() if "gap" in entry["rule"]]
    assert gap["outcome"] == "fail"
    assert gap["interval"][0] > 0.15
    assert "el" in gap["reason"]


def test_the_drop_against_the_baseline_is_found_in_that_group_alone(verdicts):
    _, findings = verdicts[1]
    drops = {subject: entry["outcome"] for (rule, subject), entry in findings.items() if "baseline" in rule}
    assert drops == {"language=de": "pass", "language=el": "fail", "language=en": "pass"}
