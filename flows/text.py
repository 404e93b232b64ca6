"""How people read lists, sizes and what strangers wrote."""

import re
from collections.abc import Sequence
from dataclasses import dataclass


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first of the names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def gib(size_bytes: float) -> str:
    """Bytes as people read them: in GiB, or in MiB below one."""
    return f"{size_bytes / GIB:,.1f} GiB" if size_bytes >= GIB else f"{size_bytes / 2**20:,.1f} MiB"


GIB = 2**30


#: Shapes of secrets; an engine has none of its own, but what people pass to it may end in its log.
_SECRETS = re.compile(
    r"\bhf_[A-Za-z0-9]{8,}|(?i:\b(?:bearer|basic)\s+)\S+|(?i:\b(?:token|password|passwd|secret|api[-_]?key|authorization)\b[\"']?\s*[=:]\s*)(?:(?i:bearer|basic)\s+)?\S+"
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
)


def redacted(text: str) -> str:
    """The text with everything that looks like a secret taken out."""
    return _SECRETS.sub("***", text)


def cell(text: str) -> str:
    """Text that cannot leave its cell of a table, nor be taken for markup."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", " ".join(text.split()))


def counted(number: int) -> str:
    """A large number as people read it, to three digits."""
    for size, word in ((10**12, "trillion"), (10**9, "billion"), (10**6, "million")):
        if number >= size:
            return f"{number / size:.3g} {word}"
    return f"{number:,}"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a node is: percent, and a sentence in Markdown."""

    percent: float
    message: str
