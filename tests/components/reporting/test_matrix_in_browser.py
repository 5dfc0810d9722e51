"""The interactive confusion matrix, driven in a real browser where there is one."""

from __future__ import annotations

import pathlib

import pytest

from components.reporting.report import render
from tests.components.reporting import browser, runs

pytestmark = pytest.mark.skipif(browser.PROGRAM is None, reason="needs Chromium")

PAIRS = "[...document.querySelectorAll('[data-part=pairs] tbody tr')].map(row => [...row.cells].map(cell => cell.textContent))"
SHOWN = "Number(document.getElementById('explorer').dataset.shown)"
# The colours of the canvas, so that a test can tell whether something was drawn.
COLOURS = """(() => {
  const canvas = document.querySelector('[data-part=canvas]');
  const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  const found = new Set();
  for (let i = 0; i < pixels.length; i += 4) found.add(pixels.slice(i, i + 3).join());
  return found.size;
})()"""


def choose(part, value):
    return (
        f"(() => {{ const control = document.querySelector('[data-part={part}]'); control.value = {value!r}; "
        "control.dispatchEvent(new Event('change')); })()"
    )


def switch(name, value):
    return f"document.querySelector('input[name={name}][value={value}]').click()"


def text(part):
    return f"document.querySelector('[data-part={part}]').innerText"


@pytest.fixture(scope="module")
def page():
    with browser.browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pages")


def opened(page, folder, sample, **options) -> pathlib.Path:
    path = folder / f"{sample.__name__}.html"
    if not path.exists():
        path.write_text(render(sample()), encoding="utf-8")
    page.problems.clear()
    page.open(path, **options)
    return path


class TestWithScript:
    def test_replaces_the_static_tables_without_an_error_or_a_violated_policy(self, page, folder):
        opened(page, folder, runs.intents)
        assert page.evaluate("document.getElementById('explorer').hidden") is False
        assert page.evaluate("document.querySelector('[data-static]').offsetHeight") == 0
        assert page.evaluate(COLOURS) > 20
        assert page.problems == []

    def test_agrees_with_the_metrics_about_accuracy(self, page, folder):
        opened(page, folder, runs.intents)
        assert page.evaluate(text("summary")) == "All test rows: 6,012 – accuracy 0.880, baseline 0.863"

    def test_lists_the_same_confusions_as_the_static_table(self, page, folder):
        opened(page, folder, runs.intents)
        rows = "[...document.querySelectorAll('[data-static] table:not(.matrix) tbody tr')]"
        static = page.evaluate(f"{rows}.map(row => [...row.cells].slice(0, 3).map(cell => cell.textContent))")
        listed = [[actual, predicted, rows] for actual, predicted, rows, *_ in page.evaluate(PAIRS)]
        # Equally frequent ones may stand in another order.
        assert [rows for *_, rows in listed] == [rows for *_, rows in static[: len(listed)]]
        assert [pair for pair in listed if pair not in static] == []

    def test_switches_the_slice(self, page, folder):
        opened(page, folder, runs.intents)
        before = page.evaluate(PAIRS)
        options = "[...document.querySelectorAll('[data-part=slice] option')]"
        page.evaluate(choose("slice", page.evaluate(f"{options}.find(option => option.text.startsWith('ru ')).value")))
        assert page.evaluate(text("summary")) == "language: ru, 676 test rows – accuracy 0.778, baseline 0.762"
        assert page.evaluate(PAIRS) != before

    def test_zooms_to_the_most_confused_and_says_what_is_elsewhere(self, page, folder):
        opened(page, folder, runs.intents)
        assert page.evaluate(SHOWN) == 41
        page.evaluate(choose("classes", "15"))
        assert page.evaluate(SHOWN) == 15
        assert "26 classes not shown; what went there is “elsewhere”" in page.evaluate(text("legend"))

    def test_goes_around_a_class_and_back(self, page, folder):
        opened(page, folder, runs.intents)
        page.evaluate(choose("around", "HassTurnOn"))
        assert 2 <= page.evaluate(SHOWN) < 41
        page.evaluate(choose("around", ""))
        assert page.evaluate(SHOWN) == 41

    def test_compares_with_the_baseline(self, page, folder):
        opened(page, folder, runs.intents)
        page.evaluate(switch("model", "change"))
        assert "better than the baseline" in page.evaluate(text("legend"))
        for _, _, change, rows, tone in page.evaluate(PAIRS):
            before, now = (int(n) for n in rows.split(" → "))
            assert int(change.replace("−", "-")) == now - before
            assert tone == ("" if tone == "" else "worse" if now > before else "better")

    def test_without_a_baseline_offers_no_comparison(self, page, folder):
        opened(page, folder, runs.taxi)
        assert page.evaluate("document.querySelector('[data-part=models]').offsetHeight") == 0

    @pytest.mark.parametrize("order", ["rows", "errors", "rate", "together"])
    def test_every_order_redraws_the_matrix(self, page, folder, order):
        opened(page, folder, runs.intents)
        picture = "document.querySelector('[data-part=canvas]').toDataURL()"
        by_name = page.evaluate(picture)
        page.evaluate(choose("order", order))
        assert page.evaluate(picture) != by_name
        page.evaluate(choose("order", "name"))
        assert page.evaluate(picture) == by_name

    @pytest.mark.parametrize("unit", ["predicted", "rows"])
    def test_every_unit_redraws_the_matrix(self, page, folder, unit):
        opened(page, folder, runs.intents)
        picture = "document.querySelector('[data-part=canvas]').toDataURL()"
        before = page.evaluate(picture)
        page.evaluate(switch("unit", unit))
        assert page.evaluate(picture) != before
        assert page.problems == []

    def test_is_painted_anew_for_another_width_and_another_theme(self, page, folder):
        opened(page, folder, runs.intents)
        drawn = "document.querySelector('[data-part=canvas]').width"
        wide = page.evaluate(drawn)
        page.call("Emulation.setDeviceMetricsOverride", width=600, height=900, deviceScaleFactor=1, mobile=False)
        page.wait_for(f"{drawn} < {wide}")
        assert page.evaluate(COLOURS) > 20
        picture = "document.querySelector('[data-part=canvas]').toDataURL()"
        light = page.evaluate(picture)
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
        page.wait_for(f"{picture} !== {light!r}")
        assert page.problems == []


