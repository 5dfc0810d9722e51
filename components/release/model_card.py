"""The model card of a version: what the model is, what it was made from, how well it does and for whom, and what it is not for.

Sections after Mitchell et al. (2019), "Model Cards for Model Reporting", FAT* '19, section 4: model details, intended use, factors,
metrics, evaluation data, training data, quantitative analyses, ethical considerations, caveats and recommendations. Everything that
can be measured comes from the evaluation; intended use, limitations and contact come from the pipeline file.
"""

from __future__ import annotations

import collections
import datetime
import json
import os
import pathlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from components.ingestion.options import sample_name
from components.release.options import CardOptions
from components.reporting import confusion, fairness, metric_names, quality, verdict
from components.reporting.formats import change, change_interval, count, fraction, interval, is_number, percent, plural, shorten

MARKDOWN = "model_card.md"
JSON = "model_card.json"
FORMAT = 1
GROUPS = 20
WEAKEST_CLASSES = 10
MOST_CONFUSED = 10
FINDINGS = 40
COLUMNS = 100
_NAME_LENGTH = 80
_TEXT_LENGTH = 2000

# What would be markup anywhere in a line; `<` and `&` would be HTML.
_MARKUP = re.compile(r"[\\`*_\[\]{}|~$]")
# What would begin a list, a heading or a quotation at the beginning of a line.
_BEGINS_BLOCK = re.compile(r"^([-+#=]|\d+(?=[.)]))")
# Direction marks would reorder what stands beside them.
_DIRECTIONS = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})


def files(
    *,
    pipeline: str,
    run: str,
    config_sha256: str,
    evaluation_dir: str | os.PathLike[str],
    examples_dir: str | os.PathLike[str],
    columns: Sequence[str],
    options: CardOptions,
    override: Mapping[str, Any] | None = None,
) -> Callable[[str], dict[str, bytes]]:
    """Returns what makes a version's card as files by name once the version's number is known, for `push.push(extra_files=...)`.

    Args:
      pipeline: The pipeline's name, which is the model's.
      run: The run that evaluated it.
      config_sha256: Hash of that run's effective configuration.
      evaluation_dir: What the evaluation wrote: metrics.json, confusion.json, verdict.json.
      examples_dir: What ingestion wrote: summary.json.
      columns: The columns the model reads.
      options: The `release.card:` section.
      override: Who released it although its gate said no; None if the gate said yes.
    """
    # Read now, because whatever fails while a version is being written reads as a failure of the disk.
    metrics, cells, judged = (_read(evaluation_dir, name) for name in ("metrics.json", "confusion.json", "verdict.json"))
    ingestion = _read(examples_dir, "summary.json")

    def make(version: str) -> dict[str, bytes]:
        content = card(
            model={"name": pipeline, "version": version, "run": run, "config_sha256": config_sha256},
            date=datetime.datetime.now(datetime.UTC).date(),
            metrics=metrics,
            cells=cells,
            judged=judged,
            ingestion=ingestion,
            columns=columns,
            options=options,
            override=override,
        )
        as_json = json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False)
        return {MARKDOWN: markdown(content).encode(), JSON: as_json.encode()}

    return make


