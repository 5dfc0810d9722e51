"""What `parlance monitor` finds in real series with known faults put into them, how soon, and how often it cries wolf.

    python -m benchmarks.monitoring [SET...] [--repeats N]

taxi: trips of Chicago taxis in 2013 to 2015 by week, as they were. multidogo: chats of six product domains, dealt at random to 26 weeks of
days with a weekday profile; 4,500 chats, about 530 messages a day. Rows are changed, then counted and judged exactly as the command does.

Each fault begins at another period of the second half in every repeat. It is found if a finding of what it touches is raised within the
window; the delay counts periods, 0 for the same one. Precision is the share of the findings of the second half that the fault explains:
those since it began that the clean series do not raise as well. The clean series, all of them, give false alarms per series and year.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import os
import pathlib
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from components.ingestion import source_path
from components.monitoring import detect, periods
from components.monitoring.options import MonitoringOptions, Unit
from components.monitoring.series import LEVEL, MISSING, ROWS, SHARE, Collector, Timeline

DATA = pathlib.Path(os.environ.get("PARLANCE_DATA", pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"))
_DAY = 86_400
_WINDOW = {"day": 28, "week": 12}
_PER_YEAR = {"day": 365, "week": 52}

Rows = tuple[pa.Table, np.ndarray]
"""A table and the second of each row."""
Change = Callable[[pa.Table, np.ndarray, np.random.Generator, Callable[[int], np.ndarray]], Rows]


@dataclasses.dataclass(frozen=True)
class Real:
    """A data set as series.

    Attributes:
      load: Returns its rows.
      unit: What a period is.
      shares, missing, lengths, numbers: What is followed; see Collector.
      faults: By name, which (measure, column) show it, and what it does to the rows.
    """

    load: Callable[[], Rows]
    unit: Unit
    shares: Sequence[str]
    missing: Sequence[str]
    lengths: Sequence[str]
    numbers: Sequence[str]
    faults: dict[str, tuple[Sequence[tuple[str, str]], Change]]


def timeline(real: Real, rows: Rows) -> Timeline:
    """Counts rows as the command does."""
    table, seconds = rows
    collector = Collector(
        real.unit,
        shares=[(column,) for column in real.shares],
        missing=real.missing,
        lengths=real.lengths,
        numbers=real.numbers,
    )
    start = 0
    for batch in table.to_batches(max_chunksize=65_536):
        collector.add(batch, seconds[start : start + batch.num_rows])
        start += batch.num_rows
    return collector.timeline()


def findings(judged: detect.Judged) -> set[tuple[int, str, str]]:
    """What is raised: the index of the period, the measure and the column; values of one column are one finding."""
    series = judged.timeline.series
    return {(alarm.noticed, series[alarm.series].measure, series[alarm.series].column) for alarm in judged.alarms}


def measure(name: str, repeats: int) -> dict[str, object]:
    """Returns the numbers of one data set."""
    real = SETS[name]
    options = MonitoringOptions(unit=real.unit)
    rows = real.load()
    started = time.perf_counter()
    clean_line = timeline(real, rows)
    counted = time.perf_counter()
    clean = detect.judge(clean_line, options)
    judged_s = time.perf_counter() - counted
    judged_values = int(np.isfinite(clean.expected).sum())
    usual = findings(clean)
    result: dict[str, object] = {
        "rows": rows[0].num_rows,
        "unit": real.unit,
        "periods": len(clean_line.periods),
        "series": len(clean_line.series),
        "count_s": round(counted - started, 2),
        "judge_s": round(judged_s, 2),
        "false_alarms_clean": len(usual),
        "false_alarms_per_series_year": round(len(usual) / (judged_values / _PER_YEAR[real.unit]), 3),
        "raised_on_clean": sorted(f"{clean_line.name(index)} {kind} {column}" for index, kind, column in usual),
        "faults": {fault: _fault(real, fault, rows, clean_line, options, usual, repeats) for fault in real.faults},
    }
    return result


def _fault(
    real: Real, fault: str, rows: Rows, clean: Timeline, options: MonitoringOptions, usual, repeats: int
) -> dict[str, object]:
    touched, change = real.faults[fault]
    count, window = len(clean.periods), _WINDOW[real.unit]
    delays: list[int] = []
    explained = unexplained = by_chance = 0
    for repeat in range(repeats):
        random = np.random.default_rng([repeat, len(fault)])
        onset = int(random.integers(count // 2, count - window - 2))

        def since(seconds: np.ndarray, onset: int = onset) -> np.ndarray:
            return periods.of_seconds(seconds, real.unit) - int(clean.periods[onset])

        raised = findings(detect.judge(timeline(real, change(*rows, random, since)), options))
        hits = [index - onset for index, *what in raised if tuple(what) in touched and onset <= index <= onset + window]
        if hits:
            delays.append(min(hits))
        # A fault moves shares of other columns, too, and its end is as much of a change as its beginning.
        explained += sum(onset <= index for index, *_ in raised)
        unexplained += sum(count // 2 <= index < onset for index, *_ in raised)
        by_chance += sum(onset <= index for index, *_ in usual & raised)
    return {
        "recall": round(len(delays) / repeats, 2),
        "delay_median": statistics.median(delays) if delays else None,
        "delay_worst": max(delays, default=None),
        "precision": round((explained - by_chance) / (explained + unexplained), 2) if explained + unexplained else None,
    }


def _taxi() -> Rows:
    table = pyarrow.csv.read_csv(source_path.resolve("package:tfx/examples/chicago_taxi_pipeline/data/simple/data.csv"))
    table = table.append_column(
        "big_tip", pc.if_else(pc.greater(table["tips"], pc.multiply(table["fare"], 0.2)), "true", "false")
    )
    # From 2016 on there are a fifth of the trips, which is a fault of its own.
    kept = pc.less(table["trip_start_timestamp"], 1_451_606_400)
    table = table.filter(kept)
    return table, table["trip_start_timestamp"].to_numpy().astype(np.float64)


def _multidogo() -> Rows:
    table = pyarrow.parquet.read_table(
        DATA / "multidogo" / "turn.parquet", columns=["text", "label", "domain", "conversation_id"]
    )
    random = np.random.default_rng(1)
    _, conversation = np.unique(table["conversation_id"].to_numpy(zero_copy_only=False), return_inverse=True)
    days = 26 * 7
    profile = np.array([1.15, 1.1, 1.05, 1.0, 1.1, 0.6, 0.45])[(np.arange(days) + 20_454 + 3) % 7]
    # Days differ by more than chance, as real ones do.
    profile = profile * random.gamma(100, 1 / 100, days)
    day = random.choice(days, conversation.max() + 1, p=profile / profile.sum())[conversation]
    seconds = (20_454 + day) * _DAY + random.uniform(0, _DAY, len(day))
    texts = pa.schema([(name, pa.string()) for name in ("text", "label", "domain")])
    return table.select(texts.names).cast(texts), seconds


def _keep(table: pa.Table, seconds: np.ndarray, kept: np.ndarray) -> Rows:
    return table.filter(pa.array(kept)), seconds[kept]


def _drop(share: float, lasting: int) -> Change:
    def change(table, seconds, random, since):
        age = since(seconds)
        return _keep(table, seconds, ~((age >= 0) & (age < lasting) & (random.random(len(age)) < share)))

    return change


def _again(table: pa.Table, seconds: np.ndarray, chosen: np.ndarray, **replaced: str) -> Rows:
    """Adds rows once more, with other values in some columns."""
    more = table.filter(pa.array(chosen))
    for column, value in replaced.items():
        more = more.set_column(
            more.schema.get_field_index(column), column, pa.array([value] * len(more), table.schema.field(column).type)
        )
    return pa.concat_tables([table, more]), np.concatenate([seconds, seconds[chosen]])


def _more(share: float, lasting: int, **replaced: str) -> Change:
    def change(table, seconds, random, since):
        age = since(seconds)
        return _again(table, seconds, (age >= 0) & (age < lasting) & (random.random(len(age)) < share), **replaced)

    return change


def _replace(column: str, share: Callable[[np.ndarray], np.ndarray], value: Callable[[pa.Array], pa.Array]) -> Change:
    """Replaces the cells of a column in a share of the rows, by their age in periods."""

    def change(table, seconds, random, since):
        age = since(seconds)
        chosen = (age >= 0) & (random.random(len(age)) < share(age))
        cells = table[column].combine_chunks()
        cells = pc.if_else(pa.array(chosen), value(cells), cells)
        return table.set_column(table.schema.get_field_index(column), column, cells), seconds

    return change


def _always(share: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda age: np.full(len(age), share)


def _growing(most: float, over: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda age: most * np.clip((age + 1) / over, 0, 1)


def _gone(column: str, value: str) -> Change:
    def change(table, seconds, random, since):
        there = pc.fill_null(pc.equal(table[column].combine_chunks(), value), False).to_numpy(zero_copy_only=False)
        return _keep(table, seconds, ~((since(seconds) >= 0) & there))

    return change


def _next_label(cells: pa.Array) -> pa.Array:
    """Every label becomes the next one: what a table sorted differently in one column looks like."""
    encoded = cells.dictionary_encode()
    names = encoded.dictionary.to_pylist()
    following = pa.array(names[1:] + names[:1])
    return following.take(encoded.indices)


def _nothing(cells: pa.Array) -> pa.Array:
    return pa.nulls(len(cells), cells.type)


def _only(value: str) -> Callable[[pa.Array], pa.Array]:
    return lambda cells: pa.array([value] * len(cells), cells.type)


_FOREVER = 10**6

SETS = {
    "taxi": Real(
        _taxi, "week", ("big_tip", "payment_type", "company"), ("company", "fare", "pickup_latitude", "trip_seconds"), (),
        ("fare", "trip_miles", "trip_seconds"),
        {
            "half of the rows missing, one week": ([(ROWS, "")], _drop(0.5, 1)),
            "a third of the rows missing, lasting": ([(ROWS, "")], _drop(0.33, _FOREVER)),
            "twice the rows, one week": ([(ROWS, "")], _more(1.0, 1)),
            "label flipped in 30 % of rows": (
                [(SHARE, "big_tip")], _replace("big_tip", _always(0.3), _only("true")),
            ),
            "label drifts 20 points in 20 weeks": (
                [(SHARE, "big_tip")], _replace("big_tip", _growing(0.25, 20), _only("true")),
            ),
            "a new company, 20 % of rows": ([(SHARE, "company")], _more(0.25, _FOREVER, company="One Cab")),
            "a company gone": ([(SHARE, "company")], _gone("company", "Taxi Affiliation Services")),
            "fare empty in 15 % of rows": ([(MISSING, "fare")], _replace("fare", _always(0.15), _nothing)),
            "seconds become minutes": (
                [(LEVEL, "trip_seconds")], _replace("trip_seconds", _always(1.0), lambda cells: pc.divide(cells, 60)),
            ),
        },
    ),
    "multidogo": Real(
        _multidogo, "day", ("label", "domain"), ("label", "domain", "text"), ("text",), (),
        {
            "half of the rows missing, one day": ([(ROWS, "")], _drop(0.5, 1)),
            "a third of the rows missing, lasting": ([(ROWS, "")], _drop(0.33, _FOREVER)),
            "twice the rows, one day": ([(ROWS, "")], _more(1.0, 1)),
            "labels shifted by one": ([(SHARE, "label")], _replace("label", _always(1.0), _next_label)),
            "5 % of labels become one": ([(SHARE, "label")], _replace("label", _always(0.05), _only("outofdomain"))),
            "label drifts 10 points in 40 days": (
                [(SHARE, "label")], _replace("label", _growing(0.11, 40), _only("outofdomain")),
            ),
            "flood: a new domain, 20 % of rows, 3 days": ([(SHARE, "domain")], _more(0.25, 3, domain="flood")),
            "a domain gone": ([(SHARE, "domain")], _gone("domain", "insurance")),
            "domain empty in 5 % of rows": ([(MISSING, "domain")], _replace("domain", _always(0.05), _nothing)),
            "texts cut to 20 characters": (
                [(LEVEL, "length of text")], _replace("text", _always(1.0), lambda cells: pc.utf8_slice_codeunits(cells, 0, 20)),
            ),
        },
    ),
}  # fmt: skip


def main() -> None:
    """Measures the sets named on the command line, all by default."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"which of {', '.join(SETS)}; all by default")
    parser.add_argument("--repeats", type=int, default=10, help="onsets of each fault (default: %(default)s)")
    arguments = parser.parse_args()
    if unknown := set(arguments.sets) - set(SETS):
        parser.error(f"unknown sets {', '.join(sorted(unknown))}; choose from {', '.join(SETS)}")
    results: dict[str, dict] = collections.defaultdict(dict)
    for name in arguments.sets or SETS:
        try:
            results[name] = measure(name, arguments.repeats)
        except FileNotFoundError as error:
            if not str(error.filename or error).startswith(str(DATA)) and str(DATA) not in str(error):
                raise
            print(f"{name} is skipped: its folder is missing in {DATA}; PARLANCE_DATA names the folder of the data sets")
            continue
        result = results[name]
        print(
            f"{name}: {result['rows']:,} rows, {result['periods']} {result['unit']}s, {result['series']} series; counted in"
            f" {result['count_s']} s, judged in {result['judge_s']} s; clean: {result['false_alarms_clean']} alarms,"
            f" {result['false_alarms_per_series_year']} per series and year"
        )
        print(f"  {'fault':44} {'recall':>6} {'delay':>12} {'precision':>9}")
        for fault, seen in result["faults"].items():
            delay = "–" if seen["delay_median"] is None else f"{seen['delay_median']:g} (max {seen['delay_worst']})"
            print(f"  {fault:44} {seen['recall']:6.2f} {delay:>12} {seen['precision'] or 0:9.2f}")
    print(json.dumps({"area": "monitoring", "repeats": arguments.repeats, "detail": results}))


if __name__ == "__main__":
    main()
