"""The tables of drift in the report."""

from components.reporting import drift, report

COLUMN = {
    "column": "channel",
    "divergence": 0.183,
    "largest": 0.413,
    "psi": 1.107,
    "p_value": 1e-40,
    "lengths": None,
    "contributions": [{"cell": "<b>web", "before": 0.505, "after": 0.092}],
    "cells": [{"cell": "phone", "before": 0.495, "after": 0.908}, {"cell": "<b>web", "before": 0.505, "after": 0.092}],
    "different": True,
}
SAME = {
    **COLUMN,
    "column": "text",
    "different": False,
    "p_value": 0.5,
    "contributions": [],
    "cells": [],
    "lengths": [40.0, 41.25],
}
COMPARISON = {"against": "the previous data", "kind": "drift", "rows": [2369, 2442], "columns": [COLUMN, SAME]}


def test_a_table_shows_distances_and_where_they_come_from():
    [table] = drift.tables([COMPARISON])
    assert table.title == "Drift: 2,442 rows of this run beside the previous data (2,369 rows)"
    channel, text = table.columns
    assert (channel.chance, channel.changes) == ("<0.0001", ("<b>web: 50.5% → 9.2%",))
    assert (text.chance, text.changes) == ("0.5000", ("mean length: 40.0 → 41.2 bytes",))


def test_both_distributions_of_a_column_are_shown_on_one_scale():
    [table] = drift.tables([COMPARISON])
    channel, text = table.columns
    assert channel.cells == ("phone: 49.5% → 90.8%", "<b>web: 50.5% → 9.2%")
    (phone_before, web_before), (phone_after, web_after) = channel.charts["before"], channel.charts["after"]
    assert (phone_before.x, web_before.x) == (phone_after.x, web_after.x)
    assert phone_before.height < web_before.height < phone_after.height
    assert web_after.height < phone_before.height
    assert (text.cells, text.charts) == ((), {})


def test_a_result_of_an_earlier_version_has_no_distributions():
    [table] = drift.tables([{**COMPARISON, "columns": [{name: value for name, value in COLUMN.items() if name != "cells"}]}])
    assert (table.columns[0].cells, table.columns[0].charts) == ((), {})


def test_long_tables_end_and_say_so():
    [table] = drift.tables([{**COMPARISON, "kind": "skew", "columns": [COLUMN] * (drift.COLUMNS + 7)}])
    assert (len(table.columns), table.left_out) == (drift.COLUMNS, 7)
    assert table.title.startswith("Skew: ")


def test_the_page_holds_it_escaped():
    page = report.render(report.ReportData(comparisons=[COMPARISON]))
    assert "beside the previous data" in page
    assert "&lt;b&gt;web: 50.5% → 9.2%" in page
    assert "all 2 values or ranges" in page
    for where in ("the earlier data", "this run"):
        assert f'aria-label="Distribution of channel in {where}"' in page
    assert "<b>web" not in page


class TestTexts:
    CELLS = [{"cell": "Latin", "before": 1.0, "after": 0.75}, {"cell": "<i>Han", "before": 0.0, "after": 0.25}]
    SCRIPT = {"column": "text", "measure": "script", "distance": 0.25, "p_value": 1e-9, "cells": CELLS, "different": True}

    def table(self, **measure):
        [table] = drift.tables([{**COMPARISON, "columns": [SAME], "texts": [self.SCRIPT | measure]}])
        return table

    def test_both_distributions_are_shown_on_one_scale(self):
        [script] = self.table().texts
        assert (script.measure, script.distance, script.chance) == ("script of most letters", "25.0%", "<0.0001")
        assert script.cells == ("Latin: 100.0% → 75.0%", "<i>Han: 0% → 25.0%")
        [before], [latin, han] = script.charts["before"], script.charts["after"]
        assert (before.x, before.height) == (latin.x, latin.height / 0.75)
        assert han.x > latin.x

    def test_a_comparison_is_open_if_texts_differ(self):
        assert self.table().different
        assert not self.table(different=False).different

    def test_the_page_holds_them_escaped(self):
        page = report.render(report.ReportData(comparisons=[{**COMPARISON, "texts": [self.SCRIPT]}]))
        assert "Texts: both distributions" in page
        assert "&lt;i&gt;Han: 0% → 25.0%" in page
        assert "<i>Han" not in page
