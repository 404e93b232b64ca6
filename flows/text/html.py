"""Pages of HTML in which whatever we did not write is text: the one way to templates."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import jinja2
from markupsafe import Markup

from blocks.wording import many_lines

#: Longest text that one place of a page quotes, in characters.
LONGEST_PART = 4000


def templates_in(*folders: Path) -> jinja2.Environment:
    """The templates of these folders. Escaped throughout: what a model answers may be markup, and as long as it likes."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # A file is read once: a page costs no look at the disk.
        auto_reload=False,
        finalize=_shown,
    )


def _shown(value: object) -> object:
    """What a place of the page says; only text that somebody wrote is cut and cleaned, which markup is not."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return _short(value) if len(value) <= _SHORT else many_lines(value, LONGEST_PART)


#: Most of a page are words that come again: names, states, hashes. To look for secrets in them takes longer than all else.
_SHORT = 100


@lru_cache(maxsize=16_384)
def _short(text: str) -> str:
    return many_lines(text, LONGEST_PART)