class TestByKeyboard:
    def test_arrows_move_and_the_cell_is_told(self, page, folder):
        opened(page, folder, runs.taxi)
        page.evaluate("document.querySelector('[data-part=canvas]').focus()")
        page.press("ArrowRight")
        assert page.evaluate(text("tip")).startswith("false recognised")
        page.press("ArrowRight")
        assert page.evaluate(text("tip")).startswith("false taken for true\n")
        page.press("ArrowDown", "ArrowLeft", "ArrowLeft", "ArrowLeft")
        assert page.evaluate(text("tip")).startswith("true taken for false\n")

    def test_enter_zooms_in_and_escape_out(self, page, folder):
        opened(page, folder, runs.intents)
        page.evaluate("document.querySelector('[data-part=canvas]').focus()")
        page.press("ArrowDown", "Enter")
        assert page.evaluate(SHOWN) < 41
        page.press("Escape")
        assert page.evaluate(SHOWN) == 41

    def test_a_pair_of_the_table_is_shown_in_the_matrix(self, page, folder):
        opened(page, folder, runs.intents)
        actual, predicted, *_ = page.evaluate(PAIRS)[2]
        page.evaluate("document.querySelectorAll('[data-part=pairs] button')[2].click()")
        assert page.evaluate(text("tip")).startswith(f"{actual} taken for {predicted}\n")


class TestLargeAndHostile:
    def test_many_classes_begin_at_a_readable_size(self, page, folder):
        opened(page, folder, runs.many_slices)
        assert page.evaluate(SHOWN) == 60
        page.evaluate(choose("classes", "150"))
        assert page.evaluate(SHOWN) == 150
        assert page.problems == []

    def test_names_never_become_code(self, page, folder):
        opened(page, folder, runs.hostile)
        page.evaluate(switch("model", "change"))
        assert page.evaluate("window.hacked === undefined && document.querySelector('img') === null")
        assert page.problems == []
        assert any("<script>" in name for name, *_ in page.evaluate(PAIRS))


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("sample", [runs.intents, runs.hostile, runs.without_values])
def test_no_page_is_wider_than_its_window(page, folder, sample, width):
    opened(page, folder, sample, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_without_script_the_static_tables_stay(page, folder):
    opened(page, folder, runs.intents, script=False)
    assert page.evaluate("document.getElementById('explorer').offsetHeight") == 0
    assert page.evaluate("document.querySelector('[data-static] table.matrix').offsetHeight") > 500
