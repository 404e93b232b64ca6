"""The rooms of `flows/` keep their form: each says where it ends, and what Prefect runs as a task stands where a reader looks for it."""

from __future__ import annotations

import ast
import re

from flows.spec.load import ROOT

FLOWS = ROOT / "flows"
#: A boundary names what is not done here, or whose it is: "nothing is touched", "only the demo", "the program is `node`'s".
BOUNDARY = re.compile(r"\b(no|not|nobody|nothing|never|only)\b|`[\w.]+`'s", re.IGNORECASE)


def test_every_room_says_what_it_is_for_and_where_it_ends() -> None:
    rooms = {path.parent.name: ast.get_docstring(ast.parse(path.read_text())) or "" for path in FLOWS.glob("*/__init__.py")}

    assert set(rooms) == {path.name for path in FLOWS.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert {room for room, says in rooms.items() if not BOUNDARY.search(says)} == set()


def test_only_the_files_for_tasks_make_prefect_tasks() -> None:
    of_prefect = {path.relative_to(FLOWS) for path in FLOWS.rglob("*.py") if _makes_tasks(ast.parse(path.read_text()))}

    assert len(of_prefect) > 5
    assert {path for path in of_prefect if path.parts[0] != "runtime" and path.parts[1] not in ("tasks", "tasks.py")} == set()


def _makes_tasks(module: ast.Module) -> bool:
    """Whether it imports Prefect's `task`, under whatever name, or reaches it as `prefect.task`."""
    imported = {f"{node.module}.{alias.name}" for node in ast.walk(module) if isinstance(node, ast.ImportFrom) for alias in node.names}
    reached = {ast.unparse(node) for node in ast.walk(module) if isinstance(node, ast.Attribute)}
    return not {"prefect.task", "prefect.tasks.task"}.isdisjoint(imported | reached)
