"""Which of a node's GPUs belongs to which container, as a device plugin hands them out."""

from __future__ import annotations


class Gpus:
    """The GPUs of one node.

    Args:
        count: How many there are.
    """

    def __init__(self, count: int) -> None:
        self._free = list(range(count))
        self._taken: dict[str, list[int]] = {}

    def take(self, holder: str, count: int) -> list[int] | None:
        """Give GPUs to a holder, who keeps those it has; None when there are not enough."""
        if holder in self._taken:
            return self._taken[holder]
        if count > len(self._free):
            return None
        self._taken[holder], self._free = self._free[:count], self._free[count:]
        return self._taken[holder]

    def release(self, holder: str) -> None:
        """Take back what the holder has."""
        self._free = sorted(self._free + self._taken.pop(holder, []))
