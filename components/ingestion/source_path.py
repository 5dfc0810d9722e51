"""Where the files of a source are: from the path in the pipeline file to a folder and a pattern below it."""

from __future__ import annotations

import datetime
import glob
import importlib.util
import os
import pathlib
import re

from components.errors import UsageError

PACKAGE = "package:"
"""What a path to a file inside an installed package begins with."""


def resolve(path: str) -> str:
    """Returns where a source's path is on this machine.

    Args:
      path: A file, folder or glob, relative to the working directory; or `package:NAME/PATH`, a file inside an installed package.

    Raises:
      UsageError: The package or its file does not exist.
    """
    if not path.startswith(PACKAGE):
        return str(pathlib.Path(path).expanduser().absolute())
    package, _, inner = path.removeprefix(PACKAGE).partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(f"data.source.path names the package {package!r}, which is not installed")
    file = pathlib.Path(spec.submodule_search_locations[0]) / inner
    if not file.exists():
        raise UsageError(f"data.source.path: the package {package!r} has no {inner}")
    return str(file)


def split(path: str) -> tuple[str, str]:
    """Splits a path into the longest folder without a wildcard and the pattern below it."""
    if os.path.isdir(path):
        return path, "*"
    parts = path.split(os.sep)
    fixed = next((index for index, part in enumerate(parts[:-1]) if set(part) & set("*?[{")), len(parts) - 1)
    return os.sep.join(parts[:fixed]) or os.sep, os.sep.join(parts[fixed:])


_PLACES = re.compile(r"\{(SPAN|VERSION|YYYY|MM|DD)(?::\d+)?\}")
_EPOCH = datetime.date(1970, 1, 1)


def spans_before(base: str, pattern: str, span: int, most: int) -> list[int]:
    """Lists the newest spans before one, as far as there are files of them.

    Args:
      base: The folder.
      pattern: The pattern below it, with `{SPAN}`, or `{YYYY}`, `{MM}` and `{DD}`, whose span is the number of days since 1970.
      span: The span that comes after them.
      most: How many to list.

    Returns:
      Their numbers, the oldest first.
    """
    # The places in the order they are in, each caught as a number; a second place of a name has the same value.
    pieces, names, end = [], list[str](), 0
    for place in _PLACES.finditer(pattern):
        pieces += [
            _expression(pattern[end : place.start()]),
            rf"(?P=_{place[1]})" if place[1] in names else rf"(?P<_{place[1]}>\d+)",
        ]
        names.append(place[1])
        end = place.end()
    expression = re.compile("".join([*pieces, _expression(pattern[end:])]))
    found = set()
    for file in glob.glob(os.path.join(glob.escape(base), _PLACES.sub("*", pattern))):
        if match := expression.fullmatch(os.path.relpath(file, base)):
            number = _span({name: int(match[f"_{name}"]) for name in names})
            if number is not None and number < span:
                found.add(number)
    return sorted(found)[-most:]


def _expression(part: str) -> str:
    return re.escape(part).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")


def _span(places: dict[str, int]) -> int | None:
    if "SPAN" in places:
        return places["SPAN"]
    try:
        return (datetime.date(places["YYYY"], places["MM"], places["DD"]) - _EPOCH).days
    except ValueError:  # no such day
        return None
