import pytest
import yaml

from components.profiling.pipeline_text import render

VALUES = {
    "name": "tickets",
    "data": {
        "source": {"type": "csv", "path": "a/very long/path/" + "x" * 90 + "/tickets: final #2.csv"},
        "text": ['my text.body "x"', "it's"],
        "label": "größe",
        "segments": ["on", "1"],
        "split": {"by": "hash", "eval": 0.1, "test": 0.1},
        "derive": {"big": "`my fare` > 0.2"},
    },
    "schema": "schemas/tickets/schema.pbtxt",
    "evaluation": {"gates": [{"metric": "accuracy", "above_majority": 0.05}]},
}


class TestRender:
    def test_reads_back_as_it_was(self):
        assert yaml.safe_load(render(VALUES, "two\nlines")) == VALUES

    def test_keeps_the_order_and_says_what_to_look_at(self):
        text = render(VALUES, "hello")

        assert text.startswith("# hello\nname: tickets\n")
        assert [line.split(":")[0] for line in text.splitlines() if line and line[0] not in "# "] == list(VALUES)
        assert "\n\n# A model that fails a gate" in text

    @pytest.mark.parametrize(
        "line", ["  split: {by: hash, eval: 0.1, test: 0.1}", "    - {metric: accuracy, above_majority: 0.05}"]
    )
    def test_puts_small_things_on_one_line(self, line):
        assert line in render(VALUES, "").splitlines()
