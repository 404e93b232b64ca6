"""Tables, colours and progress on a terminal, in which text is text: no markup, no links, no sign that commands the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from blocks.wording import visible_lines


class PlainConsole(Console):
    """A console that reads no markup in texts, and shows every sign that it did not make itself.

    Colours are given as `rich.text.Text` or as a style.

    Args:
        error: Whether to write to the standard error output.
        options: More of rich's.
    """

    def __init__(self, *, error: bool = False, **options: Any) -> None:
        super().__init__(stderr=error, markup=False, emoji=False, highlight=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What is written, piece by piece; rich's own commands to the terminal are pieces that are marked as such."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible_lines(segment.text), segment.style)
