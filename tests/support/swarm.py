"""Nodes that share a snapshot, on a clock of their own: the product's rules, and a network that is only reckoned."""

from __future__ import annotations

import hashlib
import heapq
import random
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from itertools import count

from flows.node.sharing.claims import Claim, Pieces, Told
from flows.node.sharing.policy import SwarmPolicy
from flows.node.sharing.swarm import Swarm

PIECE_MB = 12.0
HUB_MB_PER_SECOND = 37.5
LINK_MB_PER_SECOND = 125.0
POLL_SECONDS = 0.5
HUB_STREAMS, PEER_STREAMS = 2, 4

ALL_THERE = SwarmPolicy(meet_seconds=2)


def truth(piece: int) -> str:
    """What the hub has as this piece."""
    return f"piece {piece}"


def hashed(value: str) -> str:
    """What a piece hashes to."""
    return hashlib.sha256(value.encode()).hexdigest()


@dataclass
class Node:
    """A node: its rules, and what lies on its disk.

    Attributes:
        rank: Its number.
        swarm: Its rules.
        disk: Pieces by their number.
        sources: Who sent each; none for the hub.
        noted: Those that it read from the hub itself, in this process or an earlier one.
        lies: How what it sends or claims is wrong: `sends`, `claims` or `misquotes`; empty if it is honest.
        stalls: Whether it sends nothing of what it is asked for.
        dead: Whether its process is gone.
        returns: Whether another one comes.
        done_at: When it had everything, proven.
        failed: The error that it ended with.
    """

    rank: int
    swarm: Swarm
    disk: dict[int, str] = field(default_factory=dict)
    sources: dict[int, int | None] = field(default_factory=dict)
    noted: set[int] = field(default_factory=set)
    claimed: dict[int, Claim] = field(default_factory=dict)
    lies: str = ""
    stalls: bool = False
    dead: bool = False
    returns: bool = False
    done_at: float | None = None
    failed: str = ""
    hub_busy: int = 0
    peer_busy: int = 0
    lives: int = 0


