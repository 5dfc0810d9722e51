import pytest

from components.errors import UsageError
from components.ingestion import columns


class TestRequire:
    def test_accepts_what_is_there(self):
        columns.require(["a", "b"], ["b", "a", "c"], "data.text names")

    def test_names_the_nearest_columns(self):
        with pytest.raises(UsageError, match="data.label names 'lable', but there is no such column. Did you mean 'label'"):
            columns.require(["lable"], ["text", "label"], "data.label names")

    def test_lists_a_bounded_number_of_columns(self):
        with pytest.raises(UsageError, match="The columns are 'c0', .*'c19' and 80 more$"):
            columns.require(["zzz"], [f"c{number}" for number in range(100)], "data.label names")
