"""What keeps people out of a page, as axe-core finds it: the one that `axe-playwright-python` brings along."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

#: WCAG 2.2 to AA, and what axe itself takes for good practice.
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def barriers(page: Page) -> list[str]:
    """What axe finds on the page as it is now: rule, element and why, a line each."""
    # Through the debugger and not by a tag, which the page's policy would refuse.
    page.evaluate(f"{files('axe_playwright_python').joinpath('axe.min.js').read_text()}; undefined")
    found: dict[str, Any] = page.evaluate(f"axe.run(document, {{runOnly: {_RULES}, resultTypes: ['violations']}})")
    return [
        f"{rule['id']} ({rule['impact']}): {node['html'][:150]}: {' '.join(str(node['failureSummary']).split())[:300]}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]
