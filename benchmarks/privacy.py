"""Personal data: what patterns find and miss, how fast, and what removing it costs a classifier, beside Presidio's pattern recognisers.

    python -m benchmarks.privacy [--part v2|generated_large] [--tagger SERVABLE] [--presidio PYTHON] [--accuracy] [--rows N]

Two sets. presidio_synth: synthetic English sentences with spans of personal data. Rules were chosen on its part generated_large; v2 is for
measuring. multidogo: people's chat turns, one tag a token, with all punctuation stripped from them ("annexamplecom", "4417"); rules were
chosen on its train split, the test split is measured. What people type when asked for a number is often nothing but that number, for which
there is `number`; its rules were chosen on half of the conversations, by a hash of their id, and `chats` measures all turns of the others:
numbers of four digits or more without anything else, whether they went and under the right name, and whether what went was personal. Each
tag counts as it is, though some numbers of the same kind have none. `elsewhere` says how many texts `number` changes that are no chats.

A span counts as found if a span of the same entity overlaps it by half of the two together (intersection over union, in characters).
Precision is the share of found spans that are right by the same measure; F2 weighs recall twice. `removed` is the share of a kind's letters
and digits that go, under whatever name: that is what redaction is for.

Presidio runs in an interpreter of its own, as it is no dependency (`--presidio`, one with presidio-analyzer and pyarrow). Its default
engine wants a spaCy model, which has to be downloaded from elsewhere than a package index; here it has a blank English pipeline, so its
named entities are missing and words of context are compared as they are written, not by lemma.

`--tagger` measures a trained tagger as well (`parlance run pipeline/configs/tagger.yaml`): people, addresses, organisations, and texts a
second. It has seen neither set, or generated_large if that is its `data.source.table`; v2 repeats sentences of it, so that the others are
also scored by themselves: those are patterns that were held out.

`--accuracy` trains the default model on multidogo as it is, without what patterns find, and without bare numbers too. The last line is one
JSON object.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
import pathlib
import resource
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pyarrow.parquet

from benchmarks.found_spans import Found, bare_numbers, score

DATA = pathlib.Path(os.environ.get("PARLANCE_DATA", pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"))

# Names in the sets, and Presidio's, in our words. What patterns cannot find (names, places, dates, titles) is left out on all sides.
_SYNTH = {
    "CREDIT_CARD": "card",
    "PHONE_NUMBER": "phone",
    "EMAIL_ADDRESS": "email",
    "US_SSN": "us_ssn",
    "IBAN_CODE": "iban",
    "IP_ADDRESS": "ip",
    "DOMAIN_NAME": "url",
    "US_DRIVER_LICENSE": "driver_license",
}
_PRESIDIO = {**_SYNTH, "URL": "url"}
_DOGO = {
    "email_address": "email",
    "phone_number": "phone",
    "phonenumber": "phone",
    "ssn": "us_ssn",
    "card_number": "card",
    "account_number": "account",
    "target_account_number": "account",
    "account_id": "account",
    "password": "password",
    "booking_confirmation_number": "reference",
    "order_number": "reference",
    "policyid": "reference",
    "claimid": "reference",
}
# What the tagger finds. Parts of addresses count as addresses; towns and countries by themselves are nobody's.
_SYNTH_TAGGED = {
    "PERSON": "person",
    "ADDRESS": "address",
    "STREET_ADDRESS": "address",
    "ORGANIZATION": "organisation",
}
_DOGO_TAGGED = {"name": "person", "address": "address", "company_name": "organisation"}
# Also somebody's, though not what was asked for: a house number, a postal code, the digits in a name.
_DOGO_ALSO = {
    "address": "address",
    "current_zipcode": "address",
    "new_zipcode": "address",
    "name": "person",
    "username": "user_name",
}
_CHATS = ("patterns", "number")
_ELSEWHERE = ("snips", "banking77", "clinc150", "ohf_intents_tests")
_SPEED_BATCH = 20_000


def presidio_synth(part: str, names: Mapping[str, str] = _SYNTH) -> list[tuple[str, list[Found]]]:
    """Texts with their spans.

    Args:
      part: v2 or generated_large.
      names: Our word for each of the set's entities that count.
    """
    rows = pyarrow.parquet.read_table(DATA / "presidio_synth" / f"{part}.parquet", columns=["text", "spans"]).to_pylist()
    return [
        (
            row["text"],
            [(span["start"], span["end"], names[span["entity"]]) for span in json.loads(row["spans"]) if span["entity"] in names],
        )
        for row in rows
    ]


def multidogo(part: str, names: Mapping[str, str] = _DOGO) -> list[tuple[str, list[Found]]]:
    """Texts with their spans: neighbouring tokens of one tag are one. Rows whose tags do not fit their tokens are left out.

    Args:
      part: A split, or `other conversations`: those of any split that `number` was not made with.
      names: Our word for each of the set's tags that count.
    """
    columns = ["text", "slot_labels", "split", "conversation_id"]
    table = pyarrow.parquet.read_table(DATA / "multidogo" / "turn.parquet", columns=columns).to_pylist()
    rows = []
    for row in table:
        tokens, tags = (row["text"] or "").split(), (row["slot_labels"] or "").split()
        wanted = _is_other(row["conversation_id"]) if part == "other conversations" else row["split"] == part
        if not wanted or not tokens or len(tokens) != len(tags):
            continue
        spans: list[Found] = []
        position, before = 0, None
        for token, tag in zip(tokens, tags, strict=True):
            start = row["text"].index(token, position)
            position = start + len(token)
            if tag in names:
                if tag == before:
                    spans[-1] = (spans[-1][0], position, spans[-1][2])
                else:
                    spans.append((start, position, names[tag]))
            before = tag
        rows.append((row["text"], spans))
    return rows


def _is_other(conversation: object) -> bool:
    return hashlib.sha256(str(conversation).encode()).digest()[0] % 2 == 1


def chats() -> dict[str, Any]:
    """What is found with `number` in conversations that it was not made with, and in how many texts that are no chats.

    Returns:
      `rows`; `numbers`, see `bare_numbers`; `elsewhere`, by set: `texts`, how many `patterns` change, and how many `number` does besides.
    """
    from serving.redaction import Redactor

    redactor = Redactor(_CHATS)

    def found(texts: Sequence[str]) -> list[list[Found]]:
        return [[(span.start, span.end, span.entity) for span in spans] for spans in redactor.find_all(texts)]

    rows = multidogo("other conversations", {**_DOGO, **_DOGO_ALSO})
    elsewhere = {}
    for name in _ELSEWHERE:
        files = sorted((DATA / name).rglob("*.parquet"))
        columns = [pyarrow.parquet.read_table(file, columns=["text"])["text"].to_pylist() for file in files]
        entities = [{span[2] for span in spans} for spans in found([text for column in columns for text in column if text])]
        elsewhere[name] = {
            "texts": len(entities),
            "patterns": sum(bool(here - {"number"}) for here in entities),
            "number": sum("number" in here for here in entities),
        }
    return {
        "rows": len(rows),
        "numbers": bare_numbers(rows, found([text for text, _ in rows]), set(_DOGO_ALSO.values())),
        "elsewhere": elsewhere,
    }


def _ours() -> Callable[[str], list[Found]]:
    from serving.redaction import Redactor

    redactor = Redactor(["patterns"])
    return lambda text: [(span.start, span.end, span.entity) for span in redactor.find(text)]


def _presidio(threshold: float) -> Callable[[str], list[Found]]:
    """Presidio with its default recognisers, but for the one that asks the spaCy model that is not there."""
    import spacy
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    class BlankEngine(SpacyNlpEngine):
        def __init__(self):
            super().__init__()
            self.nlp = {"en": spacy.blank("en")}

        def load(self):
            """Nothing to load."""

    engine = AnalyzerEngine(nlp_engine=BlankEngine(), supported_languages=["en"], default_score_threshold=threshold)
    wanted = sorted(set(_PRESIDIO) & set(engine.get_supported_entities("en")))
    return lambda text: [(one.start, one.end, _PRESIDIO[one.entity_type]) for one in engine.analyze(text, "en", entities=wanted)]


def measured(side: dict[str, Any]) -> dict[str, Any]:
    """Runs one tool over everything, in this process.

    Args:
      side: `tool` (`ours` or `presidio`), `threshold` of Presidio's scores, `part` of presidio_synth, `rows` of multidogo's test split.

    Returns:
      `synth` and `multidogo`, see `score`; `wall_s` and `cpu_s` of finding in all of multidogo's rows; `peak_mib`.
    """
    find = _ours() if side["tool"] == "ours" else _presidio(side["threshold"])
    synth, chats = presidio_synth(side["part"]), multidogo("test")
    # Spread over the set, which is in order of product domains.
    chats = chats[:: max(1, len(chats) // side["rows"])]
    find("a first time, as compiling patterns is no part of finding: 4111 1111 1111 1111")
    scores = score(synth, [find(text) for text, _ in synth])
    wall, cpu = time.perf_counter(), time.process_time()
    found = [find(text) for text, _ in chats]
    return {
        "synth": scores,
        "multidogo": score(chats, found),
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "rows": len(chats),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def speed() -> dict[str, dict[str, float]]:
    """Rows a second of the redactor that ingestion uses, with `number`, on one core, by set."""
    import pyarrow as pa

    from components.ingestion.options import HomeAssistantIntentsSource
    from components.ingestion.readers import read_batches
    from components.privacy.batch import BatchRedactor
    from components.privacy.options import PrivacyOptions

    source = HomeAssistantIntentsSource(
        type="home_assistant_intents", languages=("de", "en", "es", "fr", "ru", "th", "zh-CN"), rows=20_000
    )
    commands = [
        text for chunk in read_batches(source, None, {"text": "this benchmark reads"}) for text in chunk.rows["text"].to_pylist()
    ]
    chats = pyarrow.parquet.read_table(DATA / "multidogo" / "turn.parquet", columns=["text"])["text"].to_pylist()
    results = {}
    for name, texts in (("multidogo", chats), ("commands in 7 languages", commands)):
        batches = [
            pa.RecordBatch.from_pydict({"text": pa.array(texts[start : start + _SPEED_BATCH], pa.string())})
            for start in range(0, len(texts), _SPEED_BATCH)
        ]
        redactor = BatchRedactor(PrivacyOptions(redact=_CHATS))
        redactor.redact(batches[0], ["text"])
        wall, cpu = time.perf_counter(), time.process_time()
        for batch in batches:
            redactor.redact(batch, ["text"])
        results[name] = {
            "rows": len(texts),
            "rows_per_s": round(len(texts) / (time.perf_counter() - wall)),
            "rows_per_cpu_s": round(len(texts) / (time.process_time() - cpu)),
        }
    return results


def tagger(path: str, part: str) -> dict[str, Any]:
    """What a trained tagger finds in both sets, and how fast.

    Args:
      path: The SavedModel, or the folder of its versions.
      part: Of presidio_synth.

    Returns:
      `scores` by set, see `score`, with `texts`, those that are different, and how many of them a second: `rows_per_s` and
      `rows_per_cpu_s`; `peak_mib`.
    """
    from components.privacy import detector_files
    from serving.server import tagging

    with_model = tagging.load(detector_files.resolved(path))
    synth = presidio_synth(part, _SYNTH_TAGGED)
    sets = {f"presidio_synth {part}": synth, "multidogo test": multidogo("test", _DOGO_TAGGED)}
    if part == "v2":
        known = {_pattern(text, spans) for text, spans in presidio_synth("generated_large", _everything("generated_large"))}
        new = [
            number
            for number, (text, spans) in enumerate(presidio_synth(part, _everything(part)))
            if _pattern(text, spans) not in known
        ]
        sets["presidio_synth v2, sentences that generated_large has not"] = [synth[number] for number in new]
    with_model.find_all(["a first time, as loading is no part of finding: Ann Smith"])
    results: dict[str, Any] = {}
    for name, labelled in sets.items():
        texts = list(dict.fromkeys(text for text, _ in labelled))
        wall, cpu = time.perf_counter(), time.process_time()
        found = dict(zip(texts, with_model.find_all(texts), strict=True))
        speed = {
            "texts": len(texts),
            "rows_per_s": round(len(texts) / (time.perf_counter() - wall)),
            "rows_per_cpu_s": round(len(texts) / (time.process_time() - cpu)),
        }
        spans = [[(span.start, span.end, span.entity) for span in found[text]] for text, _ in labelled]
        results[name] = {"scores": score(labelled, spans), **speed}
    results["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return results


def _everything(part: str) -> dict[str, str]:
    rows = pyarrow.parquet.read_table(DATA / "presidio_synth" / f"{part}.parquet", columns=["spans"])["spans"].to_pylist()
    return dict.fromkeys((span["entity"] for row in rows for span in json.loads(row)), "_")


def _pattern(text: str, spans: Sequence[Found]) -> str:
    """A sentence without what fills it, to tell whether two were made from one pattern."""
    for start, end, _ in sorted(spans, reverse=True):
        text = f"{text[:start]}_{text[end:]}"
    return "".join(character for character in text.lower() if character.isalnum() or character == "_").replace("_", "")


def accuracy() -> dict[str, float]:
    """Test accuracy on multidogo's intents, as it is and with what is found removed from every split: by patterns, and `number` too."""
    import dataclasses

    import pyarrow as pa

    from benchmarks import quality
    from components.privacy.batch import BatchRedactor
    from components.privacy.options import PrivacyOptions
    from components.training.options import ModelOptions

    plain = quality.SETS["multidogo"]

    def load(redact: Sequence[str]) -> tuple[pa.Table, str]:
        table, schema = plain.load()
        redactor = BatchRedactor(PrivacyOptions(redact=redact))
        table = table.set_column(table.schema.get_field_index("text"), "text", table["text"].cast(pa.string()))
        return pa.Table.from_batches([redactor.redact(batch, ["text"]) for batch in table.to_batches()]), schema

    options = ModelOptions.model_validate({"encoder": "ngrams"})
    results = {"as it is": quality.run("multidogo", "test", options)["metrics"]["accuracy"]}
    for redact in (["patterns"], list(_CHATS)):
        quality.SETS["multidogo"] = dataclasses.replace(plain, load=functools.partial(load, redact))
        results[f"without {', '.join(redact)}"] = quality.run("multidogo", "test", options)["metrics"]["accuracy"]
    return results


