"""Whether the data of a run is still the data one knows: drift over time, and skew between training and serving.

Both compare the statistics of this run's train split with another one's: that of the previous data, or that of the data which the
current model was trained on. A column is called different only if the difference is more than chance and large enough to matter.
Where a fault of the data explains a difference, it is named and, unless the world does such things, an error.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Collection, Sequence
from typing import Any

from tensorflow_metadata.proto.v0 import statistics_pb2

from components.findings import Finding, Severity
from components.validation import distances, faults, text_drift
from components.validation.options import DRIFT, SKEW, ValidationOptions

PREVIOUS = "the previous data"
TRAINING = "the training data of the current model"

_SPLIT = "train"
_FILE = "FeatureStats.pb"
_SHOWN_CONTRIBUTIONS = 3
_SHORT = 40
# Texts have no cells; their mean length says that something else is written now if it changes by more than half.
_LENGTH_FACTOR = 1.5


@dataclasses.dataclass(frozen=True)
class Columns:
    """What the columns of a data set are, as far as a comparison must know.

    Attributes:
      text: Message columns, whose values no result names; only their presence and mean length are compared.
      moving: Columns that differ from span to span by their nature, e.g. the timestamp; not compared.
      identifiers: Columns in which new values are no news, e.g. the group; only a flood of rows with one value is.
      inputs: The model's inputs: all that a serving log can be held against.
    """

    text: Collection[str] = ()
    moving: Collection[str] = ()
    identifiers: Collection[str] = ()
    inputs: Collection[str] = ()


@dataclasses.dataclass(frozen=True)
class ColumnDrift:
    """One column of two data sets.

    Attributes:
      column: Its name.
      divergence: Jensen-Shannon divergence in bits.
      largest: L-infinity, the largest difference of one cell's share.
      psi: Population stability index.
      p_value: Probability of such a difference by chance, corrected for the number of columns.
      lengths: Mean lengths of a text in bytes, before and after; None of other columns and of texts that are measured better.
      contributions: Where it differs most.
      cells: Both distributions; none of a column that may hold messages now.
      different: The verdict: more than chance, and large enough.
      fault: What seems to have happened to the data; None if nothing explains the difference.
    """

    column: str
    divergence: float
    largest: float
    psi: float
    p_value: float
    lengths: tuple[float, float] | None
    contributions: tuple[distances.Contribution, ...]
    different: bool
    fault: faults.Fault | None = None
    cells: tuple[distances.Contribution, ...] = ()


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two data sets.

    Attributes:
      against: What the run's data is compared with, in words.
      kind: DRIFT or SKEW.
      rows: Rows before and after.
      columns: The columns both have, those that differ first.
      texts: How their texts differ, where ingestion told.
    """

    against: str
    kind: str
    rows: tuple[int, int]
    columns: tuple[ColumnDrift, ...]
    texts: tuple[text_drift.TextDrift, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Returns the comparison as plain JSON values."""
        return dataclasses.asdict(self)


def read(folder: str | os.PathLike[str], identifiers: Collection[str] = ()) -> statistics_pb2.DatasetFeatureStatistics:
    """Reads the train split's statistics of an ExampleStatistics artifact.

    Args:
      folder: The artifact.
      identifiers: Columns whose statistics are those of all splits. Where a group's rows stay together, one that floods the data is in
        one split only, which need not be the train split.
    """
    splits = [file for file in sorted(pathlib.Path(folder).glob(f"Split-*/{_FILE}")) if file.parent.name != f"Split-{_SPLIT}"]
    dataset = _read_split(pathlib.Path(folder) / f"Split-{_SPLIT}" / _FILE)
    others = [distances.by_name(_read_split(file)) for file in splits] if identifiers else []
    for name, feature in distances.by_name(dataset).items():
        if name in identifiers:
            feature.CopyFrom(distances.joined([feature, *(known[name] for known in others if name in known)]))
    return dataset


def _read_split(file: pathlib.Path) -> statistics_pb2.DatasetFeatureStatistics:
    [dataset] = statistics_pb2.DatasetFeatureStatisticsList.FromString(file.read_bytes()).datasets
    return dataset


def compare(
    before: statistics_pb2.DatasetFeatureStatistics,
    after: statistics_pb2.DatasetFeatureStatistics,
    columns: Columns,
    options: ValidationOptions,
    against: str,
    kind: str = DRIFT,
    texts: Sequence[text_drift.TextDrift] = (),
) -> Comparison:
    """Compares the columns that two data sets share.

    Args:
      before: Statistics of the older data, or of the training data.
      after: Statistics of the newer data, or of what a server was asked.
      columns: What the columns are.
      options: From when on a difference counts (`validation.drift`).
      against: What `before` is, in words.
      kind: DRIFT, or SKEW if `after` was logged by a server; then only the model's inputs are compared.
      texts: How the texts of the two differ, if that is known. A column whose lengths are among it is not judged by their mean.
    """
    old, new = distances.by_name(before), distances.by_name(after)
    rows = float(before.num_examples), float(after.num_examples)
    counted: dict[str, distances.Cells] = {}
    for name in old.keys() & new.keys():
        if kind == SKEW and name not in columns.inputs:
            continue
        # What moves by its nature does not move to another unit.
        if name in columns.moving and faults.factor(old[name], new[name]) is None:
            continue
        if name in columns.text or not distances.present(new[name]):
            # Of texts, only how many there are: their values must not even be looked at for names of cells.
            cells = distances.of_presence(old[name], new[name], rows)
        elif name in columns.identifiers:
            # Those are of all splits, and say themselves of how many rows.
            cells = distances.of_features(old[name], new[name], (distances.rows(old[name]), distances.rows(new[name])), True)
        else:
            cells = distances.of_features(old[name], new[name], rows)
        if cells is not None:
            counted[name] = cells
    names = sorted(counted)
    chances = dict(zip(names, distances.adjust([distances.g_test(counted[name]) for name in names]), strict=True))
    measured = {one.column for one in texts if one.measure == text_drift.LENGTH}
    judged = []
    for name in names:
        cells = counted[name]
        psi, largest = distances.psi(cells), distances.l_infinity(cells)
        lengths = None
        if name in columns.text and name not in measured:
            lengths = old[name].string_stats.avg_length, new[name].string_stats.avg_length
        large = psi >= options.drift.min_psi or largest >= options.drift.min_l_infinity
        judged.append(
            ColumnDrift(
                column=name,
                divergence=distances.jensen_shannon(cells),
                largest=largest,
                psi=psi,
                p_value=chances[name],
                lengths=lengths,
                contributions=tuple(distances.contributions(cells)),
                cells=tuple(distances.distribution(cells)),
                different=(large and chances[name] <= options.drift.alpha) or _other_lengths(lengths),
            )
        )
    found = faults.find(old, new, counted, [column.column for column in judged if column.different], columns.text)
    judged = [_explained(column, found[column.column]) if column.column in found else column for column in judged]
    judged.sort(key=lambda column: (not column.different, column.fault is None, -column.psi))
    return Comparison(against, kind, (before.num_examples, after.num_examples), tuple(judged), tuple(texts))


def findings(comparison: Comparison, options: ValidationOptions) -> list[Finding]:
    """Returns a finding per column that differs and per measure of its texts, and one that says what was compared."""
    found: list[Finding] = []
    for column in comparison.columns:
        default = Severity.ERROR if column.fault is not None and column.fault.certain else Severity.WARNING
        if column.different and (severity := options.severity_of(column.column, comparison.kind, default)):
            found.append(_finding(column, comparison, severity, options, len(comparison.columns)))
    found += text_drift.findings(comparison.texts, comparison.against, comparison.kind, options)
    different = sum(column.different for column in comparison.columns)
    found.append(
        Finding(
            check=comparison.kind,
            severity=Severity.INFO,
            message=f"{len(comparison.columns)} columns of {comparison.rows[1]:,} rows were compared with {comparison.against}"
            f" ({comparison.rows[0]:,} rows); {different or 'none'} of them differ",
            expected=comparison.against,
            observed=f"{different} different columns",
        )
    )
    return found


def _finding(column: ColumnDrift, comparison: Comparison, severity: Severity, options: ValidationOptions, tested: int) -> Finding:
    limits = f"PSI < {options.drift.min_psi:g} and L-infinity < {options.drift.min_l_infinity:g}"
    chance = f"{column.p_value:.2g}" if column.p_value >= 1e-12 else "below 1e-12"
    observed = (
        f"PSI {column.psi:.3f}, L-infinity {column.largest:.3f}, Jensen-Shannon divergence {column.divergence:.3f} bits,"
        f" chance {chance} (corrected for {tested} columns)"
    )
    kind = comparison.kind
    parts = [
        text_drift.change(_shorten(part.cell), f"{part.before:.1%}", f"{part.after:.1%}", kind)
        for part in column.contributions[:_SHOWN_CONTRIBUTIONS]
    ]
    if _other_lengths(column.lengths) and column.lengths:
        before, after = column.lengths
        parts.insert(0, text_drift.change("mean length", f"{before:.1f}", f"{after:.1f} bytes", kind))
    changes = "; ".join(parts)
    fault, against = column.fault, comparison.against
    what = f"differs from {against}" if fault is None else f"{fault.text}, compared with {against}"
    return Finding(
        check=comparison.kind,
        severity=severity,
        message=f"Column {column.column!r} {what}{': ' if changes else ''}{changes} ({observed})",
        subject=column.column,
        expected=limits,
        observed=observed,
    )


def _explained(column: ColumnDrift, fault: faults.Fault) -> ColumnDrift:
    if fault.holds_text:
        column = dataclasses.replace(column, contributions=(), cells=())
    return dataclasses.replace(column, fault=fault, different=True)


def _other_lengths(lengths: Sequence[float] | None) -> bool:
    return lengths is not None and all(lengths) and max(lengths) > _LENGTH_FACTOR * min(lengths)


def _shorten(text: str) -> str:
    return text if len(text) <= _SHORT else text[: _SHORT - 1] + "…"
