"""The table of the README: how many cases each area has, and how many hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"

_HEAD = "| attacked | cases | held |\n| --- | ---: | ---: |\n"
_TABLE = re.compile(re.escape(_HEAD) + r"((?:\| [a-z]+ \| \d+ \| \d+ \|\n)*)")


def in_readme() -> dict[str, tuple[int, int]]:
    """Cases and how many held, by area, as the README says."""
    found = _TABLE.search(README.read_text(encoding="utf-8"))
    rows = found[1].splitlines() if found else []
    parts = [[part.strip() for part in row.strip("|").split("|")] for row in rows]
    return {area: (int(cases), int(held)) for area, cases, held in parts}


def write_readme(rows: Mapping[str, tuple[int, int]]) -> None:
    """Have the README say this."""
    text = "".join(f"| {area} | {cases} | {held} |\n" for area, (cases, held) in rows.items())
    README.write_text(_TABLE.sub(lambda _: _HEAD + text, README.read_text(encoding="utf-8")), encoding="utf-8")
