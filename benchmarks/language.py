"""Language detection: accuracy by language and throughput on commands that people wrote in 65 languages.

    python -m benchmarks.language [ROWS]

Needs the extra `language`. Regional variants count as their language, as the detector cannot tell them apart. Twice: with all languages
that the detector knows to choose from, and with those of the default job. `decided` is the share of texts above the least confidence;
`right` is the share of all texts that get their language, `right_of_decided` that of those decided. One process, one core. The last line
is one JSON object.
"""

from __future__ import annotations

import collections
import json
import os
import pathlib
import sys
import time
from typing import Any

import pyarrow.parquet

from components.ingestion.language import UNDETERMINED, Detector, LanguageOptions

DATA = pathlib.Path(os.environ.get("PARLANCE_DATA", pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"))
_DEFAULT_JOB = ("de", "el", "en", "es", "fr", "nl", "pl", "pt", "ru", "th", "zh")


def measure(options: LanguageOptions, texts: pyarrow.Array, languages: list[str]) -> dict[str, Any]:
    """Returns accuracy, overall and by language, and texts a second.

    Args:
      options: The languages to choose from.
      texts: The texts.
      languages: The language of each.
    """
    detector = Detector(options)
    started = time.perf_counter()
    found = detector.detect(texts)[0].to_pylist()
    seconds = time.perf_counter() - started
    rows, right = collections.Counter(languages), collections.Counter[str]()
    for guess, language in zip(found, languages, strict=True):
        right[language] += guess == language
    decided = sum(guess != UNDETERMINED for guess in found)
    return {
        "rows": len(found),
        "rows_per_s": round(len(found) / seconds),
        "decided": round(decided / len(found), 4),
        "right": round(right.total() / len(found), 4),
        "right_of_decided": round(right.total() / max(decided, 1), 4),
        "by_language": {name: round(right[name] / rows[name], 3) for name in sorted(rows)},
    }


def main(arguments: list[str]) -> None:
    """Measures and prints."""
    table = pyarrow.parquet.read_table(DATA / "ohf_intents_tests" / "data.parquet", columns=["text", "language"])
    if arguments:
        table = table.slice(0, int(arguments[0]))
    languages = [language.split("-")[0] for language in table["language"].to_pylist()]
    kept = [number for number, language in enumerate(languages) if language in _DEFAULT_JOB]
    everything = measure(LanguageOptions(), table["text"].combine_chunks(), languages)
    few = measure(
        LanguageOptions(languages=_DEFAULT_JOB), table["text"].combine_chunks().take(kept), [languages[number] for number in kept]
    )
    for name, result in (("all languages", everything), ("the default job's", few)):
        sys.stdout.write(
            f"{name}: right {result['right']:.1%}, decided {result['decided']:.1%}, {result['rows_per_s']:,} rows/s\n"
        )
        worst = sorted(result["by_language"].items(), key=lambda item: item[1])[:12]
        sys.stdout.write("  lowest: " + ", ".join(f"{language} {share:.0%}" for language, share in worst) + "\n")
    sys.stdout.write(json.dumps({"area": "language", "detail": {"all": everything, "default_job": few}}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
