"""One share of requests that end badly: of the canary against what serves, stratum by stratum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flows.canary.judge import odds, rates


@dataclass(kw_only=True)
class Share:
    """What is known of one share.

    Attributes:
        ratios: The log likelihood ratios of `odds.THETAS`.
        strata: Bad ends and all requests of what serves, bad ends and all requests of the canary, by stratum.
    """

    ratios: list[float] = field(default_factory=lambda: [0.0] * len(odds.THETAS))
    strata: dict[str, list[int]] = field(default_factory=dict)

    def add(self, window: Mapping[str, tuple[int, int, int, int]]) -> None:
        """One more window, as `strata` has it."""
        self.ratios = odds.advanced(self.ratios, window.values())
        for name, counts in window.items():
            known = self.strata.setdefault(name, [0, 0, 0, 0])
            self.strata[name] = [before + now for before, now in zip(known, counts, strict=True)]

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
        return {"ratios": self.ratios, "strata": self.strata}

    @classmethod
    def resumed(cls, state: Mapping[str, Any]) -> Share:
        """The same as the one whose state that is."""
        return cls(
            ratios=list(map(float, state["ratios"])), strata={name: list(map(int, counts)) for name, counts in state["strata"].items()}
        )
