"""The model hub: a Prefect block, its client, and what is read of a model's files there.

The block is imported when it is asked for: the program on the nodes takes the hub's errors from here, and has no Prefect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blocks.hub.block import Hub

__all__ = ["Hub"]


def __getattr__(name: str) -> object:
    if name == "Hub":
        from blocks.hub.block import Hub

        return Hub
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
