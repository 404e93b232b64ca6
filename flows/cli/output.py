"""What the command line prints; nothing else there does, but `console`. What others wrote reaches a terminal as signs that are seen."""

from __future__ import annotations

import json
import sys
from typing import Any

from blocks.wording import visible


def say(line: str = "", *, error: bool = False) -> None:
    """Print one line: what would end it, move the cursor or command the terminal is printed as a sign for it."""
    print(visible(line), file=sys.stderr if error else sys.stdout, flush=True)


def say_json(document: Any, *, indent: int | None = None) -> None:
    """Print a document for scripts; JSON escapes whatever is not ASCII."""
    print(json.dumps(document, indent=indent), flush=True)


def say_exactly(line: str) -> None:
    """Print a line that somebody computes a hash of; a terminal, which computes none, gets it as `say` has it."""
    if sys.stdout.isatty():
        say(line)
    else:
        print(line, flush=True)
