"""Text that others wrote reaches a page or a terminal by one way: what mypy cannot hold of it, the sources are read for."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from blocks.secret_shapes import redacted
from flows.errors import ERRORS
from flows.spec.load import ROOT

FLOWS = ROOT / "flows"

#: What makes a page, a form or a line on a terminal → the only files that may call it.
ONLY = {
    "Markdown": {"text/markdown.py", "cli/app.py"},  # rich's class of the same name, which renders a page
    "create_markdown_artifact": {"runtime/artifacts.py"},
    "create_table_artifact": {"runtime/artifacts.py"},
    "create_progress_artifact": {"runtime/artifacts.py"},
    "update_progress_artifact": {"runtime/artifacts.py"},
    "create_link_artifact": set(),
    "create_image_artifact": set(),
    "ArtifactCreate": {"runtime/artifacts.py"},
    "emit_event": {"runtime/notices.py"},
    "with_initial_data": {"runtime/forms.py"},
    "from_string": set(),
    "templates_in": {"verification/page.py", "console/pages/render.py"},
    # Besides: JSON, sentences of errors, which are clean, and what `make` of ours says.
    "print": {"cli/output.py", "node/report.py", "node/__main__.py", "monitor.py", "metrics/dashboards/__main__.py"},
    "echo": set(),
    "secho": set(),
    "Console": set(),
}

#: Those that may be reached by their module or class, too.
PREFIXED = {name: f".{name}" for name in ONLY if name not in ("print", "Markdown", "Console")}

#: What takes a template, which must be written in the source → the position of that.
TEMPLATES = {"md": 0, "joined": 0}


@cache
def calls(path: Path) -> list[tuple[str, ast.Call]]:
    """All calls in a file, by the last part of what is called; a method of something has a dot before it."""
    return [
        (node.func.id if isinstance(node.func, ast.Name) else f".{getattr(node.func, 'attr', '')}", node)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    ]


SOURCES = sorted(FLOWS.rglob("*.py"))


@pytest.mark.parametrize("name", ONLY)
def test_a_renderer_is_called_in_its_own_file_only(name: str) -> None:
    found = {str(path.relative_to(FLOWS)) for path in SOURCES for called, _ in calls(path) if called in (name, PREFIXED.get(name))}

    assert found <= ONLY[name]


def test_templates_are_written_in_the_source() -> None:
    seen = 0
    for path in SOURCES:
        for name, call in calls(path):
            if name in TEMPLATES:
                template = call.args[TEMPLATES[name]]
                seen += 1
                inside = path == FLOWS / "text" / "markdown.py" and isinstance(template, ast.Name)
                assert inside or (isinstance(template, ast.Constant) and isinstance(template.value, str)), f"{path}:{call.lineno}"
    assert seen > 50


def test_markup_of_html_is_written_in_the_source() -> None:
    """`Markup(...)` is believed as it is: only a literal, or the finished page, which its template has escaped."""
    for path in SOURCES:
        for name, call in calls(path):
            if name == "Markup" and path != FLOWS / "verification" / "page.py":
                assert isinstance(call.args[0], ast.Constant), f"{path}:{call.lineno}"


def test_none_of_our_own_sentences_looks_like_a_secret() -> None:
    """Errors are cleaned of what looks like a secret, and what we say ourselves must survive that."""
    checked = 0
    for path in [*SOURCES, *(ROOT / "blocks").rglob("*.py")]:
        for name, call in calls(path):
            if name in ERRORS and call.args and isinstance(call.args[0], ast.JoinedStr | ast.Constant):
                parts = call.args[0].values if isinstance(call.args[0], ast.JoinedStr) else [call.args[0]]
                said = "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in parts)
                checked += 1
                assert redacted(said) == said, f"{path}:{call.lineno}: {redacted(said)}"
    assert checked > 150
