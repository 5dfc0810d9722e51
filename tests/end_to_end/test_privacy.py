"""Secrets planted in the rows of a run are in nothing that it writes: artifacts, vocabularies, the model, logs, report, metadata."""

import csv
import gzip
import json

import pytest

from serving.redaction import FILE
from tests.conftest import parlance

pytestmark = pytest.mark.end_to_end

# Frequent enough to get into a vocabulary or among the top values of a column, if anything lets them.
SECRETS = ("grace.planted@example.org", "4111 1111 1111 1111", "+49 30 5550 1234", "DE89 3704 0044 0532 0130 00", "192.0.2.77")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("privacy")
    with open(folder / "turns.csv", "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label", "team"])
        for number in range(900):
            what = "refund my order" if number % 2 else "change my address"
            rows.writerow([f"please {what}, case {number}, {SECRETS[number % len(SECRETS)]}", what[:6], f"team {number % 3}"])
    made = parlance("init", "turns.csv", "--label", "label", "--segment", "team", "--text", "text", "--name", "turns", cwd=folder)
    assert made.returncode == 0, made.stderr
    shown = parlance("run", "turns.yaml", "--root", "root", "--set", "model.epochs=1", "--output", "json", cwd=folder)
    assert shown.returncode in (0, 1), shown.stdout + shown.stderr
    assert json.loads(shown.stdout)["rows"]["train"] > 500
    return folder / "root"


def contents(root):
    for file in root.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            yield file.relative_to(root), gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


class TestPlantedSecrets:
    def test_are_nowhere_below_the_root(self, root):
        files = dict(contents(root))
        assert any(b"[email]" in content for content in files.values())
        found = [f"{name}: {secret}" for name, content in files.items() for secret in SECRETS if secret.encode() in content]
        assert found == []

    def test_are_counted_in_the_audit(self, root):
        [summary] = root.glob("pipelines/turns/ExampleGen/examples/*/summary.json")
        audit = json.loads(summary.read_text())["privacy"]
        assert audit["redacted_rows"] == 900
        assert {"email", "card", "phone", "iban", "ip"} <= audit["entities"].keys()

    def test_the_rules_go_with_the_model(self, root):
        assert list(root.glob(f"pipelines/turns/Trainer/model/*/Format-Serving/{FILE}"))
