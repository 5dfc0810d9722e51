"""What checks cost ingestion: a CSV with validation, redaction by patterns and quarantine, beside the same rows without them.

    python -m benchmarks.ingestion [--rows N] [--large N] [--rounds N]

Rows are voice commands of the default job with a made-up word each, so that no two are equal, a language, a channel, an amount, a customer
and a time. One side reads them as they are, against a schema of nothing but types. The other reads a table in which 1 row in 100 breaks a
rule (no label, a language or an amount that is none) and 1 in 50 holds an e-mail address, a phone or a card number, against a schema of
domains and limits that every row has to keep, with everything that has a pattern removed from the texts. Both sides hash, split, count and
write examples. A last run of the second side on `--large` rows shows whether memory grows with them.

Each run is a process of its own, the sides in turn. Seconds are of ingestion itself; wall time and memory are of the whole process. The
last line is one JSON object.
"""

from __future__ import annotations

import argparse
import functools
import json
import pathlib
import sys
import tempfile
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from benchmarks import measure

PLAIN, CHECKED = "without checks", "with checks"
_ROWS, _LARGE = 1_000_000, 10_000_000
_LANGUAGES = ("de", "el", "en", "es", "fr", "nl", "pl", "pt", "ru", "th")
_CHANNELS = ("web", "phone", "chat", "watch")
_CUSTOMERS = 50_000
_SYLLABLES = ("ba", "de", "fi", "go", "hu", "ka", "le", "mi", "no", "pu")
_DISTINCT_COMMANDS = 60_000
_ROWS_PER_WRITE = 100_000
# One row in so many.
_BROKEN, _PERSONAL = 100, 50
_PRIVATE = (" write to jane.doe@example.com", " or call +1 202 555 0143", " my card is 4111 1111 1111 1111")

_TYPES = {"text": "BYTES", "intent": "BYTES", "language": "BYTES", "channel": "BYTES", "amount": "FLOAT", "customer": "BYTES"}
_LABEL = 'not_in_environment: "SERVING"'


def write_table(path: pathlib.Path, rows: int, dirty: bool) -> dict[str, int]:
    """Writes a CSV; returns how many rows break a rule and how many hold personal data.

    Args:
      path: The file.
      rows: How many rows.
      dirty: Whether some break rules and hold personal data.
    """
    commands = _commands(_DISTINCT_COMMANDS)
    generator, broken, personal = np.random.default_rng(0), 0, 0
    with open(path, "wb") as file:
        for start in range(0, rows, _ROWS_PER_WRITE):
            numbers = np.arange(start, min(start + _ROWS_PER_WRITE, rows))
            table = _rows(commands.take(pa.array(numbers % len(commands))), numbers, generator)
            if dirty:
                bad, private = numbers % _BROKEN == 0, numbers % _PERSONAL == 1
                table = _spoil(table, numbers, bad, private)
                broken, personal = broken + int(bad.sum()), personal + int(private.sum())
            pa_csv.write_csv(table, file, pa_csv.WriteOptions(include_header=start == 0, quoting_style="needed"))
    return {"broken": broken, "personal": personal}


@functools.cache
def _commands(count: int) -> pa.Table:
    from components.ingestion import home_assistant_intents

    return home_assistant_intents.sample(_LANGUAGES, count, seed=0).combine_chunks()


