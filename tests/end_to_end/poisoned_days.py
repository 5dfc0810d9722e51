"""Days of tickets, good and poisoned, each run up to the data gate, all in this process, which imports TensorFlow once.

Every node runs as it does in `parlance run`.

    python -m tests.end_to_end.poisoned_days FOLDER

Runs the good days one after the other in one root, and every poisoned day in a copy of it. The last line is a JSON object: by day, what
`parlance run` would have shown, its exit code and the gate's findings.
"""

from __future__ import annotations

import csv
import datetime
import io
import json
import os
import pathlib
import random
import shutil
import sys
import time
from collections.abc import Callable
from typing import Any

from tfx.dsl.compiler import constants
from tfx.orchestration import metadata
from tfx.orchestration.portable import runtime_parameter_utils

from components.errors import ParlanceError
from pipeline import config, dag, progress, record
from pipeline.local import launch, root

FIRST = datetime.date(2026, 3, 2)
GOOD_DAYS = 8
ROWS = 700

QUEUES = ("billing", "delivery", "account", "technical")
WORDS = {
    "en": {
        "billing": "invoice refund charge payment receipt",
        "delivery": "parcel courier shipping address tracking",
        "account": "password login username locked profile",
        "technical": "crash error update screen slow",
    },
    "de": {
        "billing": "rechnung gutschrift betrag zahlung quittung",
        "delivery": "paket kurier versand adresse sendung",
        "account": "passwort anmeldung benutzername gesperrt profil",
        "technical": "absturz fehler aktualisierung bildschirm langsam",
    },
    "el": {
        "billing": "τιμολόγιο επιστροφή χρέωση πληρωμή απόδειξη",
        "delivery": "δέμα κούριερ αποστολή διεύθυνση παράδοση",
        "account": "κωδικός σύνδεση χρήστης κλειδωμένος προφίλ",
        "technical": "σφάλμα ενημέρωση οθόνη αργό πρόβλημα",
    },
}
FILLERS = {
    "en": "please the my is again still with help today since",
    "de": "bitte die meine ist wieder noch mit hilfe heute seit",
    "el": "παρακαλώ το μου είναι πάλι ακόμα με βοήθεια σήμερα από",
}

PIPELINE = """
name: tickets
data:
  source: {type: csv, path: "days/{YYYY}-{MM}-{DD}.csv"}
  text: text
  label: queue
  segments: [language, channel]
  group: customer
  timestamp: created_at
  split: {by: group}
  enforce_schema: true
schema: schemas/tickets/schema.pbtxt
privacy: {redact: [patterns]}
model: {encoder: ngrams}
evaluation: {gates: [{metric: accuracy, above_majority: 0.05}]}
"""
SCHEMA = """
feature { name: "text" type: BYTES presence { min_fraction: 1.0 } }
feature {
  name: "queue" type: BYTES presence { min_fraction: 1.0 } not_in_environment: "SERVING"
  string_domain { value: "billing" value: "delivery" value: "account" value: "technical" }
}
feature { name: "language" type: BYTES presence { min_fraction: 1.0 } string_domain { value: "en" value: "de" } }
feature { name: "channel" type: BYTES string_domain { value: "web" value: "phone" value: "chat" } }
feature { name: "amount" type: FLOAT presence { min_fraction: 1.0 } }
feature { name: "minutes" type: FLOAT }
feature { name: "customer" type: BYTES presence { min_fraction: 1.0 } not_in_environment: "SERVING" }
default_environment: "TRAINING"
default_environment: "SERVING"
"""

Row = dict[str, str]


