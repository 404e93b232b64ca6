"""The fleet: every model in every environment, in pages of models."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Literal

from blocks.facts.registry import OpenRequest
from blocks.registry import RegistryClient
from blocks.registry.overview import FleetPlace
from flows.console.reads.known import MaySee

#: Models of a page, and the most that somebody may ask for.
MODELS, MOST_MODELS = 50, 200

#: Which models are wanted: a status of an entry in any environment, or what a person should look at.
Wanted = Literal["", "attention", "pending", "deploying", "ready", "degraded", "failed", "disabled"]


@dataclass(frozen=True, kw_only=True)
class FleetRow:
    """A model with its places.

    Attributes:
        model: The name that clients send.
        places: What counts in each environment, with its last verdict and who changes it.
        waits: The runs that ask people whether a candidate may enter, by environment.
    """

    model: str
    places: tuple[FleetPlace, ...]
    waits: Mapping[str, str]

    def at(self, environment: str) -> tuple[FleetPlace, ...]:
        """Its places in the environment: one for each organisation; none where it was never released."""
        return tuple(place for place in self.places if place.environment == environment)

    @property
    def attention(self) -> int:
        """How many of its places a person should look at."""
        return sum(map(needs_attention, self.places)) + len(self.waits)


def needs_attention(place: FleetPlace) -> bool:
    """Whether a person should look: it serves badly, failed, or was taken out."""
    return place.status in ("degraded", "failed") or place.disabled_from is not None


@dataclass(frozen=True, kw_only=True)
class FleetPage:
    """A page of models.

    Attributes:
        environments: In the order of promotion; those that only the registry knows come last.
        rows: The models of this page, by name.
        counts: How many places have each status, by environment: of all that the caller may see, whatever the page.
        attention: How many places a person should look at.
        models: How many models the caller may see.
        matched: How many of them are wanted.
        after: Where the next page begins; None if this is the last one.
    """

    environments: tuple[str, ...]
    rows: tuple[FleetRow, ...]
    counts: Mapping[str, Mapping[str, int]]
    attention: int
    models: int
    matched: int
    after: str | None


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a caller may see of the fleet: rows, the environments in order, and counts as of `FleetPage`."""

    rows: tuple[FleetRow, ...]
    environments: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    attention: int
    waiting: int


#: Callers whose share of one reading is remembered: those with the same grants see the same.
_CALLERS = 64


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """All of it, as it was read."""

    environments: tuple[str, ...]
    rows: tuple[FleetRow, ...]
    _seen: dict[Hashable, Seen] = field(default_factory=dict, compare=False, repr=False)

    def seen(self, may_see: MaySee, who: Hashable = None) -> Seen:
        """What the caller may see.

        Args:
            may_see: Lets through what they may see.
            who: All by which that is decided, such as their grants: what it comes to is then reckoned once. None reckons it anew.
        """
        if who is not None and (known := self._seen.get(who)) is not None:
            return known
        found = _seen_of(self, may_see)
        if who is not None and len(self._seen) < _CALLERS:
            self._seen[who] = found
        return found


def read_fleet(registry: RegistryClient, environments: Sequence[str]) -> Fleet:
    """Two statements for all of it.

    Args:
        registry: Open.
        environments: Those of `deployments/`, in the order of promotion.
    """
    return fleet_of(registry.overview.fleet(), registry.approvals.open_requests(), environments)


def fleet_of(places: Sequence[FleetPlace], requests: Sequence[OpenRequest], environments: Sequence[str]) -> Fleet:
    """The places by model; a model that is released for the first time may only wait to be let in."""
    rows: dict[str, list[FleetPlace]] = {}
    waits: dict[str, dict[str, str]] = {}
    for request in requests:
        rows.setdefault(request.model or "", [])
        waits.setdefault(request.model or "", {})[request.environment or ""] = request.run_id or ""
    for place in places:
        rows.setdefault(place.model, []).append(place)
    others = sorted({place.environment for place in places} - set(environments))
    return Fleet(
        environments=(*environments, *others),
        rows=tuple(FleetRow(model=model, places=tuple(its), waits=waits.get(model, {})) for model, its in sorted(rows.items())),
    )


def page_of(
    fleet: Fleet,
    may_see: MaySee,
    *,
    who: Hashable = None,
    search: str = "",
    status: Wanted = "",
    after: str = "",
    limit: int = MODELS,
) -> FleetPage:
    """The next models that the caller may see and wants to, behind the one named `after`; `who` is as of `Fleet.seen`."""
    seen = fleet.seen(may_see, who)
    looked_for = search.strip().casefold()
    every = not looked_for and not status
    matched = seen.rows if every else [row for row in seen.rows if looked_for in row.model.casefold() and _has(row, status)]
    begin = bisect_right(matched, after, key=attrgetter("model"))
    end = begin + max(1, min(limit, MOST_MODELS))
    shown = matched[begin:end]
    return FleetPage(
        environments=seen.environments,
        rows=tuple(shown),
        counts=seen.counts,
        attention=seen.attention,
        models=len(seen.rows),
        matched=len(matched),
        after=shown[-1].model if len(matched) > end else None,
    )


def _seen_of(fleet: Fleet, may_see: MaySee) -> Seen:
    rows = tuple(row for row in (_seen(row, may_see) for row in fleet.rows) if row.places or row.waits)
    counts: dict[str, Counter[str]] = {name: Counter() for name in fleet.environments}
    for row in rows:
        for place in row.places:
            counts[place.environment][place.status] += 1
    return Seen(
        rows=rows,
        environments=tuple(name for name in fleet.environments if any(may_see(row.model, name) for row in rows) or not rows),
        counts=counts,
        attention=sum(row.attention for row in rows),
        waiting=sum(len(row.waits) for row in rows),
    )


def _seen(row: FleetRow, may_see: MaySee) -> FleetRow:
    return FleetRow(
        model=row.model,
        places=tuple(place for place in row.places if may_see(row.model, place.environment)),
        waits={environment: run_id for environment, run_id in row.waits.items() if may_see(row.model, environment)},
    )


def _has(row: FleetRow, status: Wanted) -> bool:
    if status == "attention":
        return row.attention > 0
    return not status or any(place.status == status for place in row.places)
