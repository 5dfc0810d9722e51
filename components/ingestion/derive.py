"""New columns from expressions over columns, e.g. `tips > 0.2 * fare`.

The language is a small part of Python's: column names (in backquotes where they are not identifiers), numbers, quoted text,
+ - * /, comparisons, and, or, not, parentheses. An expression is parsed, never executed; it is computed on whole Arrow columns.
Comparisons with quoted text compare text, all others numbers. A missing or non-numeric cell and a division by zero are missing,
and so is what is computed from them; `and` and `or` still know the answer where one side decides it.
"""

from __future__ import annotations

import ast
import dataclasses
import re
import sys
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from components.errors import UsageError
from components.ingestion import cells, columns

_ALLOWED = "column names (odd ones in backquotes), numbers, quoted text, + - * /, < <= > >= == !=, and, or, not, ( )"
# Keeps the tree shallow enough for Python's recursion limit.
_MAX_LENGTH = 500
_ARITHMETIC = {ast.Add: pc.add, ast.Sub: pc.subtract, ast.Mult: pc.multiply, ast.Div: pc.divide}
_COMPARISONS = {
    ast.Lt: pc.less,
    ast.LtE: pc.less_equal,
    ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
    ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
}
_QUOTED_TEXT_OR_NAME = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`([^`]*)`""")


@dataclasses.dataclass(frozen=True)
class Expression:
    """A parsed expression.

    Attributes:
      text: As it was written.
      columns: The columns it reads, in order of appearance.
    """

    text: str
    columns: tuple[str, ...]
    _tree: ast.expr = dataclasses.field(repr=False)
    _names: Mapping[str, str] = dataclasses.field(repr=False)

    def evaluate(self, rows: pa.RecordBatch | pa.Table) -> pa.Array:
        """Computes the expression for every row.

        Args:
          rows: Plain columns (string, int64, float64).

        Returns:
          [rows], `true` and `false` as strings for a condition, float64 for a number; null where the answer is not known.

        Raises:
          UsageError: A column is not there.
        """
        columns.require(self.columns, rows.schema.names, f"{self.text!r} reads")
        values = _Computation(rows, self._names).visit(self._tree)
        return values.cast(pa.string()) if pa.types.is_boolean(values.type) else values


def parse(text: str) -> Expression:
    """Parses an expression.

    Raises:
      UsageError: It holds anything the language does not, mixes conditions with numbers, or names no column.
    """
    names: dict[str, str] = {}

    def placeholder(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0]
        name = f"_quoted_column_{len(names)}_"
        names[name] = match[1]
        return name

    if len(text) > _MAX_LENGTH:
        raise UsageError(f"An expression has at most {_MAX_LENGTH} characters; received {len(text)}. Derive it in steps")
    try:
        tree = ast.parse(_QUOTED_TEXT_OR_NAME.sub(placeholder, text.strip()), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise UsageError(f"{text!r} is not an expression; allowed are {_ALLOWED}") from error
    _kind(tree, text)
    used = sorted(
        (node for node in ast.walk(tree) if isinstance(node, ast.Name)), key=lambda node: (node.lineno, node.col_offset)
    )
    expression = Expression(text, tuple(dict.fromkeys(names.get(node.id, node.id) for node in used)), tree, names)
    if not expression.columns:
        raise UsageError(f"{text!r} reads no column, so every row would get the same value")
    return expression


def evaluate(expression: str, rows: pa.RecordBatch | pa.Table) -> pa.Array:
    """Parses an expression and computes it for every row; see `Expression.evaluate`."""
    return parse(expression).evaluate(rows)


def _kind(node: ast.expr, text: str) -> str:
    """Checks a node and says what it is: `condition`, `number`, `text` or `column`."""

    def expect(child: ast.expr, allowed: tuple[str, ...], where: str) -> None:
        kind = _kind(child, text)
        if kind not in allowed:
            raise UsageError(f"In {text!r}, {where} takes {' or '.join(allowed)}; received a {kind}: {_source(child)}")

    match node:
        case ast.Name():
            return "column"
        case ast.Constant(value=bool()):
            pass
        case ast.Constant(value=int() | float() as value) if abs(value) <= sys.float_info.max:
            return "number"
        case ast.Constant(value=str()):
            return "text"
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _ARITHMETIC:
            expect(left, ("number", "column"), "arithmetic")
            expect(right, ("number", "column"), "arithmetic")
            return "number"
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            expect(operand, ("number", "column"), "a sign")
            return "number"
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            expect(operand, ("condition",), "not")
            return "condition"
        case ast.BoolOp(values=values):
            for value in values:
                expect(value, ("condition",), "and/or")
            return "condition"
        case ast.Compare(left=left, ops=operators, comparators=right) if _COMPARISONS.keys() >= set(map(type, operators)):
            sides = [left, *right]
            allowed = ("text", "column") if any(map(_is_text, sides)) else ("number", "column")
            for side in sides:
                expect(side, allowed, "this comparison")
            return "condition"
    raise UsageError(f"In {text!r}, {_source(node)} is not part of the language; allowed are {_ALLOWED}")


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _source(node: ast.expr) -> str:
    return repr(ast.unparse(node)[:60])


class _Computation(ast.NodeVisitor):
    """Computes a checked tree over the rows of one batch."""

    def __init__(self, rows: pa.RecordBatch | pa.Table, names: Mapping[str, str]):
        self._rows = rows
        self._names = names

    def _column(self, node: ast.Name) -> pa.Array:
        column = self._rows.column(self._names.get(node.id, node.id))
        return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column

    def _text(self, node: ast.expr) -> pa.Array | pa.Scalar:
        return cells.text(self._column(node)) if isinstance(node, ast.Name) else self.visit(node)

    def visit_Name(self, node: ast.Name) -> pa.Array:
        values, invalid = cells.number(self._column(node))
        return pc.if_else(pa.array(invalid), None, values)

    def visit_Constant(self, node: ast.Constant) -> pa.Scalar:
        return pa.scalar(node.value if isinstance(node.value, str) else float(node.value))

    def visit_BinOp(self, node: ast.BinOp) -> pa.Array | pa.Scalar:
        left, right = self.visit(node.left), self.visit(node.right)
        if isinstance(node.op, ast.Div):
            right = pc.if_else(pc.equal(right, 0.0), pa.scalar(None, pa.float64()), right)
        return _ARITHMETIC[type(node.op)](left, right)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> pa.Array | pa.Scalar:
        operand = self.visit(node.operand)
        if isinstance(node.op, ast.Not):
            return pc.invert(operand)
        return pc.negate(operand) if isinstance(node.op, ast.USub) else operand

    def visit_BoolOp(self, node: ast.BoolOp) -> pa.Array:
        combine = pc.and_kleene if isinstance(node.op, ast.And) else pc.or_kleene
        first, *rest = map(self.visit, node.values)
        for condition in rest:
            first = combine(first, condition)
        return first

    def visit_Compare(self, node: ast.Compare) -> pa.Array:
        sides = [node.left, *node.comparators]
        textual = any(map(_is_text, sides))
        values = [self._text(side) if textual else self.visit(side) for side in sides]
        pairs = zip(node.ops, values, values[1:], strict=False)
        first, *rest = (_COMPARISONS[type(operator)](left, right) for operator, left, right in pairs)
        for condition in rest:
            first = pc.and_kleene(first, condition)
        return first
