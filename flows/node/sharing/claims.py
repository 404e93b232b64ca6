"""What a node says it has: claims about pieces, numbered through all contents of the snapshot, and how they are told."""

from __future__ import annotations

import bisect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

#: Claims in one answer; a reader asks on for the rest.
MOST_CLAIMS = 2048

_SHA256 = re.compile(r"[0-9a-f]{64}")
_LIFE = re.compile(r"[0-9a-z.]{1,64}")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a piece hashes to (SHA-256, hex), by the word of the node (its rank) that read it from the hub, or had the whole content."""

    sha256: str
    origin: int

    @classmethod
    def of(cls, sha256: str, origin: str, nodes: int) -> Claim:
        """The claim that a piece's headers make.

        Raises:
            ValueError: They make none.
        """
        claim = _claim(sha256, int(origin) if origin.isascii() and origin.isdigit() and len(origin) < 9 else -1, nodes)
        if claim is None:
            raise ValueError("no hash")
        return claim


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a node says of itself.

    Attributes:
        rank: Its number.
        life: Names its process: another one has other claims.
        begin: The number of the first claim that is here, in the order in which it made them.
        claims: Pieces with what it claims of them; none where it takes its claim back.
        reading: Pieces that it is reading from the hub.
        whole: Contents that it has, proven.
        complete: Whether it has the snapshot.
    """

    rank: int
    life: str
    begin: int
    claims: Sequence[tuple[int, Claim | None]]
    reading: frozenset[int]
    whole: frozenset[int]
    complete: bool

    def document(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {
            "rank": self.rank,
            "life": self.life,
            "begin": self.begin,
            "claims": [[piece, *((claim.sha256, claim.origin) if claim else ("", -1))] for piece, claim in self.claims],
            "reading": sorted(self.reading),
            "whole": sorted(self.whole),
            "complete": self.complete,
        }

    @classmethod
    def of(cls, document: Mapping[str, Any], nodes: int, pieces: Pieces) -> Told:
        """What such data says.

        Raises:
            ValueError: It is none, or speaks of nodes or pieces that there are not.
        """
        try:
            claims = [(_below(piece, pieces.count), _claim(sha256, origin, nodes)) for piece, sha256, origin in document["claims"]]
            if len(claims) > MOST_CLAIMS:
                raise ValueError("too many claims")
            return cls(
                rank=_below(document["rank"], nodes),
                life=_life(document["life"]),
                begin=_below(document["begin"], 1 << 40),
                claims=claims,
                reading=frozenset(_below(piece, pieces.count) for piece in document["reading"]),
                whole=frozenset(_below(content, len(pieces.counts)) for content in document["whole"]),
                complete=document["complete"] is True,
            )
        except (KeyError, TypeError) as exc:
            raise ValueError(f"no word of a node ({exc!r})") from exc


class Pieces:
    """How a snapshot's contents are numbered, the same on each of its nodes.

    Args:
        counts: How many pieces each content has.
    """

    def __init__(self, counts: Sequence[int]) -> None:
        self.counts = tuple(counts)
        self._ends = list(accumulate(self.counts))
        self.count = self._ends[-1] if self._ends else 0

    def number(self, content: int, index: int) -> int:
        """The number of a content's piece."""
        return self._ends[content] - self.counts[content] + index

    def content(self, piece: int) -> int:
        """Which content a piece belongs to."""
        return bisect.bisect_right(self._ends, piece)

    def place(self, piece: int) -> tuple[int, int]:
        """A piece's content, and its index there."""
        content = self.content(piece)
        return content, piece - (self._ends[content] - self.counts[content])

    def of(self, content: int) -> range:
        """The pieces of a content."""
        return range(self._ends[content] - self.counts[content], self._ends[content])


def _below(value: Any, end: int) -> int:
    if type(value) is not int or not 0 <= value < end:
        raise ValueError(f"{value!r:.40} is not among {end}")
    return value


def _life(value: Any) -> str:
    # It is sent back in an address.
    if not isinstance(value, str) or not _LIFE.fullmatch(value):
        raise ValueError("a process without a name")
    return value


def _claim(sha256: Any, origin: Any, nodes: int) -> Claim | None:
    if sha256 == "":
        return None
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise ValueError("a hash that is none")
    return Claim(sha256=sha256, origin=_below(origin, nodes))
