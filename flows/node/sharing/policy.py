"""How nodes share; set by the program's arguments."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class SwarmPolicy:
    """How long the others are waited for, in seconds.

    Attributes:
        meet_seconds: The hub is not asked before all others were heard, or for so long: one of them may have everything.
        quiet_seconds: Who says nothing for so long is gone: what it read is read by others.
        linger_seconds: Whoever has everything stays for one that has not, for so long after that was heard last.
        grace_seconds: Whoever had no work for one that asked is asked again after so long.
        declined_seconds: A piece left to another is read after all if that one, heard so long afterwards, neither reads nor has it.
        late_seconds: A piece that another reads from the hub for so long is read once more.
        rest_seconds: A sender that stalled is not asked for so long; twice as long each time in a row.
        streams: Pieces that are asked of one sender at a time.
    """

    meet_seconds: float = 10.0
    quiet_seconds: float = 15.0
    linger_seconds: float = 600.0
    grace_seconds: float = 1.0
    declined_seconds: float = 5.0
    late_seconds: float = 60.0
    rest_seconds: float = 2.0
    streams: int = 2


@dataclass(frozen=True, kw_only=True)
class SharePolicy:
    """Who shares, and how.

    Attributes:
        rank: This node's number, from 0.
        nodes: How many there are.
        names: Where the others are: each a host name (of one or many addresses) with a port.
        secret: Folder with `tls.crt` and `tls.key`: whoever holds them is one of this snapshot's nodes.
        bind: Address and port to listen on.
        bytes_per_second: The most that is sent to all others together; none for no limit.
        hub_connections: How many at once to the hub.
        peer_connections: How many at once to others.
        poll_seconds: Between two questions for what another has, among up to eight nodes; among more it is longer, as all are asked.
        swarm: How long the others are waited for.
    """

    rank: int
    nodes: int
    names: tuple[tuple[str, int], ...]
    secret: Path
    bind: tuple[str, int]
    bytes_per_second: float | None
    hub_connections: int = 2
    peer_connections: int = 3
    poll_seconds: float = 0.5
    swarm: SwarmPolicy = SwarmPolicy()

    @property
    def pause_seconds(self) -> float:
        """Between two questions to one of the others, in seconds."""
        return self.poll_seconds * max(1.0, self.nodes / 8)
