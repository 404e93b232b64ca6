"""`slipway audit archive`: old events that repeat leave the registry for a file that proves itself."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from blocks.facts.kinds import EventKind
from flows.cli.output import say
from flows.cli.shared import open_registry
from flows.errors import SpecInvalid

#: What happened later stays: runs may wait and be resumed, and people look at it.
_YOUNGEST = timedelta(days=30)


def archive(
    before: Annotated[str, typer.Option(help="A day, such as 2026-01-31 (UTC): what happened before it may go.")],
    to: Annotated[Path, typer.Option(help="The file, which must not be there yet.")],
    actor: Annotated[str, typer.Option("--as", help="Who does it; kept in the registry.")],
    block: Annotated[str | None, typer.Option("--block", help="Another registry block: of a user who owns the tables.")] = None,
) -> None:
    """Move old events that repeat (health checks, revalidations, scrubs) to a file that proves itself. The latest of each stay."""
    from blocks.registry import ArchiveParts, archived, proven

    moment = _day(before)
    with open_registry(block) as registry:
        report = registry.audit.verify()
        if report.broken is not None:
            raise SpecInvalid(f"The record does not hold: {report.broken}. What is to prove itself later must hold now.")
        parts = ArchiveParts()
        _write(to, archived(registry.archive.events(moment), moment, parts))
        if not parts.events:
            to.unlink()
            say(f"Nothing to archive: no sealed event that repeats happened before {before}, but for the latest of each.")
            return
        with to.open("rb") as lines:
            proven(lines)  # as it was written, before anything is taken out
        told = {"sha256": parts.sha256, "events": parts.events, "before": moment.isoformat()}
        registry.events.add(EventKind.ARCHIVED, actor=actor, detail=told, key=f"archived {parts.sha256}")
        removed = registry.archive.remove(parts.parts, parts.sha256)
    say(f"{removed} events lie in {to} and not in the registry any longer. Keep it, and check it with slipway audit verify --file:")
    say(parts.sha256)


def _day(text: str) -> datetime:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise SpecInvalid(f"--before {text[:40]!r} is no day such as 2026-01-31.") from None
    moment = datetime(day.year, day.month, day.day, tzinfo=UTC)
    if datetime.now(UTC) - moment < _YOUNGEST:
        raise SpecInvalid(f"--before {text}: what is younger than {_YOUNGEST.days} days stays in the registry; name an earlier day.")
    return moment


def _write(path: Path, lines: Iterable[str]) -> None:
    try:
        file = path.open("x", encoding="utf-8", newline="\n")
    except OSError as error:
        raise SpecInvalid(f"{path} cannot be made: {error.strerror}.") from error
    try:
        with file:
            for line in lines:
                file.write(f"{line}\n")
            file.flush()
            # Before anything is taken out of the registry, it is on the disk.
            os.fsync(file.fileno())
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise SpecInvalid(f"{path} cannot be written: {error.strerror}.") from error
        raise
