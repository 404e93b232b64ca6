"""Prefect is not what this checkout needs it to be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields

from flows.doctor.rules.facts import Facts, PrefectFacts, WantedDeployment
from flows.doctor.rules.symptom import ApplyAutomations, Symptom

_DEPLOY = "prefect --no-prompt deploy --all"

#: May be paused on purpose: `slipway monitor` does the same. Whether anybody watches is seen from the entries.
_MAY_REST = "monitor"


def prefect_symptoms(facts: Facts) -> Iterable[Symptom]:
    """Work pool, workers, deployments, schedules, automations and blocks."""
    seen = facts.prefect
    yield from _pools(seen)
    yield from _deployments(seen)
    missing = sorted(seen.automations_wanted - seen.automations)
    if missing:
        yield Symptom(
            kind="no-automation",
            about=", ".join(missing),
            message=f"Prefect has no automation called {' or '.join(repr(name) for name in missing)}: nobody is told.",
            command="slipway automations",
            remedy=ApplyAutomations(),
        )
    for block in sorted(seen.blocks_wanted - seen.blocks):
        yield Symptom(
            kind="no-block", about=block, message=f"Prefect has no block {block}.", command=f"create {block} in the UI under Blocks"
        )


def _pools(seen: PrefectFacts) -> Iterator[Symptom]:
    for pool in sorted({wanted.work_pool for wanted in seen.wanted.values()}):
        if pool not in seen.pools:
            yield Symptom(
                kind="no-work-pool",
                about=pool,
                message=f"Prefect has no work pool {pool!r}.",
                command=f"prefect work-pool create {pool} --type process",
            )
        elif seen.pools[pool]:
            yield Symptom(
                kind="work-pool-paused",
                about=pool,
                message=f"the work pool {pool!r} is paused: no run starts.",
                command=f"prefect work-pool resume {pool}",
            )
        elif not seen.workers.get(pool):
            yield Symptom(
                kind="no-worker",
                about=pool,
                message=f"no worker of the work pool {pool!r} gives signs of life: no run starts.",
                command=f"prefect worker start --pool {pool}",
            )


def _deployments(seen: PrefectFacts) -> Iterator[Symptom]:
    for name, wanted in sorted(seen.wanted.items()):
        there = seen.deployed.get(name)
        if there is None:
            yield Symptom(kind="not-deployed", about=name, message=f"Prefect has no deployment {name!r}.", command=_DEPLOY)
            continue
        if differs := _differs(wanted, there):
            yield Symptom(
                kind="stale-deployment",
                about=name,
                message=f"Prefect's deployment {name!r} is not the one of this checkout: {', '.join(differs)} differ.",
                command=_DEPLOY,
            )
        if not there.active and name != _MAY_REST:
            yield Symptom(
                kind="schedule-paused",
                about=name,
                message=f"the schedule of Prefect's deployment {name!r} is paused: nobody does what it should.",
                command=f"prefect deployment schedule ls {name}/{name}, then prefect deployment schedule resume {name}/{name} ID",
            )


def _differs(wanted: WantedDeployment, there: WantedDeployment) -> list[str]:
    # A schedule that is off is a symptom of its own.
    names = [field.name for field in fields(WantedDeployment) if field.name != "active"]
    return [name.replace("_", " ") for name in names if getattr(wanted, name) != getattr(there, name)]
