"""What serves where, as text for people: a line for each entry that fits into 80 columns, and below it what does not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from blocks.facts.registry import Entry

_HEADINGS = ("model", "environment", "status", "candidate", "verified")


def status_lines(entries: Sequence[Entry]) -> Iterator[str]:
    """Yield a heading, and for each entry its line, with its endpoint, its delivery and the reason for its status indented below."""
    rows = [_row(entry) for entry in entries]
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
    yield _line(_HEADINGS, widths)
    for entry, row in zip(entries, rows, strict=True):
        yield _line(row, widths)
        where = ", ".join(part for part in (entry.endpoint, _delivered(entry)) if part)
        yield from (f"    {detail}" for detail in (where, entry.status_reason) if detail)


def _row(entry: Entry) -> tuple[str, ...]:
    verified = f"{entry.verified_at:%Y-%m-%d %H:%M}Z" if entry.verified_at else "never"
    return entry.model, entry.environment, entry.status, (entry.fingerprint or "")[:12], verified


def _delivered(entry: Entry) -> str:
    if entry.git_commit:
        return f"Git commit {entry.git_commit[:12]}"
    return f"Helm revision {entry.helm_revision}" if entry.helm_revision else ""


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
