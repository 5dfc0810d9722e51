"""Every comparison with stock TFX, one area after another, into one table.

    python -m benchmarks.suite [--areas AREA ...] [--rows N]... [--rounds N] [--quick] [--merge] [--output FOLDER]

Each case is a command of its own (`python -m benchmarks.AREA ...`), which runs both sides in turn, several times where a run is short.
After every case `results.json` (every number of every run) and `results.md` (medians, lowest and highest, ratios, peak memory) are written
anew, so that an interrupted suite keeps what it has; `--merge` keeps the cases of an earlier suite that are not measured again, with the
time and commit they were measured at. A case that fails is noted there, and the others still run. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import measure

_PROJECT = pathlib.Path(__file__).resolve().parent.parent
_OUTPUT = pathlib.Path(".parlance/bench")
_VERSIONS = ("parlance-tfx", "tfx", "tensorflow", "apache-beam", "tensorflow-model-analysis", "pyarrow")
_LONGEST_ERROR = 2000


@dataclasses.dataclass(frozen=True)
class Case:
    """One command.

    Attributes:
      area: The module of `benchmarks`.
      arguments: What it is given besides the rounds.
      rounds: Runs of each side; None for a command that has no rounds.
      rows: Rows it works on, where it is made for a number of them.
    """

    area: str
    arguments: tuple[str, ...] = ()
    rounds: int | None = 3
    rows: int | None = None

    @property
    def name(self) -> str:
        """What it is called in the results."""
        return " ".join((self.area, *self.arguments))

    def command(self, rounds: int | None) -> list[str]:
        """The command, with so many rounds instead of its own where they are given."""
        asked = [] if self.rounds is None else ["--rounds", str(rounds or self.rounds)]
        return [sys.executable, "-m", f"benchmarks.{self.area}", *self.arguments, *asked]


def _of_rows(area: str, rows: int, rounds: int | None, *arguments: str) -> Case:
    return Case(area, ("--rows", str(rows), *arguments), rounds, rows)


CASES = (
    _of_rows("taxi", 15_002, 3),
    Case("startup"),
    Case("kubeflow_start"),
    _of_rows("evaluation", 50_000, 3),
    Case("serving"),
    _of_rows("intents", 60_000, 3),
    _of_rows("intents", 1_000_000, 1),
    _of_rows("taxi", 150_020, 3),
    # Stock takes a quarter of an hour.
    _of_rows("taxi", 1_500_200, 1),
    Case("intents", ("--large",), None, 5_000_000),
)
"""The short ones first: what is interrupted has lost least."""

_QUICK = (
    _of_rows("taxi", 1_500, 1, "--cold-only"),
    Case("startup", (), 1),
    Case("kubeflow_start", ("SchemaImport",), 1),
    _of_rows("evaluation", 2_000, 1, "--without-bootstrap"),
    Case("serving", ("--seconds", "0.5", "--swaps", "5"), 1),
    _of_rows("intents", 2_000, 1),
)
AREAS = tuple(dict.fromkeys(case.area for case in CASES))


def machine() -> dict[str, Any]:
    """Returns what a measurement depends on: the processor's model, its cores that may be used, memory, system and versions."""
    versions = {"Python": platform.python_version()}
    for name in _VERSIONS:
        versions[name] = importlib.metadata.version(name)
    return {
        "cpu": _after_colon("/proc/cpuinfo", "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(_after_colon("/proc/meminfo", "MemTotal").split()[0]) / 2**20, 1),
        "system": f"{platform.system()} {platform.release()}",
        "versions": versions,
    }


def _after_colon(path: str, name: str) -> str:
    for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines():
        if line.startswith(name):
            return line.partition(":")[2].strip()
    return "0 unknown"


def commit() -> str:
    """Returns the commit that is measured, with `+` if files differ from it; empty outside a repository."""
    asked = [["git", "rev-parse", "--short", "HEAD"], ["git", "status", "--porcelain", "--untracked-files=no"]]
    try:
        head, changed = (
            subprocess.run(command, cwd=_PROJECT, capture_output=True, text=True, check=True).stdout.strip() for command in asked
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head + ("+" if changed else "")


def run(
    cases: Sequence[Case], output: pathlib.Path, rounds: int | None = None, known: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Runs cases and writes the results after each of them.

    Args:
      cases: The commands.
      output: A folder for `results.json` and `results.md`.
      rounds: Runs of each side; each case's own number if None.
      known: Results of other cases to keep, by name.

    Returns:
      What `results.json` has: `machine`, `date` and `commit` of the last case, and `cases` by name, each with its command, its own date
      (when it ended) and commit, minutes, and either the `result` its command ended with or the `error` it ended with.
    """
    results: dict[str, Any] = {"machine": machine(), "cases": dict(known or {})}
    for case in cases:
        command = case.command(rounds)
        print(f"{' '.join(command[1:])}", flush=True)
        started, said = time.monotonic(), _said(command)
        said["minutes"] = round((time.monotonic() - started) / 60, 1)
        results |= {"date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "commit": commit()}
        results["cases"].pop(case.name, None)
        results["cases"][case.name] = {
            "command": " ".join(["python", *command[1:]]),
            "date": results["date"],
            "commit": results["commit"],
            **said,
        }
        write(results, output)
        print(_case_table(said), flush=True)
    return results


def _said(command: Sequence[str]) -> dict[str, Any]:
    done = subprocess.run(command, cwd=_PROJECT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": f"ended with {done.returncode}: {done.stderr[-_LONGEST_ERROR:]}"}
    return {"result": json.loads(done.stdout.strip().splitlines()[-1])}


def _case_table(said: Mapping[str, Any]) -> str:
    return measure.table(said["result"]["comparisons"]) if "result" in said else said["error"]


def write(results: Mapping[str, Any], output: pathlib.Path) -> None:
    """Writes `results.json` and `results.md`, each at once."""
    output.mkdir(parents=True, exist_ok=True)
    for name, content in (("results.json", json.dumps(results, indent=1)), ("results.md", markdown(results))):
        partial = output / f".{name}.partial"
        partial.write_text(content + "\n", encoding="utf-8")
        partial.replace(output / name)


def markdown(results: Mapping[str, Any]) -> str:
    """Returns the results as Markdown: the machine, one table of all comparisons, and which command made what, and when."""
    where, cases = results["machine"], results["cases"]
    rows = [row for case in cases.values() if "result" in case for row in case["result"]["comparisons"]]
    made = [
        f"- `{case['command']}`: {_when(case)}, "
        f"{case['minutes']:g} minutes" + (f"; {case['error'].strip().splitlines()[-1]}" if "error" in case else "")
        for case in cases.values()
    ]
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    return "\n".join(
        [
            f"{_when(results)}. {where['cpu']}, {where['cores']} cores, {where['memory_gib']} GiB of memory, {where['system']}. "
            f"{versions}.",
            "",
            "Medians; lowest and highest of several runs in brackets. Peak memory is the sum over all processes (of evaluation: its "
            "one process; of serving: the server). A ratio is Parlance by stock, less is better.",
            "",
            measure.table(rows),
            "",
            *made,
        ]
    )


def _when(measured: Mapping[str, Any]) -> str:
    return f"{measured['date'][:16].replace('T', ' ')} UTC, commit {measured['commit'] or 'unknown'}"


def chosen(areas: Sequence[str] | None, rows: Sequence[int] | None, quick: bool) -> list[Case]:
    """Returns the cases of some areas (all if None); of those made for a number of rows, the ones of some numbers (all if None)."""
    return [
        case
        for case in (_QUICK if quick else CASES)
        if (areas is None or case.area in areas) and (rows is None or case.rows is None or case.rows in rows)
    ]


def main() -> None:
    """Runs the suite as the module's docstring says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--areas", nargs="+", choices=AREAS, metavar="AREA", help=f"which of {', '.join(AREAS)} (default: all)")
    parser.add_argument(
        "--rows", type=int, action="append", help="where an area has sizes, only this; may be given several times"
    )
    parser.add_argument("--rounds", type=int, help="runs of each side (default: 3, and 1 where a run is long)")
    parser.add_argument("--quick", action="store_true", help="few rows and one round, to see that everything works")
    parser.add_argument("--merge", action="store_true", help="keep the other cases of the results that are there")
    parser.add_argument("--output", type=pathlib.Path, default=_OUTPUT, help="folder of the results (default: %(default)s)")
    options = parser.parse_args()
    cases = chosen(options.areas, options.rows, options.quick)
    if not cases:
        there = sorted({case.rows for case in chosen(options.areas, None, options.quick) if case.rows})
        parser.error(f"no case has {options.rows} rows; cases of these areas have {there}")
    stored = options.output / "results.json"
    known = json.loads(stored.read_text(encoding="utf-8"))["cases"] if options.merge and stored.exists() else {}
    results = run(cases, options.output, options.rounds, known)
    failed = [case.name for case in cases if "error" in results["cases"][case.name]]
    print(options.output / "results.md")
    print(
        json.dumps({"area": "suite", "rows": None, "ours": None, "stock": None, "wall_ratio": None, "detail": {"failed": failed}})
    )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
