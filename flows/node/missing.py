"""What a snapshot lacks."""

from __future__ import annotations

from dataclasses import dataclass

from flows.node.snapshot import WantedFile


@dataclass(frozen=True, kw_only=True)
class Missing:
    """A content that the snapshot lacks.

    Attributes:
        file: One of the files that have it.
        paths: All the paths that have it in the snapshot.
        lock: What holds its lock, and with it its preallocated part; none while another Job fetches it.
    """

    file: WantedFile
    paths: tuple[str, ...]
    lock: int | None
