"""Runs that are over and left something, and something that waits for runs that are over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flows.doctor.rules.facts import Facts, LockFact
from flows.doctor.rules.symptom import FIX, CleanUp, CloseRequest, DeleteJob, FreeLock, StartRun, Symptom, WakeRun
from flows.recovery.orphans import why_orphaned

#: A lock's holder gives a sign of life every 10 s, and is given up after this.
LOCK_STALE_SECONDS = 60.0


def is_held(lock: LockFact) -> bool:
    """Whether the lock's holder is alive."""
    return lock.silent_seconds < LOCK_STALE_SECONDS


def run_symptoms(facts: Facts) -> Iterable[Symptom]:
    """Unfinished entries, locks, requests and Jobs of runs that are over, and suspended runs that nobody was asked about."""
    yield from _unfinished(facts)
    yield from _locks(facts)
    yield from _requests(facts)
    yield from _jobs(facts)


def _unfinished(facts: Facts) -> Iterator[Symptom]:
    for begun in facts.orphaned_runs:
        seen = facts.runs[begun.run_id]
        about = f"{begun.model} in {begun.environment}"
        what = f"run {begun.run_id} began candidate {begun.fingerprint[:12]} of {about} and never ended it"
        if why := why_orphaned(seen, failed=begun.failed):
            remedy = CleanUp(begun=begun.event_id, why=why)
            yield Symptom(kind="unfinished", about=about, message=f"{what}: {why.message}.", command=FIX, remedy=remedy)
        elif seen.crashed:
            yield Symptom(
                kind="crashed",
                about=about,
                message=f"{what}: it crashed, and the sweep has not taken it up again.",
                command="prefect deployment run sweep/sweep",
                remedy=StartRun(deployment="sweep/sweep"),
            )


def _locks(facts: Facts) -> Iterator[Symptom]:
    # Where it is cleaned up after, the lock is given back on the way.
    cleaned = {(begun.run_id, begun.model, begun.environment) for begun in facts.orphaned_runs}
    for lock in facts.locks:
        seen = facts.runs[lock.run_id]
        # Without a state Prefect has forgotten it, which is an end as well.
        over = seen.final or not seen.state
        if is_held(lock) or not over or (lock.run_id, lock.model, lock.environment) in cleaned:
            continue
        yield Symptom(
            kind="dead-lock",
            about=f"{lock.model} in {lock.environment}",
            message=f"run {lock.run_id} holds {lock.model} in {lock.environment}, gave no sign of life for {lock.silent_seconds:.0f} s, "
            f"and {_what_became(seen.state)}.",
            command=FIX,
            remedy=FreeLock(model=lock.model, environment=lock.environment, run_id=lock.run_id),
        )


def _requests(facts: Facts) -> Iterator[Symptom]:
    for request in facts.requests:
        seen = facts.runs[request.run_id]
        if seen.final or not seen.state:
            about = f"{request.model} in {request.environment}"
            yield Symptom(
                kind="dead-request",
                about=about,
                message=f"people are asked to approve {about}, but run {request.run_id} {_what_became(seen.state)}.",
                command=FIX,
                remedy=CloseRequest(request=request.event_id, why=f"the run {_what_became(seen.state)}"),
            )
    asked = {request.run_id for request in facts.requests}
    for run in facts.suspended:
        if run.run_id not in asked:
            yield Symptom(
                kind="unasked",
                about=run.name,
                message=f"run {run.run_id} ({run.name}) waits for an approval that the registry knows no request for.",
                command=FIX,
                remedy=WakeRun(run_id=run.run_id),
            )


def _jobs(facts: Facts) -> Iterator[Symptom]:
    for name, environment in facts.environments.items():
        for job in environment.jobs:
            seen = facts.runs.get(job.labels.get("slipway.dev/run", ""))
            # A crashed run may be taken up again, and then finds its Job by its name.
            if job.outcome is None and seen is not None and (seen.final or not seen.state) and not (seen.crashed and not seen.abandoned):
                yield Symptom(
                    kind="orphan-job",
                    about=f"{job.name} in {environment.namespace}",
                    message=f"Job {job.name} in {environment.namespace} runs on for a run that {_what_became(seen.state)}.",
                    command=f"kubectl delete job {job.name} --namespace {environment.namespace}",
                    remedy=DeleteJob(environment=name, name=job.name),
                )


def _what_became(state: str) -> str:
    return f"ended as {state}" if state else "is gone from Prefect"
