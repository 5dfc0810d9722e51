import pyarrow as pa
import pytest

from components.errors import UsageError
from components.ingestion import derive

ROWS = pa.RecordBatch.from_pydict(
    {
        "tips": pa.array(["0", "3", None, "x", "1"]),
        "fare": pa.array([10.0, 10.0, 10.0, 10.0, 0.0]),
        "seconds": pa.array([1, 2, 3, 4, None], pa.int64()),
        "language": pa.array(["de", "en", "de", None, ""]),
        "trip miles": pa.array([1.0, 2.0, 3.0, 4.0, 5.0]),
    }
)


class TestEvaluate:
    @pytest.mark.parametrize(
        ("expression", "expected"),
        [
            ("tips > 0.2 * fare", ["false", "true", None, None, "true"]),
            ("tips / fare", [0.0, 0.3, None, None, None]),
            ("-(seconds + 1) * 2", [-4.0, -6.0, -8.0, -10.0, None]),
            ("+seconds - 1", [0.0, 1.0, 2.0, 3.0, None]),
            ("language == 'de'", ["true", "false", "true", None, None]),
            ("not language == 'de'", ["false", "true", "false", None, None]),
            ("'de' != language", ["false", "true", "false", None, None]),
            ("1 < seconds <= 3", ["false", "true", "true", "false", None]),
            ("seconds == 1 or fare == 0", ["true", "false", "false", "false", "true"]),
            ("seconds == 1 and fare == 0", ["false", "false", "false", "false", None]),
            ("`trip miles` >= 4", ["false", "false", "false", "true", "true"]),
            ("`trip miles` > seconds", ["false", "false", "false", "false", None]),
            ("language == '`trip miles`'", ["false", "false", "false", None, None]),
            ("2 * 3 > seconds", ["true", "true", "true", "true", None]),
        ],
    )
    def test_computes_every_row(self, expression, expected):
        assert derive.evaluate(expression, ROWS).to_pylist() == pytest.approx(expected)

    def test_takes_tables_in_chunks(self):
        table = pa.concat_tables([pa.Table.from_batches([ROWS])] * 2)
        assert len(derive.evaluate("fare > 1", table)) == 10

    def test_an_unknown_column_is_an_error_that_names_the_nearest(self):
        with pytest.raises(UsageError, match="reads 'tip', but there is no such column. Did you mean 'tips'"):
            derive.evaluate("tip > 1", ROWS)


class TestParse:
    def test_lists_columns_in_order_of_appearance(self):
        assert derive.parse("tips > 0.2 * fare and `trip miles` < tips").columns == ("tips", "fare", "trip miles")

    @pytest.mark.parametrize(
        "expression",
        [
            "__import__('os')",
            "tips.real > 1",
            "tips[0] > 1",
            "tips ** 9",
            "tips % 2",
            "[tips]",
            "lambda: tips",
            "tips if fare else 1",
            "tips in (1, 2)",
            "tips is None",
            "f'{tips}'",
            "True == tips",
            "(x := tips)",
            "tips > 1j",
            "tips > " + "9" * 400,
            "~tips",
        ],
    )
    def test_anything_else_is_an_error_that_lists_what_is_allowed(self, expression):
        with pytest.raises(UsageError, match="allowed are column names"):
            derive.parse(expression)

    @pytest.mark.parametrize("expression", ["", "tips >", "1tips", "a b", "`tips", "((tips)", "tips; fare", "tips\0"])
    def test_what_does_not_parse_is_an_error(self, expression):
        with pytest.raises(UsageError, match="is not an expression"):
            derive.parse(expression)

    @pytest.mark.parametrize(
        ("expression", "message"),
        [
            ("tips and fare", "and/or takes condition; received a column: 'tips'"),
            ("not tips", "not takes condition"),
            ("(tips > 1) + 1", "arithmetic takes number or column; received a condition"),
            ("tips + 'a'", "received a text"),
            ("tips + 1 == 'a'", "this comparison takes text or column; received a number"),
        ],
    )
    def test_kinds_do_not_mix(self, expression, message):
        with pytest.raises(UsageError, match=message.replace("+", r"\+").replace("(", r"\(").replace(")", r"\)")):
            derive.parse(expression)

    def test_an_expression_without_a_column_is_an_error(self):
        with pytest.raises(UsageError, match="reads no column"):
            derive.parse("1 < 2")

    def test_depth_is_bounded(self):
        with pytest.raises(UsageError, match="at most"):
            derive.parse("+".join(["tips"] * 5000))
        assert derive.evaluate("+".join(["fare"] * 100), ROWS)[0].as_py() == 1000.0