def main() -> None:
    """Runs the benchmark."""
    from benchmarks import measure

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000, help="chat turns for the comparison of speed (default: 5000)")
    parser.add_argument("--part", choices=("v2", "generated_large"), default="v2")
    parser.add_argument(
        "--tagger", metavar="SERVABLE", help="also measure this tagger: a SavedModel, or the folder of its versions"
    )
    parser.add_argument("--presidio", metavar="PYTHON", help="an interpreter that has presidio-analyzer and pyarrow")
    parser.add_argument("--accuracy", action="store_true", help="also train with and without redaction (minutes)")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if missing := [name for name in ("presidio_synth", "multidogo") if not (DATA / name).is_dir()]:
        print(f"skipped: {', '.join(missing)} not found in {DATA}; name the folder in PARLANCE_DATA")
        return
    common = {"part": arguments.part, "rows": arguments.rows}
    sides = {"ours": measure.in_own_process("benchmarks.privacy", {"tool": "ours", **common})}
    if arguments.presidio:
        for name, threshold in (("presidio", 0.0), ("presidio, scores from 0.4", 0.4)):
            side = {"tool": "presidio", "threshold": threshold, **common}
            sides[name] = measure.in_own_process("benchmarks.privacy", side, python=arguments.presidio)
    else:
        print("Presidio is skipped: name an interpreter that has it with --presidio")
    for name, side in sides.items():
        _show(f"{name}: presidio_synth {arguments.part}", side["synth"])
        _show(f"{name}: multidogo test, {side['rows']:,} rows", side["multidogo"])
        print(
            f"{side['rows'] / side['wall_s']:,.0f} rows a second one by one, {side['rows'] / side['cpu_s']:,.0f} a CPU second\n"
        )
    detail: dict[str, Any] = {"sides": sides, "batches": speed()}
    detail["chats"] = chats()
    _show_chats(detail["chats"])
    for name, result in detail["batches"].items():
        print(f"in batches, {name}: {result['rows_per_s']:,} rows a second, {result['rows_per_cpu_s']:,} a CPU second")
    if arguments.tagger:
        detail["tagger"] = measure.in_own_process("benchmarks.privacy", {"tool": "tagger", "path": arguments.tagger, **common})
        for name, result in detail["tagger"].items():
            if name != "peak_mib":
                _show(f"tagger: {name}", result["scores"])
                print(f"{result['rows_per_s']:,} texts a second, {result['rows_per_cpu_s']:,} a CPU second\n")
    if arguments.accuracy:
        detail["accuracy"] = accuracy()
        print(f"intent accuracy: {detail['accuracy']}")
    ours, stock = (
        {key: sides[name][key] for key in ("wall_s", "peak_mib")} if name in sides else None for name in ("ours", "presidio")
    )
    ratio = round(ours["wall_s"] / stock["wall_s"], 4) if ours and stock else None
    print(
        json.dumps(
            {"area": "privacy", "rows": arguments.rows, "ours": ours, "stock": stock, "wall_ratio": ratio, "detail": detail}
        )
    )


