"""Who brought the weights to whom, as people read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flows.text.markdown import Markdown, heads, md, page, picture, row
from flows.weights.plot import spread_plot


def brought(line: Mapping[str, Any], nodes: Sequence[str]) -> tuple[int, dict[str, int]]:
    """Bytes that a node says it has from the hub, and from each other node.

    Args:
        line: The last word of the program there.
        nodes: All nodes, sorted: its numbers are places in this list.
    """
    match line:
        case {"hub_bytes": int(hub), "peer_bytes": dict(peers)}:
            return hub, {nodes[int(rank)]: int(size) for rank, size in peers.items() if rank.isdigit() and int(rank) < len(nodes)}
    return 0, {}


def shared_page(said: Mapping[str, Mapping[str, Any]], together: Sequence[str]) -> Markdown:
    """Bytes from the hub and from each node, a bar and a row for each node.

    Args:
        said: The last word of the program, by node that wanted them.
        together: These and those that only gave, sorted.
    """
    found = {node: brought(said[node], together) for node in sorted(said)}
    hub = sum(size for size, _ in found.values())
    rows = [row(node, _mb(size), _parts(peers)) for node, (size, peers) in found.items()]
    given = sum(sum(peers.values()) for _, peers in found.values())
    return page(
        md("The hub sent {}, the nodes {} to each other.", _mb(hub), _mb(given)),
        md(""),
        picture("Bytes of each node from the hub and from the others", spread_plot(found)),
        md(""),
        heads("node", "from the hub", "from other nodes"),
        *rows,
    )


def _parts(peers: Mapping[str, int]) -> str:
    return ", ".join(f"{node} {_mb(size)}" for node, size in sorted(peers.items())) or "–"


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"
