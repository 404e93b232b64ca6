"""Log records as JSON lines that say what they are about: model, environment, candidate and run. `deployments/logging.yaml` turns it on.

Prefect reads that file while it is imported, so nothing here may import Prefect.
"""

from __future__ import annotations

import json
import logging
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

from blocks.wording import LONGEST_TEXT, many_lines

#: What flows say of themselves: a task's thread and a branch of a fan-out have their own copies.
_ABOUT: ContextVar[dict[str, str] | None] = ContextVar("slipway_log_lines", default=None)

#: What is read of a text, in characters.
_LONGEST = 1_000_000

#: How Prefect's loggers name what a record belongs to, and what the line calls it.
_PREFECT = {"flow_run_id": "run_id", "flow_run_name": "run", "flow_name": "flow", "task_run_name": "task"}


def about(**facts: str) -> None:
    """From here on, the log lines of this run (or of this branch of it) say this as well: model, environment, candidate."""
    _ABOUT.set({**(_ABOUT.get() or {}), **facts})


class JsonLines(logging.Formatter):
    """One record, one line: a JSON object of strings.

    `time` (UTC), `level`, `logger` and `message` are always there; `run_id`, `run`, `flow` and `task` as far as Prefect knows them;
    `model`, `environment` and `candidate` (the whole fingerprint) as far as the run does; `error`, `error_type` and `trace` where there was
    one. What looks like a secret is taken out, what others hide is shown, and a text that is too long is cut.
    """

    def __init__(self, fmt: str | None = None, datefmt: str | None = None, style: Literal["%", "{", "$"] = "%", **_: Any) -> None:
        # A logging configuration passes these to every formatter; this one has a form of its own.
        super().__init__()

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            # `<unknown>` is what Prefect's loggers write where there is no run.
            **{name: str(value) for given, name in _PREFECT.items() if (value := getattr(record, given, None)) not in (None, "<unknown>")},
            **(_ABOUT.get() or {}),
            **_error(record),
        }
        return json.dumps({name: _written(value) for name, value in line.items()}, ensure_ascii=False)


def _written(text: str) -> str:
    shown = many_lines(text, _LONGEST)
    # A trace tells at its end what happened, so both ends stay.
    return shown if len(shown) <= 2 * LONGEST_TEXT else f"{shown[:LONGEST_TEXT]}\n…\n{shown[-LONGEST_TEXT:]}"


def _error(record: logging.LogRecord) -> dict[str, str]:
    if not record.exc_info or record.exc_info[1] is None:
        return {}
    exc = record.exc_info[1]
    return {"error_type": type(exc).__name__, "error": str(exc), "trace": "".join(traceback.format_exception(exc))}
