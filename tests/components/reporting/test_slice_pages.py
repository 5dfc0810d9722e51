from __future__ import annotations

import functools
import json
import re

import pytest

from components.reporting import slice_pages
from tests.components.reporting import runs

ABOUT = slice_pages.About("intents", "intents-20261121-101500-3fa2", "21 November 2026")


@functools.cache
def rendered(sample):
    data = sample()
    return dict(slice_pages.render(data.metrics, data.confusion, ABOUT))


def embedded(page):
    return json.loads(re.search(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)[1])


class TestFileNames:
    NAMES = (
        "de", "DE", "De", "de-CH", "de_ch", "de ch", "pt-br", "PT-BR", "index", "Index", "con", "nul", "com1", "", ".", "..",
        "../../etc/passwd", "a/b", "a\\b", "a%2Fb", "ä", "a\u0308", "Ünï çode ™", "中文", "😀", "x" * 500, "x" * 499, "-", "--", " de",
        "de ", "de.", "de\n", "de\x00", "#", "?", "de-0123456789abcdef", "a" * 48, "a" * 49,
    )  # fmt: skip

    def test_never_collide_also_where_case_does_not_count(self):
        names = [slice_pages.file_name(value).casefold() for value in self.NAMES]
        assert len(set(names)) == len(self.NAMES)

    @pytest.mark.parametrize("value", NAMES)
    def test_are_short_and_need_no_escaping_anywhere(self, value):
        name = slice_pages.file_name(value)
        assert re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,79}", name)

    def test_a_plain_value_is_its_own_name(self):
        assert slice_pages.file_name("pt-br") == "pt-br"

    def test_a_value_that_looks_like_another_ones_name_does_not_get_it(self):
        taken = slice_pages.file_name("de-CH")
        assert slice_pages.file_name(taken) != taken


class TestPlan:
    def test_has_declared_columns_only_no_crosses_and_nothing_small(self):
        metrics = runs.intents().metrics
        planned = slice_pages.plan(metrics)
        assert {entry.column for entry in planned.pages} == {"language", "channel"}
        assert all(entry.n >= metrics["min_rows"] for entry in planned.pages)
        assert "zh-CN" not in {entry.value for entry in planned.pages}

    def test_takes_the_largest_of_too_many(self, monkeypatch):
        monkeypatch.setattr(slice_pages, "PAGES_PER_SEGMENT", 3)
        metrics = runs.intents().metrics
        planned = slice_pages.plan(metrics)
        sizes = sorted((row["n"] for row in metrics["candidate"]["slices"] if tuple(row["slice"]) == ("language",)), reverse=True)
        assert [entry.n for entry in planned.pages if entry.column == "language"] == sizes[:3]
        assert planned.left_out == 10
        assert "the 3 largest of each segment. 10 smaller ones" in planned.note()


class TestPages:
    def test_one_for_each_value_and_an_index_that_links_to_them(self):
        pages = rendered(runs.intents)
        index = pages[slice_pages.INDEX]
        links = set(re.findall(r'href="([^"#]+)"', index)) - {"../report.html"}
        assert {f"slices/{link}" for link in links} == pages.keys() - {slice_pages.INDEX}

    def test_say_size_accuracy_with_interval_and_the_average(self):
        text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", rendered(runs.intents)["slices/language/ru.html"]))
        assert re.search(r"Accuracy on \d+ test messages 0\.\d{3} 0\.\d{3} to 0\.\d{3}", text)
        assert "average of all messages 0.880" in text

    def test_hold_no_other_values_names_or_numbers(self):
        """A page goes to one customer."""
        pages = {path: page for path, page in rendered(runs.many_slices).items() if path != slice_pages.INDEX}
        own = {path: re.search(r'<h1 class="value">(.*?)</h1>', page)[1] for path, page in pages.items()}
        assert len(set(own.values())) == len(pages) > 30
        for path, page in pages.items():
            assert {name for name in own.values() if name in page} == {own[path]}

    def test_hold_only_the_slices_own_cells(self):
        data = runs.intents()
        position = next(
            place for place, row in enumerate(data.metrics["candidate"]["slices"]) if row["slice"] == {"language": "ru"}
        )
        [only] = embedded(rendered(runs.intents)["slices/language/ru.html"])["slices"]
        assert sum(only["cells"][1::2]) == sum(n for _, _, n in data.confusion["candidate"][position])
        assert only["n"] == data.metrics["candidate"]["slices"][position]["n"]

    def test_hold_no_class_that_does_not_occur(self):
        data = runs.intents()
        for row, cells in zip(data.metrics["candidate"]["slices"], data.confusion["candidate"], strict=True):
            if row["slice"] == {"language": "ru"}:
                cells[:] = [[0, 0, 190], [0, 1, 10]]
        data.confusion["baseline"] = None
        page = dict(slice_pages.render(data.metrics, data.confusion, ABOUT))["slices/language/ru.html"]
        present = {name for name in data.metrics["classes"] if re.search(rf"\b{name}\b", page)}
        assert present == set(data.metrics["classes"][:2])

    def test_hold_no_paths_and_no_lineage(self):
        for page in rendered(runs.intents).values():
            assert "/home/" not in page
            assert "/srv/" not in page
            assert "lineage" not in page.lower()

    def test_of_a_first_run_have_no_model_before(self):
        assert all("Change to the model before" not in page for page in rendered(runs.taxi).values())
        assert "Change to the model before" in rendered(runs.intents)["slices/language/ru.html"]

    def test_of_hostile_names_are_inert(self):
        pages = rendered(runs.hostile)
        assert len(pages) > len(runs.HOSTILE) - 2
        for page in pages.values():
            assert "<img" not in page
            assert page.count("<script") == page.count("</script>") == (2 if 'id="explorer"' in page else 0)

    def test_are_none_without_segments(self):
        data = runs.taxi()
        assert list(slice_pages.render(data.metrics | {"segments": []}, data.confusion, ABOUT)) == []

    def test_are_small(self):
        assert max(len(page.encode()) for page in rendered(runs.many_slices).values()) < 300_000
