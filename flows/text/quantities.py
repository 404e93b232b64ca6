"""How people read lists, sizes and large numbers."""

from __future__ import annotations

from collections.abc import Sequence

GIB = 2**30


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first of the names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def gib(size_bytes: float) -> str:
    """Bytes as people read them: in GiB, or in MiB below one."""
    return f"{size_bytes / GIB:,.1f} GiB" if size_bytes >= GIB else f"{size_bytes / 2**20:,.1f} MiB"


def counted(number: int) -> str:
    """A large number as people read it, to three digits."""
    for size, word in ((10**12, "trillion"), (10**9, "billion"), (10**6, "million")):
        if number >= size:
            return f"{number / size:.3g} {word}"
    return f"{number:,}"