def _show(title: str, scores: dict[str, dict[str, float]]) -> None:
    print(f"{title}\n  {'entity':16}{'spans':>7}{'found':>7}{'recall':>9}{'precision':>11}{'F1':>8}{'F2':>8}{'removed':>9}")
    for entity, row in scores.items():
        figures = "".join(
            f"{row[name]:>{width}.4f}" for name, width in (("recall", 9), ("precision", 11), ("f1", 8), ("f2", 8), ("removed", 9))
        )
        print(f"  {entity:16}{row['spans']:>7}{row['found']:>7}{figures}")


def _show_chats(result: dict[str, Any]) -> None:
    print(
        f"chats: {', '.join(_CHATS)}; multidogo, {result['rows']:,} rows of conversations that no rule of `number` was chosen on"
    )
    for entity, row in result["numbers"].items():
        print(f"  {entity:16}" + ", ".join(f"{name} {value:,}" for name, value in row.items()))
    for name, row in result["elsewhere"].items():
        print(f"  {name}: of {row['texts']:,} texts patterns change {row['patterns']:,}, number {row['number']:,}")


def _side(arguments: Iterable[str]) -> str | None:
    listed = list(arguments)
    return listed[listed.index("--side") + 1] if "--side" in listed else None


if __name__ == "__main__":
    # A side may run where the rest of the benchmark cannot be imported.
    if (given := _side(sys.argv)) is not None:
        side = json.loads(given)
        print(json.dumps(tagger(side["path"], side["part"]) if side["tool"] == "tagger" else measured(side)))
    else:
        main()
