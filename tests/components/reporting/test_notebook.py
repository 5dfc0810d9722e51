from __future__ import annotations

import logging
import os

import pytest

from components.reporting.notebook import Html, about, piece, quiet


class TestHtml:
    def test_carries_its_style_and_neither_script_nor_address(self):
        shown = Html("<p>hello</p>")._repr_html_()
        assert "<p>hello</p>" in shown
        assert "<style>.parlance.parlance.parlance {" in shown
        for outside in ("<script", "http", "url(", "@import"):
            assert outside not in shown

    def test_its_style_stays_inside(self):
        """Rules for the whole document become rules for the piece, and the nesting closes."""
        shown = Html("")._repr_html_()
        style = shown[shown.index("<style>") : shown.index("</style>")]
        assert ":root" not in style
        assert "\nbody {" not in style
        assert style.count("{") == style.count("}")

    def test_without_html_it_is_described_in_a_few_words(self):
        assert repr(Html("x" * 1234)) == "<HTML, 1,234 characters>"


def test_values_are_escaped():
    record = {"run_id": "<script>", "pipeline": "a&b", "state": "rejected", "rows": {"train": 3}, "pushed": None}
    shown = about(record).markup
    assert "&lt;script&gt;" in shown
    assert "a&amp;b" in shown


def test_a_macro_that_is_not_there_is_an_error():
    with pytest.raises(Exception, match="nothing"):
        piece("notebook.html.j2", "nothing")


class TestQuiet:
    def test_nothing_reaches_stderr(self, capfd):
        with quiet():
            os.write(2, b"cudart_stub.cc: Could not find cuda drivers\n")
            logging.getLogger("tensorflow").warning("deprecated")
        os.write(2, b"after\n")
        assert capfd.readouterr().err == "after\n"

    def test_warnings_come_back_after_an_error(self, caplog):
        with pytest.raises(ValueError, match="x"), quiet():
            raise ValueError("x")
        logging.getLogger("tensorflow").warning("heard")
        assert "heard" in caplog.text
