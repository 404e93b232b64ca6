"""How far something is that takes minutes."""

from __future__ import annotations

from dataclasses import dataclass

from flows.text.markdown import Markdown


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a node is: percent, and a sentence."""

    percent: float
    message: Markdown
