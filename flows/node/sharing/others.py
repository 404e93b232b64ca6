"""What one node knows of the others: what each says it has, whether it is there, and whether it may be asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from flows.node.sharing.claims import Claim, Told
from flows.node.sharing.policy import SwarmPolicy

#: A sender that stalls again and again rests for 2 to this power times as long in the end.
_MOST_DOUBLINGS = 5


@dataclass(kw_only=True)
class Other:
    """Another node.

    Attributes:
        rank: Its number.
        life: The process that was heard last; empty if none was.
        read: How many of its claims were read.
        claims: What it claims of the pieces that it has.
        said: What it claimed, in any of its lives, of pieces that it read from the hub itself (SHA-256).
        reading: Pieces that it reads from the hub, each with when that was first heard.
        whole: Contents that it has.
        complete: Whether it has everything.
        heard_at: When it was heard last; none if it never was.
        helped_at: When it was last asked for work, and had none.
        asked: Pieces that it is asked for now.
        resting_until: When it may be asked again.
        stalls: How often in a row it did not send.
        busy_since: Since when it says that it is busy; none if it sent since.
        barred: Whether it is not asked for anything any more.
    """

    rank: int
    life: str = ""
    read: int = 0
    claims: dict[int, Claim] = field(default_factory=dict)
    said: dict[int, str] = field(default_factory=dict)
    reading: dict[int, float] = field(default_factory=dict)
    whole: set[int] = field(default_factory=set)
    complete: bool = False
    heard_at: float | None = None
    helped_at: float = float("-inf")
    asked: int = 0
    resting_until: float = 0.0
    stalls: int = 0
    busy_since: float | None = None
    barred: bool = False

    @property
    def is_useful(self) -> bool:
        """Whether what it reads from the hub reaches this node: it is believed, and did not stall twice in a row."""
        return not self.barred and self.stalls < 2


class Others:
    """All others, by their rank.

    Args:
        rank: This node's own.
        nodes: How many there are with it.
        policy: How long they are waited for.
        now: When it begins.
    """

    def __init__(self, rank: int, nodes: int, policy: SwarmPolicy, now: float) -> None:
        self._own = rank
        self._policy = policy
        self._begun = now
        self._all = {number: Other(rank=number) for number in range(nodes) if number != rank}

    def __iter__(self) -> Iterator[Other]:
        return iter(self._all.values())

    def __getitem__(self, rank: int) -> Other:
        return self._all[rank]

    def heard(self, told: Told, own: Mapping[int, Claim], now: float) -> set[int]:
        """Take in what another says; the pieces that it has anew.

        One that says of a third what that one does not say, is not asked again.

        Args:
            told: What it says.
            own: What this node claims itself.
            now: When.
        """
        other = self._all[told.rank]
        if other.life != told.life:
            # Another process: what the one before had in its hands is gone.
            other.life, other.read, other.claims, other.reading, other.whole = told.life, 0, {}, {}, set()
            other.stalls, other.busy_since, other.resting_until = 0, None, 0.0
        fresh = set()
        # An answer that was overtaken by a later one begins before what was read.
        for piece, claim in told.claims[max(0, other.read - told.begin) :] if told.begin <= other.read else ():
            other.read += 1
            if claim is None:
                other.claims.pop(piece, None)
                continue
            other.claims[piece] = claim
            fresh.add(piece)
            if claim.origin == other.rank:
                other.said[piece] = claim.sha256
            if self._misquotes(other, piece, claim, own):
                other.barred = True
        other.reading = {piece: other.reading.get(piece, now) for piece in told.reading}
        other.whole = set(told.whole)
        other.complete = other.complete or told.complete
        other.heard_at = now
        return fresh

    def live(self, other: Other, now: float) -> bool:
        """Whether it was heard lately."""
        return now - self.last_heard(other) <= self._policy.quiet_seconds

    def last_heard(self, other: Other) -> float:
        """When it was heard last; one that never was counts from the beginning."""
        return self._begun if other.heard_at is None else other.heard_at

    def holders(self, piece: int, content: int, own: Claim | None, now: float) -> list[Other]:
        """Who has a piece and may be asked; nobody, if two that have it at first hand do not say the same.

        What one has from a third counts when the third was heard to say so, too: else nobody could tell later which of them was wrong.
        """
        found, first_hand = [], set()
        for other in self._all.values():
            claim = other.claims.get(piece)
            if other.barred or (claim is None and content not in other.whole):
                continue
            if claim is not None and claim.origin == other.rank:
                first_hand.add(claim.sha256)
            if claim is not None and content not in other.whole and not self._is_confirmed(piece, claim, own):
                continue
            if other.heard_at is not None and self.live(other, now) and other.resting_until <= now:
                found.append(other)
        return found if len(first_hand) <= 1 else []

    def stalled(self, rank: int, now: float, *, busy: bool) -> None:
        """One did not send in time, or says that it is busy."""
        other = self._all[rank]
        if now < other.resting_until:
            return  # several were asked of it when it stalled: that is one stall
        other.busy_since = other.busy_since if other.busy_since is not None or not busy else now
        if busy and other.busy_since is not None and now - other.busy_since <= self._policy.late_seconds:
            other.resting_until = now + self._policy.rest_seconds
            return
        other.stalls += 1
        other.resting_until = now + self._policy.rest_seconds * 2 ** min(other.stalls - 1, _MOST_DOUBLINGS)

    def stands_by(self, rank: int, piece: int, claim: Claim, content: int) -> bool:
        """Whether one was heard to claim that of a piece at first hand, or to have its content whole."""
        other = self._all[rank]
        return other.said[piece] == claim.sha256 if piece in other.said else content in other.whole

    def _is_confirmed(self, piece: int, claim: Claim, own: Claim | None) -> bool:
        if claim.origin == self._own:
            return own is not None and own.sha256 == claim.sha256
        origin = self._all[claim.origin]
        return not origin.barred and origin.said.get(piece) == claim.sha256

    def _misquotes(self, other: Other, piece: int, claim: Claim, own: Mapping[int, Claim]) -> bool:
        if claim.origin == other.rank:
            return False
        if claim.origin == self._own:
            said = own[piece].sha256 if piece in own and own[piece].origin == self._own else None
        else:
            said = self._all[claim.origin].said.get(piece)
        return said is not None and said != claim.sha256