class World:
    """A hub, nodes and what lies between them.

    Args:
        nodes: How many.
        counts: Pieces of each content.
        seed: Of what varies.
        policy: The nodes'.
        holders: Nodes that have everything.
    """

    def __init__(
        self,
        nodes: int,
        counts: Collection[int] = (20, 20, 20, 20),
        seed: int = 0,
        policy: SwarmPolicy = ALL_THERE,
        holders: Collection[int] = (),
    ) -> None:
        self.now = 0.0
        self.pieces = Pieces(list(counts))
        self.policy = policy
        self.hub_reads: Counter[int] = Counter()
        self.sent: Counter[int] = Counter()
        self.hub_is_up: Callable[[int], bool] = lambda rank: True
        self.cut: Callable[[int, int], bool] = lambda one, other: False
        self._random = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._tie = count()
        self._hub_streams = 0
        self.count = nodes
        self.nodes: list[Node] = []
        for rank in range(nodes):
            self.nodes.append(self._fresh(rank, 0, holder=rank in holders))
            self.at(self._random.uniform(0, 1), lambda rank=rank: self._tick(self.nodes[rank]))

    @property
    def hub_share(self) -> float:
        """How much the hub sent, in snapshots."""
        return sum(self.hub_reads.values()) / self.pieces.count

    def at(self, seconds: float, what: Callable[[], None]) -> None:
        """Have something happen at that time."""
        heapq.heappush(self._events, (seconds, next(self._tie), what))

    def kill(self, rank: int, *, back_after: float | None = None) -> None:
        """Kill a node's process; another comes after a while, with what lies on its disk."""
        node = self.nodes[rank]
        node.dead, node.returns = True, back_after is not None
        if back_after is not None:
            self.at(self.now + back_after, lambda: self._restart(node))

    def run(self, until: float = 3600.0) -> None:
        """Let time pass until all nodes that live have ended."""
        while self._events and self.now < until:
            if all((node.dead and not node.returns) or node.done_at is not None or node.failed for node in self.nodes):
                return
            self.now, _, what = heapq.heappop(self._events)
            what()

    def _fresh(self, rank: int, lives: int, *, holder: bool) -> Node:
        contents = range(len(self.pieces.counts))
        swarm = Swarm(
            rank,
            self.count,
            self.pieces,
            life=f"{rank}.{lives}",
            wanted=() if holder else contents,
            whole=contents if holder else (),
            policy=self.policy,
            now=self.now,
        )
        node = Node(rank, swarm, lives=lives)
        if holder:
            node.disk = {piece: truth(piece) for piece in range(self.pieces.count)}
            swarm.complete = True
            node.done_at = self.now
        return node

    def _restart(self, old: Node) -> None:
        node = self._fresh(old.rank, old.lives + 1, holder=False)
        node.disk, node.lies, node.stalls = dict(old.disk), old.lies, old.stalls
        for piece in node.disk:
            node.swarm.kept(piece)
            node.sources[piece] = None
        for piece in old.noted:
            node.noted.add(piece)
            node.swarm.claimed(piece, Claim(sha256=hashed(node.disk[piece]), origin=node.rank))
        self.nodes[old.rank] = node
        self._check(node)
        self._tick(node)

    def _tick(self, node: Node) -> None:
        if node.dead or node.failed:
            return
        for other in self.nodes:
            if other is node or other.dead or other.failed or self.cut(node.rank, other.rank):
                continue
            known = node.swarm.others[other.rank]
            told = other.swarm.told(known.read, known.life)
            if other.lies == "misquotes" and self.count > 2:
                third = next(rank for rank in range(self.count) if rank not in (node.rank, other.rank))
                told = _misquoted(told, third)
            node.swarm.heard(Told.of(told.document(), self.count, self.pieces), self.now)
        self._start(node)
        if node.swarm.hopeless(self.now):
            node.failed = "HubUnreachable"
        self.at(self.now + POLL_SECONDS * self._random.uniform(0.9, 1.1), lambda: self._tick(node))

    def _start(self, node: Node) -> None:
        while node.hub_busy < HUB_STREAMS and (piece := self._next_from_hub(node)) is not None:
            node.hub_busy += 1
            self._hub_streams += 1
            self.hub_reads[piece] += 1
            seconds = PIECE_MB / min(LINK_MB_PER_SECOND, HUB_MB_PER_SECOND / self._hub_streams) * self._random.uniform(0.9, 1.1)
            self.at(self.now + seconds, lambda piece=piece: self._from_hub(node, piece))
        while node.peer_busy < PEER_STREAMS and (found := node.swarm.from_peer(self.now)) is not None:
            node.peer_busy += 1
            seconds = PIECE_MB / (LINK_MB_PER_SECOND / PEER_STREAMS) * self._random.uniform(0.9, 1.5)
            if self.nodes[found[1]].stalls:
                seconds = 30.0
            self.at(self.now + seconds, lambda found=found: self._from_peer(node, *found))

    def _next_from_hub(self, node: Node) -> int | None:
        piece = node.swarm.from_hub(self.now)
        while piece is None and (rank := node.swarm.to_help(self.now)) is not None:
            other = self.nodes[rank]
            if other.dead or other.failed or self.cut(node.rank, rank):
                continue
            left = other.swarm.leave(node.rank, self.now)
            if left is not None and node.swarm.helps(left, rank, self.now):
                piece = left
        return piece

    def _from_hub(self, node: Node, piece: int) -> None:
        node.hub_busy -= 1
        self._hub_streams -= 1
        if node.dead or node.failed:
            return
        if not self.hub_is_up(piece):
            self.hub_reads[piece] -= 1
            node.swarm.hub_failed(piece, self.now)
            return
        value = truth(piece) if node.lies != "claims" else "a lie"
        self._arrived(node, piece, value, None, Claim(sha256=hashed(value), origin=node.rank))

    def _from_peer(self, node: Node, piece: int, rank: int) -> None:
        node.peer_busy -= 1
        sender = self.nodes[rank]
        if node.dead or node.failed or piece in node.disk:
            return
        if sender.dead or sender.failed or sender.stalls or self.cut(node.rank, rank) or piece not in sender.disk:
            node.swarm.stalled(piece, self.now)
            self._start(node)
            return
        value = sender.disk[piece] if sender.lies not in ("sends", "misquotes") else "a lie"
        claim = node.swarm.expected(piece, rank) or Claim(sha256=hashed(sender.disk[piece]), origin=rank)
        if hashed(value) != claim.sha256:
            node.swarm.lied(piece)
            self._start(node)
            return
        self.sent[rank] += 1
        self._arrived(node, piece, value, rank, claim)

    def _arrived(self, node: Node, piece: int, value: str, source: int | None, claim: Claim) -> None:
        node.disk[piece], node.sources[piece], node.claimed[piece] = value, source, claim
        if source is None:
            node.noted.add(piece)
        node.swarm.got(piece, claim, self.now)
        self._check(node)
        self._start(node)

    def _check(self, node: Node) -> None:
        for content, pieces in enumerate(self.pieces.of(number) for number in range(len(self.pieces.counts))):
            if not all(piece in node.disk for piece in pieces):
                continue
            # The whole hashes wrong: pieces of others are read once more, and tell whose they were.
            if node.lies != "claims" and any(node.disk[piece] != truth(piece) for piece in pieces):
                for piece in (piece for piece in pieces if node.sources[piece] is not None):
                    self.hub_reads[piece] += 1
                    source = node.sources[piece]
                    if node.disk[piece] != truth(piece) and source is not None:
                        node.swarm.wrong(piece, node.claimed[piece], source)
                        node.disk[piece] = truth(piece)
                        node.swarm.claimed(piece, Claim(sha256=hashed(truth(piece)), origin=node.rank))
            node.swarm.proven(content)
        if len(node.disk) == self.pieces.count and node.done_at is None:
            node.done_at = self.now
            node.swarm.complete = True


def _misquoted(told: Told, third: int) -> Told:
    """The same, but that another is said to have said it."""
    claims = [(piece, Claim(sha256=hashed("a lie"), origin=third) if claim is not None else None) for piece, claim in told.claims]
    return Told(
        rank=told.rank, life=told.life, begin=told.begin, claims=claims, reading=told.reading, whole=told.whole, complete=told.complete
    )