def card(
    *,
    model: Mapping[str, str],
    date: datetime.date,
    metrics: Mapping[str, Any],
    cells: Mapping[str, Any],
    judged: Mapping[str, Any],
    ingestion: Mapping[str, Any],
    columns: Sequence[str],
    options: CardOptions,
    override: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns the content of model_card.json. A metric without a value is None.

    Args:
      model: name, version, run and config_sha256 of the model.
      date: When the version was made.
      metrics: The content of metrics.json.
      cells: The content of confusion.json.
      judged: The content of verdict.json.
      ingestion: The content of ingestion's summary.json.
      columns: The columns the model reads.
      options: The `release.card:` section.
      override: reason, by, at and failed of a release against the gate.
    """
    return {
        "format": FORMAT,
        "model": {**model, "date": date.isoformat(), "classes": len(metrics["classes"])},
        "intended_use": options.intended_use,
        "contact": options.contact,
        "data": {
            "rows": dict(ingestion["rows"]),
            "sample": ingestion.get("sample", 1.0),
            "fingerprint": ingestion["fingerprint"],
            "labels": len({name for counts in ingestion["labels"].values() for name in counts}),
            "columns": list(columns),
            "segments": [segment["columns"] for segment in metrics["segments"] if segment["declared"]],
        },
        "metrics": {
            "rows": quality.overall_slice(metrics)["n"],
            "intervals": metrics["bootstrap"],
            "top_k": metrics["top_k"],
            "baseline": metrics["baseline"] is not None,
            "overall": _overall(metrics),
            "segments": _segments(metrics),
        },
        "fairness": [_fairness(entry) for entry in metrics["fairness"]],
        "gate": {**_gate(judged), "override": dict(override) if override else None},
        "limits": {
            "declared": list(options.limitations),
            "min_rows": metrics["min_rows"],
            "small_slices": sum(bool(row["slice"]) and row["n"] < metrics["min_rows"] for row in metrics["candidate"]["slices"]),
            "weakest_classes": _weakest(metrics),
            "most_confused": _most_confused(cells),
            "calibration_error": quality.overall_slice(metrics)["metrics"].get("calibration_error"),
            "abstains": _abstains(metrics),
            "notes": list(metrics["notes"]),
        },
    }


def markdown(content: Mapping[str, Any]) -> str:
    """Returns a card as Markdown (GitHub's dialect, for its tables). Names cannot change its layout, whatever they hold.

    Args:
      content: What `card` returned.
    """
    parts = [_title, _about_use, _about_data, _about_metrics, _about_fairness, _about_gate, _about_limits]
    return "\n\n".join(block for part in parts for block in part(content)) + "\n"


# ---- what a card holds


def _overall(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    measured = quality.overall_slice(metrics)
    compared: Mapping[str, Any] = next(
        (row for row in (metrics["comparison"] or {"slices": ()})["slices"] if not row["slice"]), {}
    )
    return [
        {
            "metric": name,
            "value": value,
            "interval": measured["intervals"].get(name),
            "baseline": compared.get("baseline", {}).get(name),
            "change": compared.get("metrics", {}).get(name),
            "change_interval": compared.get("intervals", {}).get(name),
        }
        for name, value in measured["metrics"].items()
    ]


def _segments(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The groups of each segment of one column, worst accuracy first; those too small are counted."""
    by_column: dict[str, list[Mapping[str, Any]]] = collections.defaultdict(list)
    for row in metrics["candidate"]["slices"]:
        if len(row["slice"]) == 1:
            by_column[next(iter(row["slice"]))].append(row)
    found = []
    for column, rows in by_column.items():
        judged = [row for row in rows if row["n"] >= metrics["min_rows"]]
        judged.sort(key=lambda row: row["metrics"]["accuracy"] if is_number(row["metrics"].get("accuracy")) else -1.0)
        groups = [
            {
                "value": row["slice"][column],
                "rows": row["n"],
                "accuracy": row["metrics"].get("accuracy"),
                "interval": row["intervals"].get("accuracy"),
                "macro_f1": row["metrics"].get("macro_f1"),
            }
            for row in judged
        ]
        found.append(
            {
                "segment": column,
                "groups": groups[:GROUPS],
                "left_out": max(0, len(groups) - GROUPS),
                "too_small": len(rows) - len(judged),
            }
        )
    return found


def _fairness(entry: Mapping[str, Any]) -> dict[str, Any]:
    [seen] = fairness.comparisons([entry])[0]

    def end(group: fairness.Group | None) -> dict[str, Any] | None:
        return (
            None if group is None else {"value": group.value, "rows": group.n, "metric": group.metric, "interval": group.interval}
        )

    names = ("segment", "metric", "criterion", "gap", "gap_interval", "ratio", "ratio_interval", "note")
    return {**{name: entry[name] for name in names}, "worst": end(seen.worst), "best": end(seen.best)}


def _gate(judged: Mapping[str, Any]) -> dict[str, Any]:
    findings = [(verdict.outcome(finding), finding) for finding in judged["findings"]]
    urgent = [(outcome, finding) for outcome, finding in findings if outcome in ("failed", "warning")]
    urgent.sort(key=lambda pair: pair[0])  # failed before warning
    return {
        "blessed": judged["blessed"],
        "baseline": judged["baseline"]["note"],
        "outcomes": dict(collections.Counter(outcome for outcome, _ in findings)),
        "findings": [
            {
                "outcome": outcome,
                "rule": finding["check"],
                "slice": finding["subject"],
                "value": finding.get("value"),
                "interval": finding.get("interval"),
                "limit": finding.get("limit") or finding["expected"],
                "reason": finding.get("reason") or finding["message"],
            }
            for outcome, finding in urgent[:FINDINGS]
        ],
    }


def _weakest(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = [row for row in quality.classes(metrics["candidate"]["per_class"]).rows if row["n"]]
    return [{name: row[name] for name in ("class", "n", "precision", "recall", "f1")} for row in rows[:WEAKEST_CLASSES]]


def _most_confused(cells: Mapping[str, Any]) -> list[dict[str, Any]]:
    pairs = confusion.top_pairs(cells["labels"], cells["candidate"][0], MOST_CONFUSED)
    return [{"actual": pair.actual, "predicted": pair.predicted, "rows": pair.count, "share": pair.share} for pair in pairs]


def _abstains(metrics: Mapping[str, Any]) -> dict[str, Any] | None:
    threshold = metrics["abstain_threshold"]
    if threshold is None:
        return None
    measured = quality.overall_slice(metrics)["metrics"]
    return {"threshold": threshold, "coverage": measured.get("coverage"), "accuracy": measured.get("answered_accuracy")}


# ---- how it is written

Blocks = Iterable[str]


def _title(content: Mapping[str, Any]) -> Blocks:
    model = content["model"]
    yield f"# Model card: {_text(model['name'])}, version {_text(model['version'])}"
    yield _bullets(
        [
            f"Date: {model['date']}",
            f"Pipeline: {_text(model['name'])}, run {_text(model['run'])}",
            f"Configuration: SHA-256 {_text(model['config_sha256'])}",
            f"Kind: classifier of {plural(model['classes'], 'class')}",
            f"Contact: {_text(content['contact']) or 'not named'}",
        ]
    )


def _about_use(content: Mapping[str, Any]) -> Blocks:
    yield "## Intended use"
    yield _line(content["intended_use"]) or "Not stated; `release.card.intended_use` in the pipeline file says it."


def _about_data(content: Mapping[str, Any]) -> Blocks:
    data = content["data"]
    rows = data["rows"]
    columns = [_text(name) for name in data["columns"][:COLUMNS]]
    more = f" and {len(data['columns']) - COLUMNS} more" if len(data["columns"]) > COLUMNS else ""
    yield "## Data"
    if sampled := sample_name(data["sample"]):
        yield f"These are a {sampled} of the rows there were."
    yield _table(("Split", "Rows"), [(name, count(n)) for name, n in rows.items()], numbers=1)
    yield _bullets(
        [
            f"Fingerprint: {_text(data['fingerprint'], 100)}",
            f"Labels: {count(data['labels'])}",
            f"Columns the model reads: {', '.join(columns) or 'none'}{more}",
            f"Segments: {', '.join(_text(' × '.join(columns)) for columns in data['segments']) or 'none'}",
        ]
    )


def _about_metrics(content: Mapping[str, Any]) -> Blocks:
    metrics = content["metrics"]
    bootstrap = metrics["intervals"]
    ranges = (
        f" Ranges are {bootstrap['confidence']:.0%} bootstrap intervals ({plural(bootstrap['replicates'], 'replicate')})."
        if bootstrap
        else " No intervals were computed."
    )
    yield "## Metrics"
    yield f"Measured on {plural(metrics['rows'], 'row')} of the test split, which no training step has seen.{ranges}"
    header = ["Metric", "Value", "Interval"]
    if metrics["baseline"]:
        header += ["Baseline", "Change", "Interval of the change"]
    yield _table(
        header, [_metric_row(row, metrics["top_k"], metrics["baseline"]) for row in metrics["overall"]], numbers=len(header) - 1
    )
    for segment in metrics["segments"]:
        yield f"### By {_text(segment['segment'])}, worst group first"
        yield from _groups(segment)


def _metric_row(row: Mapping[str, Any], top_k: int, with_baseline: bool) -> list[str]:
    digits = metric_names.digits(row["metric"])
    written = [metric_names.title(row["metric"], top_k), fraction(row["value"], digits), interval(row["interval"], digits)]
    if with_baseline:
        written += [
            fraction(row["baseline"], digits),
            change(row["change"], digits),
            change_interval(row["change_interval"], digits),
        ]
    return written


def _groups(segment: Mapping[str, Any]) -> Blocks:
    if segment["groups"]:
        yield _table(
            ("Group", "Rows", "Accuracy", "Interval", "Macro F1"),
            [
                (
                    group["value"] or "(empty)",
                    count(group["rows"]),
                    fraction(group["accuracy"]),
                    interval(group["interval"]),
                    fraction(group["macro_f1"]),
                )
                for group in segment["groups"]
            ],
            numbers=4,
        )
    said = []
    if segment["left_out"]:
        said.append(f"{plural(segment['left_out'], 'better group')} not listed.")
    if segment["too_small"]:
        said.append(f"{plural(segment['too_small'], 'group')} too small to judge.")
    if said:
        yield " ".join(said)


def _about_fairness(content: Mapping[str, Any]) -> Blocks:
    yield "## Fairness"
    if not content["fairness"]:
        yield "No groups were compared."
        return
    yield "Gap: the best group minus the worst. Ratio: the worse value over the better one. Groups too small to judge take no part."

    def end(group: Mapping[str, Any] | None) -> str:
        return f"{group['value']} {fraction(group['metric'])} ({plural(group['rows'], 'row')})" if group else "–"

    yield _table(
        ("Segment", "Metric", "Gap", "Interval", "Ratio", "Interval", "Worst group", "Best group", "Note"),
        [
            (
                entry["segment"],
                metric_names.title(entry["metric"])
                + (f" ({metric_names.criterion(entry['criterion'])})" if entry["criterion"] else ""),
                fraction(entry["gap"]),
                interval(entry["gap_interval"]),
                fraction(entry["ratio"]),
                interval(entry["ratio_interval"]),
                end(entry["worst"]),
                end(entry["best"]),
                entry["note"],
            )
            for entry in content["fairness"]
        ],
    )


def _about_gate(content: Mapping[str, Any]) -> Blocks:
    gate, override = content["gate"], content["gate"]["override"]
    outcomes = ", ".join(f"{n:,} {name}" for name, n in gate["outcomes"].items())
    yield "## Gate"
    yield f"{'Blessed' if gate['blessed'] else 'Not blessed'}: {outcomes or 'no rules'}. Baseline: {_text(gate['baseline'], _TEXT_LENGTH)}."
    if override:
        yield "**Released against the verdict of the gate.**"
        yield _bullets([f"{_text(name)}: {_text(_listed(value), _TEXT_LENGTH)}" for name, value in override.items()])
    if gate["findings"]:
        yield _table(
            ("Outcome", "Rule", "Slice", "Value", "Interval", "Limit", "Reason"),
            [
                (
                    finding["outcome"],
                    finding["rule"],
                    finding["slice"] or "all rows",
                    fraction(finding["value"]),
                    interval(finding["interval"]),
                    finding["limit"],
                    finding["reason"],
                )
                for finding in gate["findings"]
            ],
        )


def _about_limits(content: Mapping[str, Any]) -> Blocks:
    limits = content["limits"]
    yield "## Limits"
    yield _bullets([_line(entry) for entry in [*limits["declared"], *_measured_limits(limits)] if entry.strip()])
    if limits["weakest_classes"]:
        yield "### Weakest classes"
        rows = [
            (row["class"], count(row["n"]), fraction(row["precision"]), fraction(row["recall"]), fraction(row["f1"]))
            for row in limits["weakest_classes"]
        ]
        yield _table(("Class", "Rows", "Precision", "Recall", "F1"), rows, numbers=4)
    if limits["most_confused"]:
        yield "### Most frequent confusions"
        pairs = [
            (pair["actual"], pair["predicted"], count(pair["rows"]), percent(pair["share"])) for pair in limits["most_confused"]
        ]
        yield _table(("True class", "Taken for", "Rows", "Of the true class"), pairs, numbers=2)


def _measured_limits(limits: Mapping[str, Any]) -> Iterable[str]:
    small = plural(limits["small_slices"], "slice")
    yield f"Too small to judge, with fewer than {plural(limits['min_rows'], 'row')}: {small} of the test rows."
    if limits["calibration_error"] is not None:
        yield f"Scores and the share of right answers differ by {fraction(limits['calibration_error'])} on average."
    if abstains := limits["abstains"]:
        yield (
            f"It abstains below a score of {fraction(abstains['threshold'])}: it answers {percent(abstains['coverage'])} of the "
            f"messages, {percent(abstains['accuracy'])} of them right."
        )
    else:
        yield "It never abstains: every message gets an answer, however unsure."
    yield from limits["notes"]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], numbers: int = 0) -> str:
    """A table whose last `numbers` columns are aligned right."""
    words = len(header) - numbers
    lines = [
        f"| {' | '.join(header)} |",
        f"|{'|'.join([' --- '] * words + [' ---: '] * numbers)}|",
        *(f"| {' | '.join(_text(cell) for cell in row)} |" for row in rows),
    ]
    return "\n".join(lines)


def _bullets(entries: Iterable[str]) -> str:
    return "\n".join(f"- {entry}" for entry in entries)


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _text(value: str, limit: int = _NAME_LENGTH) -> str:
    """Text that Markdown shows as it is, on one line, whatever it holds."""
    shown = (character for character in value if unicodedata.bidirectional(character) not in _DIRECTIONS)
    plain = "".join(" " if unicodedata.category(character) in ("Cc", "Zl", "Zp") else character for character in shown)
    escaped = _MARKUP.sub(lambda found: f"\\{found[0]}", shorten(plain.strip(), limit))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _line(value: str) -> str:
    """Text that is a paragraph or a list entry of its own."""
    escaped = _text(value, _TEXT_LENGTH)
    return _BEGINS_BLOCK.sub(lambda found: f"{found[0]}\\" if found[0][-1].isdigit() else f"\\{found[0]}", escaped)


def _read(folder: str | os.PathLike[str], name: str) -> Any:
    return json.loads((pathlib.Path(folder) / name).read_text(encoding="utf-8"))