def _rows(commands: pa.Table, numbers: np.ndarray, generator: np.random.Generator) -> pa.Table:
    rows = len(numbers)
    return pa.table(
        {
            "text": pc.binary_join_element_wise(commands["text"], made_up_words(numbers), " "),
            "intent": commands["intent"],
            "language": commands["language"],
            "channel": pa.array(_CHANNELS).take(pa.array(generator.integers(0, len(_CHANNELS), rows))),
            "amount": pa.array(generator.lognormal(3, 0.8, rows).round(2)).cast(pa.string()),
            "customer": pa.array(generator.integers(0, _CUSTOMERS, rows)).cast(pa.string()),
            "created_at": pa.array(1_760_000_000 + numbers // 3),
        }
    )


def made_up_words(numbers: np.ndarray) -> pa.Array:
    """Returns a word for each whole number, another one for every number; digits would look like personal data."""
    words = pa.array(numbers).cast(pa.string())
    for digit, syllable in enumerate(_SYLLABLES):
        words = pc.replace_substring(words, str(digit), syllable)
    return words


def _spoil(table: pa.Table, numbers: np.ndarray, bad: np.ndarray, private: np.ndarray) -> pa.Table:
    """Breaks rules in turn in the rows that are `bad`, and adds personal data to the texts of those that are `private`."""
    turn = numbers // _BROKEN % 3
    for place, (name, value) in enumerate((("intent", ""), ("language", "xx"), ("amount", "n/a"))):
        where = pa.array(bad & (turn == place))
        column = pc.if_else(where, value, table[name])
        table = table.set_column(table.schema.get_field_index(name), name, column)
    added = pa.array(_PRIVATE).take(pa.array(numbers // _PERSONAL % len(_PRIVATE)))
    text = pc.if_else(pa.array(private), pc.binary_join_element_wise(table["text"], added, ""), table["text"])
    return table.set_column(0, "text", text)


def schema_text(intents: list[str], checked: bool) -> str:
    """Returns the schema: types alone, or with what every row has to keep."""
    limits = {
        "text": "presence { min_fraction: 1 }",
        "intent": f"presence {{ min_fraction: 1 }} string_domain {{ {_values(intents)} }}",
        "language": f"presence {{ min_fraction: 1 }} string_domain {{ {_values(_LANGUAGES)} }}",
        "channel": f"string_domain {{ {_values(_CHANNELS)} }}",
        "amount": "presence { min_fraction: 1 } float_domain { min: 0 max: 100000 }",
        "customer": "presence { min_fraction: 1 }",
    }
    return "\n".join(
        f'feature {{ name: "{name}" type: {kind} {limits[name] if checked else ""} {_LABEL if name == "intent" else ""} }}'
        for name, kind in _TYPES.items()
    )


def _values(values) -> str:
    return " ".join(f'value: "{value}"' for value in values)


def ingested(side: dict[str, Any]) -> dict[str, Any]:
    """Ingests a table in this process.

    Args:
      side: `path` of the table, `schema` as text, `checked`.

    Returns:
      `seconds`, `rows`, `quarantined`, and `redacted_rows`.
    """
    from components.ingestion.ingest import ingest
    from components.ingestion.options import DataOptions
    from components.privacy.options import PrivacyOptions
    from components.validation import schema_file

    options = DataOptions.model_validate(
        {
            "source": {"type": "csv", "path": side["path"]},
            "text": "text",
            "label": "intent",
            "segments": ["language", "channel"],
            "enforce_schema": side["checked"],
        }
    )
    privacy = PrivacyOptions.model_validate({"redact": ["patterns"]} if side["checked"] else {})
    with tempfile.TemporaryDirectory() as scratch:
        started = time.perf_counter()
        folders = f"{scratch}/examples", f"{scratch}/quarantine"
        summary = ingest(options, schema_file.parse(side["schema"]), None, *folders, privacy)
        seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "rows": sum(summary["rows"].values()),
        "quarantined": summary["rows"]["quarantined"],
        "redacted_rows": summary["privacy"]["redacted_rows"],
    }


def compare(rows: int, large: int, rounds: int) -> dict[str, Any]:
    """Runs both sides in turn, and the one with checks on many rows; returns medians by side, and the ratios.

    Args:
      rows: Rows of both sides.
      large: Rows of the last run; none if 0.
      rounds: Runs of each side.
    """
    intents = sorted(set(_commands(_DISTINCT_COMMANDS)["intent"].to_pylist()))
    with tempfile.TemporaryDirectory() as scratch:
        sides, planted = {}, {}
        for name in (PLAIN, CHECKED):
            path, checked = pathlib.Path(scratch) / f"{len(sides)}.csv", name == CHECKED
            planted[name] = write_table(path, rows, dirty=checked)
            sides[name] = {"path": str(path), "schema": schema_text(intents, checked), "checked": checked}
        taken: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
        for _ in range(rounds):
            for name, side in sides.items():
                taken[name].append(_measured(side))
        result: dict[str, Any] = {"rows": rows, "planted": planted[CHECKED]}
        for name, measurements in taken.items():
            result[name] = {key: round(measure.median(measurements, key), 2) for key in measurements[0]}
        result["seconds_ratio"], result["cpu_ratio"] = (
            round(result[CHECKED][key] / result[PLAIN][key], 3) for key in ("seconds", "cpu_s")
        )
        if large:
            path = pathlib.Path(sides[CHECKED]["path"])
            write_table(path, large, dirty=True)
            result[f"{CHECKED}, {large:,} rows"] = many = _measured(sides[CHECKED])
            result["memory_ratio"] = round(many["peak_mib"] / result[CHECKED]["peak_mib"], 3)
    return result


def _measured(side: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.ingestion", "--side", json.dumps(side)]
    printed, used = measure.command(command)
    return {**{name: round(value, 2) for name, value in used.items()}, **json.loads(printed.strip().splitlines()[-1])}


def main() -> None:
    """Prints a table and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=_ROWS, help="rows of both sides (default: %(default)s)")
    parser.add_argument(
        "--large", type=int, default=_LARGE, help="rows of the run for memory; 0 leaves it out (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=1, help="runs of each side (default: %(default)s)")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(ingested(json.loads(options.side))))
        return
    result = compare(options.rows, options.large, options.rounds)
    print("| side | rows | seconds | CPU s | rows a second | set aside | redacted | peak memory MiB |")
    print("|---|---|---|---|---|---|---|---|")
    for name, side in result.items():
        if isinstance(side, dict) and "seconds" in side:
            print(
                f"| {name} | {side['rows']:,.0f} | {side['seconds']:.1f} | {side['cpu_s']:.1f} | {side['rows'] / side['seconds']:,.0f}"
                f" | {side['quarantined']:,.0f} | {side['redacted_rows']:,.0f} | {side['peak_mib']:.0f} |"
            )
    print(f"checks take {result['seconds_ratio']} times the seconds and {result['cpu_ratio']} times the CPU time of none", end="")
    print(f"; memory grows by a factor of {result['memory_ratio']}" if "memory_ratio" in result else "")
    ours = {key: result[CHECKED][key] for key in ("wall_s", "cpu_s", "peak_mib")}
    print(
        json.dumps({"area": "ingestion", "rows": options.rows, "ours": ours, "stock": None, "wall_ratio": None, "detail": result})
    )


if __name__ == "__main__":
    main()
