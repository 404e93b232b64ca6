"""Who brought the weights to whom, as people read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flows.text.markdown import Markdown, heads, md, page, row

#: Characters of the longest bar.
_BAR = 24


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
    """Bytes from the hub and from each node, a row and a bar for each node.

    Args:
        said: The last word of the program, by node that wanted them.
        together: These and those that only gave, sorted.
    """
    found = {node: brought(said[node], together) for node in sorted(said)}
    hub = sum(size for size, _ in found.values())
    most = max((size + sum(peers.values()) for size, peers in found.values()), default=0)
    rows = [
        row(node, _mb(size), _parts(peers), _bar(size, most, "█") + _bar(sum(peers.values()), most, "░"))
        for node, (size, peers) in found.items()
    ]
    given = sum(sum(peers.values()) for _, peers in found.values())
    return page(
        md("The hub sent {}, the nodes {} to each other.", _mb(hub), _mb(given)),
        md(""),
        heads("node", "from the hub", "from other nodes", "█ hub, ░ other nodes"),
        *rows,
    )


def _parts(peers: Mapping[str, int]) -> str:
    return ", ".join(f"{node} {_mb(size)}" for node, size in sorted(peers.items())) or "–"


def _bar(size: int, most: int, mark: str) -> str:
    return mark * round(_BAR * size / most) if most else ""


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"
