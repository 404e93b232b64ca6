"""One share of requests that end badly: of the canary against what serves, stratum by stratum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flows.canary.judge import odds, rates
from flows.canary.judge.window import BLOCK_SECONDS


@dataclass(kw_only=True)
class Share:
    """What is known of one share.

    Attributes:
        ratios: The log likelihood ratios of `odds.THETAS`.
        strata: Bad ends and all requests of what serves, bad ends and all requests of the canary, by stratum.
        pending: The same, of what is no block yet.
        waited: For how many seconds that was collected.
    """

    ratios: list[float] = field(default_factory=lambda: [0.0] * len(odds.THETAS))
    strata: dict[str, list[int]] = field(default_factory=dict)
    pending: dict[str, list[int]] = field(default_factory=dict)
    waited: float = 0.0

    def add(self, window: Mapping[str, tuple[int, int, int, int]], seconds: float) -> None:
        """What came in so many more seconds, as `strata` has it."""
        _sum(self.pending, window)
        self.waited += seconds
        if self.waited < BLOCK_SECONDS:
            return
        self.ratios = odds.advanced(self.ratios, [(a, b, c, d) for a, b, c, d in self.pending.values()])
        _sum(self.strata, self.pending)
        self.pending, self.waited = {}, 0.0

    @property
    def log_e(self) -> float:
        """The logarithm of the e-value against "the canary's odds are no higher"."""
        return odds.log_e(self.ratios)

    @property
    def canary(self) -> float | None:
        """The canary's share; none of no requests."""
        bad, count = self._sum(2), self._sum(3)
        return bad / count if count else None

    @property
    def current(self) -> float | None:
        """The share of what serves, had it got the canary's mix of strata; none of no requests."""
        compared = [(bad / count, weight) for bad, count, _, weight in self.strata.values() if count]
        total = sum(weight for _, weight in compared)
        if not total:
            return self._sum(0) / self._sum(1) if self._sum(1) else None
        return sum(share * weight for share, weight in compared) / total

    def difference(self, alpha: float) -> tuple[float, float]:
        """The least and the largest difference, canary less current, that are not excluded; each bound alone is wrong in a share alpha."""
        canary = rates.bounds(self._sum(2), self._sum(3), alpha / 2)
        current = rates.bounds(self._sum(0), self._sum(1), alpha / 2)
        plain = self._sum(0) / self._sum(1) if self._sum(1) else 0.0
        # To the canary's mix of strata.
        mixed = (self.current or 0.0) / plain if plain else 1.0
        return canary[0] - min(1.0, current[1] * mixed), canary[1] - current[0] * mixed

    def _sum(self, place: int) -> int:
        return sum(counts[place] for counts in self.strata.values())

    def state(self) -> dict[str, Any]:
        """What it knows, as JSON."""
        return {"ratios": self.ratios, "strata": self.strata, "pending": self.pending, "waited": self.waited}

    @classmethod
    def resumed(cls, state: Mapping[str, Any]) -> Share:
        """The same as the one whose state that is.

        Raises:
            ValueError: It mixes other odds.
        """
        if len(state["ratios"]) != len(odds.THETAS):
            raise ValueError("other odds were mixed")
        return cls(
            ratios=list(map(float, state["ratios"])),
            strata={name: list(map(int, counts)) for name, counts in state["strata"].items()},
            pending={name: list(map(int, counts)) for name, counts in state["pending"].items()},
            waited=float(state["waited"]),
        )


def _sum(known: dict[str, list[int]], added: Mapping[str, Sequence[int]]) -> None:
    for name, counts in added.items():
        known[name] = [before + now for before, now in zip(known.get(name, (0, 0, 0, 0)), counts, strict=True)]
