"""Looks at everything that is routed, and moves entries between `ready` and `degraded` by their last checks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from prefect import task

from blocks.endpoint import Endpoint
from blocks.endpoint.health import Probe, probe_all
from blocks.errors import PipelineError
from blocks.health_cache import HealthCache, Result
from blocks.registry import Entry, Health, Registry, RegistryClient
from flows.health.rules import unseen, verdict_of_window
from flows.runtime.tasks import OBSERVES

#: Endpoints that are looked at at the same time. A look is two small requests; a slow one holds one of these places.
AT_ONCE = 100

#: Seconds for each of the two answers. A busy engine may let a completion wait; three of five must take longer than this.
TIMEOUT_SECONDS = 10.0

#: Who the registry says it was. What others degraded (a failed verification, say) a health check does not put back.
ACTOR = "monitor"


@dataclass(frozen=True, kw_only=True)
class Round:
    """What a round of health checks found and did.

    Attributes:
        checked: Entries that were looked at.
        failing: How many of these did not answer as they should.
        degraded: What was taken out of routing, with the reason: `model in environment: reason`.
        recovered: What was put back: `model in environment`.
        blind: Environments of which most failed at once, so that nothing was changed there.
        skipped: Environments with entries that `deployments/` does not describe, or whose engines' key cannot be read, so that nobody knows
            how to reach them.
        without_cache: Why the results are not in the cache; None if they are, or there is none.
        seconds: How long it took.
    """

    checked: int = 0
    failing: int = 0
    degraded: tuple[str, ...] = ()
    recovered: tuple[str, ...] = ()
    blind: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    without_cache: str | None = None
    seconds: float = 0.0

    @property
    def message(self) -> str:
        """What there is to say of it."""
        said = f"{self.checked - self.failing} of {self.checked} endpoints answer"
        moved = [f"most of {name} do not, so more likely this monitor cannot see them: nothing was changed there" for name in self.blind]
        moved += [*(f"degraded {what}" for what in self.degraded), *(f"recovered {what}" for what in self.recovered)]
        moved += [f"nobody knows how to reach {name}" for name in self.skipped]
        moved += [self.without_cache] if self.without_cache else []
        return "; ".join([said, *moved]) + "."


def check_health(
    registry: Registry, endpoints: Mapping[str, Endpoint], cache: HealthCache | None = None, interval_seconds: float = 60.0
) -> Round:
    """Look at every entry that is routed or was, remember how each check was, and move what its last five checks say.

    No lock is held while it looks, and it waits for nobody's: it never holds up a release.

    Args:
        registry: The registry.
        endpoints: How each environment's endpoints are reached, by the environment's name.
        cache: Where routers may read the results, if anywhere; one that is away is said and gone on without.
        interval_seconds: Time to the next round; results in the cache live for two.

    Raises:
        RegistryUnreachable: The registry did not answer; nothing was changed, or the next round makes up for it.
    """
    began = datetime.now(UTC)
    with registry.client() as client:
        entries = [entry for status in ("ready", "degraded") for entry in client.entries(status=status) if entry.endpoint]
        seen = [entry for entry in entries if entry.environment in endpoints]
        found = asyncio.run(_look(seen, endpoints))
        ready: dict[str, list[bool]] = {}
        for entry, what in zip(seen, found, strict=True):
            if entry.status == "ready":
                ready.setdefault(entry.environment, []).append(what is not None)
        blind = unseen(ready)
        believed = [(entry, what) for entry, what in zip(seen, found, strict=True) if entry.environment not in blind]
        degraded, recovered = _record(client, believed, began)
    # Two rounds, so that a late one leaves no gap, and what nobody checks any longer is soon gone.
    without = None if cache is None else _publish(cache, believed, began, 2 * interval_seconds)
    return Round(
        checked=len(seen),
        failing=sum(what is not None for what in found),
        degraded=degraded,
        recovered=recovered,
        blind=tuple(sorted(blind)),
        skipped=tuple(sorted({entry.environment for entry in entries} - set(endpoints))),
        without_cache=without,
        seconds=(datetime.now(UTC) - began).total_seconds(),
    )


def _publish(cache: HealthCache, believed: Sequence[tuple[Entry, str | None]], at: datetime, lifetime_seconds: float) -> str | None:
    results = [
        Result(
            organisation=entry.organisation,
            model=entry.model,
            environment=entry.environment,
            endpoint=entry.endpoint or "",
            fingerprint=entry.fingerprint,
            trouble=what,
        )
        for entry, what in believed
    ]
    try:
        cache.publish(results, at=at, lifetime_seconds=lifetime_seconds)
    except PipelineError as exc:
        return exc.message
    return None


async def _look(entries: Sequence[Entry], endpoints: Mapping[str, Endpoint]) -> list[str | None]:
    found: dict[int, str | None] = {}
    for environment in sorted({entry.environment for entry in entries}):
        numbers = [number for number, entry in enumerate(entries) if entry.environment == environment]
        looks = [Probe(endpoint=entries[number].endpoint or "", model=entries[number].model) for number in numbers]
        seen = await probe_all(endpoints[environment].access(), looks, at_once=AT_ONCE, timeout_seconds=TIMEOUT_SECONDS)
        found.update(zip(numbers, seen, strict=True))
    return [found[number] for number in range(len(entries))]


def _record(client: RegistryClient, believed: Sequence[tuple[Entry, str | None]], at: datetime) -> tuple[tuple[str, ...], tuple[str, ...]]:
    checks = [Health(key=entry.key, fingerprint=entry.fingerprint, good=what is None) for entry, what in believed]
    # By the candidate as well: a release may have changed the entry while it was looked at.
    why = {(entry.key, entry.fingerprint): what for entry, what in believed}
    degraded: list[str] = []
    recovered: list[str] = []
    for now in client.health.record(checks, at):
        place, move = f"{now.model} in {now.environment}", verdict_of_window(now.status, now.window)
        if move is None or now.fingerprint is None:
            continue
        if move == "degraded":
            last = why[now.key, now.fingerprint]
            reason = f"{now.window.count('-')} of the last {len(now.window)} health checks failed; {last or 'the last one did not'}"
            moved = client.lifecycle.mark_degraded(
                model=now.model,
                environment=now.environment,
                fingerprint=now.fingerprint,
                reason=reason,
                actor=ACTOR,
                organisation=now.organisation,
            )
            degraded += [f"{place}: {reason}"] if moved else []
        else:
            moved = client.lifecycle.mark_recovered(
                model=now.model,
                environment=now.environment,
                fingerprint=now.fingerprint,
                actor=ACTOR,
                degraded_by=ACTOR,
                organisation=now.organisation,
            )
            recovered += [place] if moved else []
    return tuple(degraded), tuple(recovered)


# `slipway monitor` calls the plain function: its rounds are no runs of Prefect.
check_health_task = task(name="check health", **OBSERVES)(check_health)
