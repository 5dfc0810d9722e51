"""What all pages share: the templates, the one script, and a policy that lets nothing else run or load."""

from __future__ import annotations

import base64
import hashlib
import pathlib
from typing import Any

import jinja2
import markupsafe

from components.reporting import formats

_FOLDER = pathlib.Path(__file__).parent
SCRIPT = (_FOLDER / "confusion.js").read_text(encoding="utf-8")
_CLOSED = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def policy(with_script: bool) -> str:
    """Returns the content security policy of a page: its styles and, if it has the script, exactly that one."""
    if not with_script:
        return _CLOSED
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    return f"{_CLOSED}; script-src 'sha256-{digest}'"


def render(template: str, **values: Any) -> str:
    """Returns a page; everything that is not markup of the templates themselves is escaped."""
    return _ENVIRONMENT.get_template(template).render(**values)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(formats.FILTERS)
    environment.globals.update(policy=policy, script=markupsafe.Markup(SCRIPT))  # noqa: S704 - our own file
    return environment


_ENVIRONMENT = _environment()
