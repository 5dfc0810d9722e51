"""A user's own table: `parlance init`, then `parlance run`, without hand edits."""

import csv
import json
import random

import pytest

from tests.conftest import parlance

pytestmark = pytest.mark.end_to_end

WORDS = {
    "billing": ["invoice", "charge", "refund", "payment", "заплатить", "返金"],
    "delivery": ["parcel", "courier", "late", "address", "доставка", "配達"],
    "account": ["password", "login", "locked", "e-mail", "пароль", "ログイン"],
}


@pytest.fixture
def tickets(tmp_path):
    """Text in several scripts, numbers, categories and dates, missing values and odd column names."""
    dice = random.Random(7)
    path = tmp_path / "my tickets.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["Message text", "queue", "channel", "waited (min)", "created at", "nothing"])
        for number in range(1500):
            queue = dice.choice(list(WORDS))
            words = dice.choices(WORDS[queue], k=3) + dice.choices(["please", "the", "my", "again", "日", "не"], k=4)
            dice.shuffle(words)
            waited = "" if dice.random() < 0.1 else f"{dice.expovariate(0.1):.1f}"
            created = f"2026-0{dice.randint(1, 9)}-1{dice.randint(0, 9)}T08:00:00"
            writer.writerow([" ".join(words) + f" {number}", queue, dice.choice(["web", "phone", ""]), waited, created, ""])
    return path


def test_init_and_run_without_hand_edits(tickets, tmp_path):
    shown = parlance("init", tickets, "--label", "queue", "--segment", "channel", "--name", "tickets", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "nothing" in shown.stdout  # the empty column is mentioned
    shown = parlance("run", "tickets.yaml", "--output", "json", "--set", "model.epochs=8", cwd=tmp_path)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    record = json.loads(shown.stdout)
    assert record["metrics"]["accuracy"] > 0.9
    assert record["pushed"]["model"] == "tickets"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,queue\n", "no rows"),
        ("text,topic\nhello,a\n", "queue"),
        ("text,queue\n" + "hello,a\n" * 50, "at least two classes"),
        ("text,queue,queue\nhello,a,b\n", "repeats 'queue'"),
    ],
)
def test_a_table_that_cannot_be_used_is_exit_code_2(tmp_path, content, message):
    (tmp_path / "t.csv").write_text("text,queue\n" + "".join(f"hello {n},{'ab'[n % 2]}\n" for n in range(200)), encoding="utf-8")
    assert parlance("init", "t.csv", "--label", "queue", cwd=tmp_path).returncode == 0
    (tmp_path / "t.csv").write_text(content, encoding="utf-8")
    shown = parlance("run", "t.yaml", "--to", "ExampleGen", cwd=tmp_path)
    assert shown.returncode == 2, shown.stdout + shown.stderr
    assert message in shown.stdout


def test_anomalous_data_is_rejected_with_column_expectation_and_observation(tmp_path):
    rows = [f"hello {n},{'ab'[n % 2]},{['web', 'phone'][n % 2]}" for n in range(600)]
    (tmp_path / "t.csv").write_text("text,queue,channel\n" + "\n".join(rows) + "\n", encoding="utf-8")
    assert parlance("init", "t.csv", "--label", "queue", "--segment", "channel", cwd=tmp_path).returncode == 0
    changed = [row.replace("web", f"fax{n % 40}") for n, row in enumerate(rows)]
    (tmp_path / "t.csv").write_text("text,queue,channel\n" + "\n".join(changed) + "\n", encoding="utf-8")
    shown = parlance("run", "t.yaml", "--output", "json", cwd=tmp_path)
    assert shown.returncode == 1, shown.stdout + shown.stderr
    record = json.loads(shown.stdout)
    assert record["state"] == "rejected"
    [error, *_] = [finding for finding in record["verdict"]["findings"] if finding["severity"] == "error"]
    assert error["subject"] == "channel"
    assert error["expected"]
    assert error["observed"]
