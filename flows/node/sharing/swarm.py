"""Which piece is read from where: what one node of a swarm decides by, from what it has and what the others say.

Pure: times are passed in, nothing is asked and nothing waits. Not for several threads at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice

from flows.node.sharing.claims import MOST_CLAIMS, Claim, Pieces, Told
from flows.node.sharing.others import Other, Others
from flows.node.sharing.policy import SwarmPolicy

#: Offered pieces that are compared for the rarest at a time: more would cost more than they bring.
_COMPARED = 64


class Swarm:
    """One node's part in it.

    Args:
        rank: Its number, from 0.
        nodes: How many there are.
        pieces: How the snapshot is divided.
        life: Names this process.
        wanted: Contents that it lacks and brings itself.
        whole: Contents that it has.
        policy: How long others are waited for.
        now: When it begins, in seconds on a clock that never goes back.

    Attributes:
        complete: Whether this node has the snapshot; set from outside, when it lies there.
    """

    def __init__(
        self,
        rank: int,
        nodes: int,
        pieces: Pieces,
        *,
        life: str,
        wanted: Collection[int],
        whole: Collection[int],
        policy: SwarmPolicy,
        now: float,
    ) -> None:
        self.complete = False
        self.others = Others(rank, nodes, policy, now)
        self._rank, self._nodes, self._pieces, self._life, self._policy = rank, nodes, pieces, life, policy
        self._begun = now
        self._lacking = {piece for content in wanted for piece in pieces.of(content)}
        self._flying: dict[int, int | None] = {}
        self._mine: dict[int, Claim] = {}
        self._told: list[tuple[int, Claim | None]] = []
        self._whole = set(whole)
        # What another Job of this node brings: this one reads none of it, and keeps others from nothing.
        self._elsewhere = [
            piece for content in range(len(pieces.counts)) if content not in {*wanted, *whole} for piece in pieces.of(content)
        ]
        self._offered: dict[int, None] = {}
        self._order = list(self._in_order())
        self._hub_only: set[int] = set()
        self._hub_failed_at: float | None = None
        self._came_at = now
        self._left: dict[int, tuple[int, float]] = {}

    # What others are told, and what they tell.

    def told(self, since: int, life: str) -> Told:
        """What another is told that has read so many claims of this life."""
        begin = since if life == self._life and 0 <= since <= len(self._told) else 0
        return Told(
            rank=self._rank,
            life=self._life,
            begin=begin,
            claims=self._told[begin : begin + MOST_CLAIMS],
            reading=frozenset(piece for piece, source in self._flying.items() if source is None),
            whole=frozenset(self._whole),
            complete=self.complete,
        )

    def heard(self, told: Told, now: float) -> None:
        """Take in what another says of itself."""
        if told.rank == self._rank:
            return
        other = self.others[told.rank]
        fresh_whole = told.whole - other.whole if other.life == told.life else told.whole
        pieces = self.others.heard(told, self._mine, now)
        for content in fresh_whole:
            pieces.update(self._pieces.of(content))
        for piece in pieces & self._lacking:
            self._offered[piece] = None

    # Which piece is brought next.

    def from_hub(self, now: float) -> int | None:
        """The piece that is to be read from the hub next; none if there is none for this node now.

        Each piece has one keeper, which reads it or leaves it to another that asks for work: so no two read the same, however late they
        hear of each other. Never what another has or is reading.
        """
        if not self._met(now):
            return None
        if len(self._order) > 2 * len(self._lacking) + 16:
            self._order = [piece for piece in self._order if piece in self._lacking]
        keepers, late, stuck = self._keepers(now), self._late(now), self._is_stuck(now)
        for piece in self._order:
            mine = stuck or keepers[piece % self._nodes] == self._rank or piece in self._hub_only or piece in late
            if mine and self._is_free(piece, now):
                self._flying[piece] = None
                return piece
        return None

    def to_help(self, now: float) -> int | None:
        """Who is to be asked for work, as this node has none left of its own; none if nobody is now."""
        if not self._met(now):
            return None
        able = [
            other
            for other in self.others
            if other.heard_at is not None
            and not (other.complete or other.barred)
            and self.others.live(other, now)
            and now - other.helped_at >= self._policy.grace_seconds
        ]
        if not able or not self._lacking:
            return None
        chosen = min(able, key=lambda other: (other.helped_at, self._mixed(other.rank)))
        chosen.helped_at = now
        return chosen.rank

    def leave(self, rank: int, now: float) -> int | None:
        """A piece that this node would have read, left to another that asks for work; none if there is none."""
        keepers = self._keepers(now)
        lacking = (piece for piece in reversed(self._order) if piece in self._lacking)  # from the end: this node goes on from the beginning
        for piece in (*self._elsewhere, *lacking):
            if keepers[piece % self._nodes] == self._rank and piece not in self._hub_only and self._is_open(piece, now):
                self._left[piece] = (rank, now)
                return piece
        return None

    def helps(self, piece: int, rank: int, now: float) -> bool:
        """Whether a piece that another left to this node is to be read; it is being read from now."""
        other = self.others[rank]
        other.helped_at = now - self._policy.grace_seconds  # there may be more
        other.reading.pop(piece, None)  # it says so itself: what it was heard to read is of before
        if not self._is_free(piece, now):
            return False
        self._flying[piece] = None
        return True

    def from_peer(self, now: float) -> tuple[int, int] | None:
        """The piece that is to be asked of another next, and the rank of that one; none if there is none now.

        The one that fewest have comes first, from whoever is asked for least: so uplinks are used evenly.
        """
        best: tuple[tuple[int, int], int, list[Other]] | None = None
        compared = list(islice(self._offered, _COMPARED))
        for piece in compared:
            if piece in self._flying or piece in self._hub_only:
                continue
            holders = self._holders(piece, now)
            free = [other for other in holders if other.asked < self._policy.streams]
            if not free:
                continue
            order = (len(holders), self._mixed(piece))
            if best is None or order < best[0]:
                best = (order, piece, free)
        for piece in compared:  # the next ones come to be compared, too
            del self._offered[piece]
            self._offered[piece] = None
        if best is None:
            return None
        _, piece, free = best
        other = min(free, key=lambda each: (each.asked, self._mixed(piece, each.rank)))
        self._flying[piece] = other.rank
        other.asked += 1
        return piece, other.rank

    def expected(self, piece: int, rank: int) -> Claim | None:
        """What another claims of a piece; none if it has said nothing of that very piece."""
        return self.others[rank].claims.get(piece)

    # What became of it.

    def got(self, piece: int, claim: Claim, now: float) -> None:
        """A piece has come and hashes to what is claimed of it: it is given on from now."""
        rank = self._land(piece)
        if rank is None:
            self._hub_failed_at = None
        else:
            self.others[rank].stalls, self.others[rank].busy_since = 0, None
        self._lacking.discard(piece)
        self._offered.pop(piece, None)
        self._came_at = now
        self._claim(piece, claim)

    def kept(self, piece: int) -> None:
        """A piece is here from an earlier process: it need not come, and is not given on before its content is proven."""
        self._lacking.discard(piece)
        self._offered.pop(piece, None)

    def lost(self, piece: int) -> None:
        """A piece from an earlier process is not what that one noted: it is wanted after all."""
        self._lacking.add(piece)
        self._offered[piece] = None
        self._order = [piece, *self._order]

    def failed(self, piece: int) -> None:
        """A piece did not come; it stays wanted."""
        self._land(piece)

    def stalled(self, piece: int, now: float, *, busy: bool = False) -> None:
        """A sender did not send in time: it rests. One that says that it is busy is not blamed, for as long as a late piece may take."""
        rank = self._land(piece)
        if rank is not None:
            self.others.stalled(rank, now, busy=busy)

    def lied(self, piece: int) -> int | None:
        """What a sender sent is not what it claims: it is not asked again. Its rank."""
        rank = self._land(piece)
        if rank is not None:
            self.others[rank].barred = True
        return rank

    def wrong(self, piece: int, claim: Claim, sender: int) -> int:
        """The hub says otherwise of a piece that hashed to a claim: whose claim it is, is not asked again. Its rank.

        That is the one that claims it first hand, if it was heard to; the sender, who cannot prove that it was told so, if not.
        """
        origin = claim.origin
        accused = sender if origin == self._rank or not self.others.stands_by(origin, piece, claim, self._pieces.content(piece)) else origin
        self.others[accused].barred = True
        return accused

    def claimed(self, piece: int, claim: Claim) -> None:
        """Of a piece that is here it is known now what it hashes to: that is told, and it is given on."""
        self._claim(piece, claim)

    def take_back(self, pieces: Collection[int]) -> None:
        """These are not here after all: they are told so, and read from the hub and from nobody else."""
        for piece in pieces:
            if self._mine.pop(piece, None) is not None:
                self._told.append((piece, None))
        self._lacking |= set(pieces)
        self._hub_only |= set(pieces)
        self._order = [*sorted(pieces), *self._order]

    def alone(self, content: int) -> None:
        """A content comes in one piece, from the hub: nothing of it is asked for or given before it is whole."""
        for piece in self._pieces.of(content):
            self.kept(piece)
            if self._mine.pop(piece, None) is not None:
                self._told.append((piece, None))

    def proven(self, content: int) -> None:
        """A content is whole, by its own hash."""
        self._whole.add(content)
        for piece in self._pieces.of(content):
            self._land(piece)
            self._lacking.discard(piece)
            self._offered.pop(piece, None)

    def hub_failed(self, piece: int | None, now: float) -> None:
        """The hub does not give a piece, for as long as there is patience with it."""
        if piece is not None:
            self._land(piece)
        if self._hub_failed_at is None:
            self._hub_failed_at = now

    # How it stands.

    def gives(self, piece: int) -> bool:
        """Whether a piece may be given on."""
        return piece in self._mine or self.has_whole(piece)

    def has_whole(self, piece: int) -> bool:
        """Whether the content of a piece lies here, proven."""
        return self._pieces.content(piece) in self._whole

    def claim_of(self, piece: int) -> Claim | None:
        """What this node claims of a piece that it has from others or from the hub."""
        return self._mine.get(piece)

    def hopeless(self, now: float) -> bool:
        """Whether nothing comes any more: the hub has failed, and the others have brought nothing for long enough."""
        if self._hub_failed_at is None or not self._lacking:
            return False
        return now - max(self._hub_failed_at, self._came_at) > self._policy.quiet_seconds

    def may_leave(self, now: float) -> bool:
        """Whether nobody may need this node any more: each of the others has everything, or is gone."""
        return all(other.complete or now - self.others.last_heard(other) > self._policy.linger_seconds for other in self.others)

    def has_come(self, piece: int, now: float) -> bool:
        """Whether another has a piece meanwhile that is being read from the hub."""
        return piece not in self._hub_only and bool(self._holders(piece, now))

    def _met(self, now: float) -> bool:
        if now - self._begun >= self._policy.meet_seconds:
            return True
        # Whoever has everything makes the hub needless, and the others will say the same.
        return all(other.heard_at is not None for other in self.others) or any(
            other.complete and other.heard_at is not None
            for other in self.others  # what it has is known when it was heard
        )

    def _keepers(self, now: float) -> list[int]:
        """Who reads the pieces of each share: whose share it is, or who comes after that one if it is gone or not believed."""
        able = [
            number == self._rank or (self.others.live(self.others[number], now) and self.others[number].is_useful)
            for number in range(self._nodes)
        ]
        numbers = range(self._nodes)
        return [next((share + step) % self._nodes for step in numbers if able[(share + step) % self._nodes]) for share in numbers]

    def _is_stuck(self, now: float) -> bool:
        # Whoever should read it does not, whatever the reason: one after the other reads what does not come.
        return now - self._came_at > self._policy.late_seconds * (1 + 0.25 * self._rank)

    def _is_free(self, piece: int, now: float) -> bool:
        return piece in self._lacking and self._is_open(piece, now)

    def _is_open(self, piece: int, now: float) -> bool:
        """Whether nobody that this node knows of has a piece, reads it or was left it."""
        if piece in self._flying or self._is_coming(piece, now):
            return False
        if (left := self._left.get(piece)) is not None:
            taker = self.others[left[0]]
            # It was not told of it in time, or could not take it: it was heard since, and says nothing of it.
            is_declined = taker.heard_at is not None and taker.heard_at - left[1] > self._policy.declined_seconds
            return is_declined or not self.others.live(taker, now) or now - left[1] > self._policy.late_seconds
        return True

    def _late(self, now: float) -> set[int]:
        """Pieces that others read from the hub for too long."""
        return {piece for other in self.others for piece in other.reading if self._is_late(other, piece, now)}

    def _is_coming(self, piece: int, now: float) -> bool:
        if piece in self._hub_only:
            return False
        if self._holders(piece, now):
            return True
        return any(
            piece in other.reading and self.others.live(other, now) and not other.barred and not self._is_late(other, piece, now)
            for other in self.others
        )

    def _is_late(self, other: Other, piece: int, now: float) -> bool:
        # One after the other: the first that reads it anew is seen by the rest.
        steps = (self._rank - other.rank) % self._nodes
        return now - other.reading[piece] > self._policy.late_seconds * (1 + 0.25 * steps)

    def _holders(self, piece: int, now: float) -> list[Other]:
        content = self._pieces.content(piece)
        return self.others.holders(piece, content, self._mine.get(piece), now)

    def _claim(self, piece: int, claim: Claim) -> None:
        self._mine[piece] = claim
        self._told.append((piece, claim))
        self._hub_only.discard(piece)

    def _land(self, piece: int) -> int | None:
        rank = self._flying.pop(piece, None)
        if rank is not None:
            self.others[rank].asked -= 1
        return rank

    def _in_order(self) -> Iterator[int]:
        """Every lacking piece: this node's share first, then those of the ones before it, whose keeper it may become."""
        yield from sorted(self._lacking, key=lambda piece: ((self._rank - piece) % self._nodes, piece))

    def _mixed(self, *numbers: int) -> int:
        # Another order on each node, and the same in each run of a test.
        return hash((self._rank, *numbers))
