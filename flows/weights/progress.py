"""What the program on a node says (JSON lines), as people read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from blocks import strict_json
from flows.text.markdown import md
from flows.text.progress import Progress


def said(line: str) -> Mapping[str, Any]:
    """What a line of the log says; nothing if it is not one of the program's."""
    try:
        document = strict_json.loads(line)
    except ValueError:
        return {}
    return document if isinstance(document, dict) and "event" in document else {}


def progress(line: Mapping[str, Any], node: str) -> Progress | None:
    """How far the node is by this line; none if the line says nothing about that."""
    match line:
        case {
            "event": "progress",
            "done_bytes": int() | float() as done,
            "total_bytes": int() | float() as total,
            "bytes_per_second": int() | float() as speed,
            "seconds_left": int() | float() | None as left,
        }:
            rest = "" if left is None else f", {_duration(left)} left"
            percent = min(100.0, 100 * done / max(1, total))
            return Progress(percent=percent, message=md("**{}**: {} of {}, {}/s{}", node, _size(done), _size(total), _size(speed), rest))
        case {"event": "waiting"}:
            return Progress(percent=0.0, message=md("**{}**: waits for another Job that fetches the same", node))
        case {"event": "held", "message": str(why)}:
            return Progress(percent=0.0, message=md("**{}**: cannot start yet: {}", node, why))
        case {"event": "complete", "fetched": bool(fetched), "bytes": int() | float() as total}:
            how = "fetched and proven" if fetched else "was there already"
            return Progress(percent=100.0, message=md("**{}**: {} {}", node, _size(total), how))
    return None


def was_there(line: Mapping[str, Any]) -> bool:
    """Whether the node says that the snapshot was there already."""
    return line.get("event") == "complete" and not line.get("fetched")


def fetched_bytes(line: Mapping[str, Any]) -> int:
    """Bytes of the snapshot that the node says it has fetched; 0 if it was there already."""
    match line:
        case {"event": "complete", "fetched": True, "bytes": int(total)}:
            return total
    return 0


def _size(size_bytes: float) -> str:
    return f"{size_bytes / 1e9:,.2f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:,.1f} MB"


def _duration(seconds: float) -> str:
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s" if seconds >= 60 else f"{seconds:.0f} s"
