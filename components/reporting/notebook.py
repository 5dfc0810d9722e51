"""Pieces of a page that a notebook displays and that stay visible when it is exported: HTML and SVG, no script, no network.

TFMA's and TFDV's own views are drawn by scripts: they are blank in JupyterLab or offline, and lost in an export. A piece carries its
style with it, so that it looks the same wherever it is shown.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from components.reporting import page


@dataclasses.dataclass(frozen=True, repr=False)
class Html:
    """A piece of a page.

    Attributes:
      markup: Its HTML, without style.
    """

    markup: str

    def _repr_html_(self) -> str:
        """What Jupyter displays."""
        return f'<div class="parlance"><style>{_style()}</style>\n{self.markup}\n</div>'

    def __repr__(self) -> str:
        return f"<HTML, {len(self.markup):,} characters>"


def about(record: Mapping[str, Any]) -> Html:
    """Shows which run a notebook reads.

    Args:
      record: The run record.
    """
    return piece("notebook.html.j2", "about", record=record)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps out warnings that are logged, and what libraries write to the process's stderr; errors still reach the notebook.

    TensorFlow's C++ code reports on its build while it is loaded, whatever its log level, and TFMA reads its files in a way that
    TensorFlow warns of.
    """
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    disabled = logging.root.manager.disable
    os.dup2(nowhere, 2)
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


def piece(template: str, macro: str, **values: Any) -> Html:
    """Returns what a macro of a template makes of some values; all values are escaped.

    Args:
      template: File name of the template.
      macro: Its macro.
      values: The macro's arguments.
    """
    return Html(page.render("notebook_piece.html.j2", source=template, macro=macro, arguments=values).strip())


@functools.cache
def _style() -> str:
    """The report's style sheet for a piece of a page: nested in the piece's class, which stands in for the document.

    The class is repeated, because Jupyter's own rules for tables are as specific as two classes.
    """
    report = re.sub(r":root\b|(?<=\n)(html|body)(?= \{)", "&", page.render("report.css.j2"))
    own = page.render("notebook.css.j2")
    return f".parlance.parlance.parlance {{\n{report}\n{own}\n}}"
