"""Every kind of event is declared once, used by somebody, and documented."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.facts import kinds
from blocks.facts.kinds import GROUPS, EventKind
from flows.metrics.exporter import TOLD
from flows.spec.load import ROOT

KINDS = {str(kind) for kind in EventKind}
DECLARATION = ROOT / "blocks/facts/kinds.py"
PROGRAMS = sorted(path for room in ("flows", "blocks") for path in (ROOT / room).rglob("*.py") if path != DECLARATION)
STATEMENTS = sorted((ROOT / "blocks/registry").rglob("*.sql"))
RULES = sorted((ROOT / "charts/monitoring/rules").glob("*.yaml"))

#: How a statement names a kind. Evidence has kinds as well: `v` is its table's name in statements.
IN_SQL = (
    r"(?<!v\.)\bkind (?:=|<>|WHEN) '(\w+)'",
    r"(?<!v\.)\bkind (?:NOT )?IN \(([^)]*)\)",
    r"'(\w+)' IS DISTINCT FROM \(\s*SELECT e\.kind",
    r"INSERT INTO slipway_events \([^)]*\)\s*VALUES \(\s*(?:clock_timestamp\(\)|moment), '(\w+)'",
)


def in_sql(path: Path) -> set[str]:
    found = [text for pattern in IN_SQL for text in re.findall(pattern, path.read_text())]
    return {word for text in found for word in re.findall(r"\w+", text)}


def documented() -> set[str]:
    """What the page of the registry says that is recorded: the last column of its table of events."""
    page = (ROOT / "docs/registry.md").read_text().split("## A release, as rows and events")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("| ")][1:]
    assert all(len(row) == 4 for row in rows)
    return {word for row in rows for word in re.findall(r"`(\w+)`", row[3])}


def compared(tree: ast.AST) -> Iterator[str]:
    """Words that a program compares a `kind` with."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if any(isinstance(side, ast.Attribute) and side.attr == "kind" for side in sides):
                yield from (each.value for side in sides for each in ast.walk(side) if isinstance(each, ast.Constant))


@pytest.mark.parametrize("path", STATEMENTS, ids=lambda path: path.stem)
def test_a_statement_names_kinds_and_groups_that_there_are(path: Path) -> None:
    assert in_sql(path) <= KINDS
    assert set(re.findall(r"(?:= ANY|<> ALL)\(%\((\w+)\)s\)", path.read_text())) <= {*GROUPS, "kinds", "run_ids", "sha256s", "statuses"}


def test_programs_compare_with_declared_kinds_and_not_with_words() -> None:
    found = {path.relative_to(ROOT): words for path in PROGRAMS if (words := KINDS & set(compared(ast.parse(path.read_text()))))}

    assert found == {}


def test_alerts_ask_for_kinds_that_are_told() -> None:
    asked_for = {
        word for path in RULES for word in re.findall(r'slipway_last_event_timestamp_seconds\{[^}]*kind="(\w+)"', path.read_text())
    }

    assert asked_for
    assert asked_for <= set(TOLD)


def test_every_kind_is_used_and_documented() -> None:
    programs = " ".join(path.read_text() for path in PROGRAMS)
    statements = set().union(*map(in_sql, STATEMENTS))

    assert {kind for kind in EventKind if f"EventKind.{kind.name}" not in programs and kind not in statements} == set()
    assert documented() == KINDS


def test_a_group_is_asked_for_by_the_name_that_it_is_declared_by() -> None:
    assert {name: list(getattr(kinds, name.upper())) for name in GROUPS} == GROUPS