def tickets(day: int, rows: int = ROWS) -> list[Row]:
    """Tickets of one day, as they should be; the same for the same day."""
    dice = random.Random(day)
    midnight = datetime.datetime.combine(FIRST + datetime.timedelta(days=day), datetime.time())
    made = []
    for number in range(rows):
        language, queue = dice.choices(["en", "de"], [7, 3])[0], dice.choices(QUEUES, [4, 3, 2, 1])[0]
        made.append(
            {
                "text": message(dice, language, queue),
                "queue": queue,
                "language": language,
                "channel": dice.choices(["web", "phone", "chat"], [5, 3, 2])[0],
                "amount": f"{dice.lognormvariate(3, 0.8):.2f}",
                "minutes": f"{dice.expovariate(1 / 12):.1f}",
                "customer": f"c{dice.randrange(600):04d}",
                "created_at": (midnight + datetime.timedelta(seconds=86_400 * number // rows)).isoformat(),
            }
        )
    return made


def message(dice: random.Random, language: str, queue: str) -> str:
    """A message about something, of a few words of a language."""
    words = dice.choices(WORDS[language][queue].split(), k=2) + dice.choices(FILLERS[language].split(), k=4)
    dice.shuffle(words)
    return " ".join(words) + f" {dice.randrange(10_000)}"


def as_cents(rows: list[Row]) -> list[Row]:
    return [{**row, "amount": f"{float(row['amount']) * 100:.0f}"} for row in rows]


def swapped(one: str, other: str) -> Callable[[list[Row]], list[Row]]:
    return lambda rows: [{**row, one: row[other], other: row[one]} for row in rows]


def flooded(rows: list[Row]) -> list[Row]:
    dice = random.Random(1)
    return [*rows, *({**row, "text": message(dice, row["language"], row["queue"]), "customer": "c0007"} for row in rows)]


def in_greek(rows: list[Row]) -> list[Row]:
    dice = random.Random(2)
    return [{**row, "text": message(dice, "el", row["queue"]), "language": "el"} if dice.random() < 0.3 else row for row in rows]


def in_greek_unsaid(rows: list[Row]) -> list[Row]:
    return [{**new, "language": row["language"]} for row, new in zip(rows, in_greek(rows), strict=True)]


def shifted(rows: list[Row]) -> list[Row]:
    return [{**row, "queue": before["queue"]} for row, before in zip(rows, [rows[-1], *rows[:-1]], strict=True)]


def next_class(rows: list[Row]) -> list[Row]:
    return [{**row, "queue": QUEUES[(QUEUES.index(row["queue"]) + 1) % len(QUEUES)]} for row in rows]


def emptied(*columns: str) -> Callable[[list[Row]], list[Row]]:
    return lambda rows: [{**row, **dict.fromkeys(columns, "")} for row in rows]


def misread(rows: list[Row]) -> list[Row]:
    return [{**row, "amount": "n.n."} if number % 10 == 0 else row for number, row in enumerate(rows)]


POISONS: dict[str, Callable[[list[Row]], list[Row]]] = {
    "nothing": list,
    "another unit": as_cents,
    "swapped categories": swapped("channel", "language"),
    "swapped numbers": swapped("amount", "minutes"),
    "text in a category": swapped("text", "channel"),
    "a flood": flooded,
    "a new language": in_greek,
    "a new language unsaid": in_greek_unsaid,
    "labels of the row before": shifted,
    "labels of the next class": next_class,
    "an emptied column": emptied("channel"),
    "an emptied required column": emptied("amount"),
    "amounts that are no numbers": misread,
}


class Days:
    """A pipeline over days, in a folder that becomes the working directory."""

    def __init__(self, folder: pathlib.Path):
        os.chdir(folder)
        pathlib.Path("days").mkdir()
        pathlib.Path("schemas/tickets").mkdir(parents=True)
        pathlib.Path("schemas/tickets/schema.pbtxt").write_text(SCHEMA, encoding="utf-8")
        pathlib.Path("tickets.yaml").write_text(PIPELINE, encoding="utf-8")
        self._config = config.load("tickets.yaml", [])

    def run(self, day: int, rows: list[Row], root_folder: str) -> dict[str, Any]:
        """Runs one day up to the data gate; returns what a user sees, the exit code and the findings."""
        path = pathlib.Path("days") / f"{FIRST + datetime.timedelta(days=day)}.csv"
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        place = root.Root(root_folder)
        compiled = dag.compile_pipeline(self._config, place.path, place.metadata_config())
        folder = place.new_run(self._config.name)
        runtime_parameter_utils.substitute_runtime_parameter(compiled, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: folder.name})
        store = metadata.Metadata(place.metadata_config())
        ids = launch.node_ids(compiled)
        shown, nodes, launched, error = io.StringIO(), [], {}, None
        listener = progress.Progress(shown)
        listener.run_started(folder.name, ids)
        started = time.monotonic()
        for node_id in ids[: ids.index("DataGate") + 1]:
            try:
                launched[node_id] = launch.launch(compiled, node_id, store)
            except ParlanceError as raised:
                launched[node_id], error = launch.Launched("failed", None, {}, {}), raised
            nodes.append(record.node_entry(node_id, launched[node_id], 0.0, error))
            listener.node_ended(nodes[-1])
            if error is not None:
                break
        seconds = time.monotonic() - started
        run = record.close(folder.name, self._config, folder, nodes, launched, error, seconds=seconds, peak_mib=0.0)
        shown.write("\n" + "\n".join(progress.conclusion(run)) + "\n")
        findings = run["verdict"]["findings"] if run["verdict"] else run["data_findings"]
        return {
            "shown": shown.getvalue(),
            "exit_code": run.get("exit_code", 0),
            "findings": findings,
            "record": (folder / "run.json").read_text(encoding="utf-8"),
            "report": (folder / "report.html").read_text(encoding="utf-8"),
        }


def main(folder: pathlib.Path) -> None:
    """Runs all days."""
    days = Days(folder)
    results = {f"good day {day}": days.run(day, tickets(day), "good") for day in range(GOOD_DAYS)}
    for number, (name, poison) in enumerate(POISONS.items()):
        shutil.copytree("good", f"poisoned-{number}")
        results[name] = days.run(GOOD_DAYS, poison(tickets(GOOD_DAYS)), f"poisoned-{number}")
    sys.stdout.write("\n" + json.dumps(results) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]).absolute())
