"""The life of an entry: begin, ready, failed, degraded, recovered.

Each call is one transaction that waits for its turn (one writer at a time for a model in an environment), looks, and then writes: repeated
after a cut connection it finds its own event and changes nothing. Which status may follow which is the database's to say
(`slipway_status_moves`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from psycopg.types.json import Jsonb

from blocks.errors import RegistryRejected
from blocks.facts.kinds import EventKind
from blocks.facts.registry import Entry
from blocks.registry.documents import has_evidence
from blocks.registry.repeated import repeated
from blocks.registry.session import Session, row
from blocks.registry.steps import Step, candidate_of, take_step
from blocks.storable import storable_document

_SERVING = ("ready", "degraded")


@dataclass(frozen=True, kw_only=True)
class _Judged:
    holds: bool


class Lifecycle:
    """Moves entries.

    Arguments that all methods share: `organisation` is None where there is only one; `actor` is the person or service that asked; `at` is
    when, the database's clock by default; `fence` is the number with which the run took the lock (None if nobody holds it), and a write of
    a run that lost it is refused. All raise `RegistryUnreachable` (retry) or `RegistryRejected` (do not).
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    @repeated
    def begin(
        self,
        *,
        model: str,
        hub_revision: str,
        environment: str,
        namespace: str,
        endpoint: str,
        fingerprint: str,
        run_id: str,
        fence: int | None = None,
        organisation: str | None = None,
        actor: str | None = None,
        at: datetime | None = None,
    ) -> Entry:
        """Say that a run deploys the candidate, before it touches the cluster; return the entry.

        The entry becomes `deploying`. One that serves stays as it is, also where it serves another candidate of the same commit: what
        serves is routed until its successor is verified. After a failure the same run may begin again.

        Raises:
            RegistryRejected: The candidate is not registered, or belongs to another model or hub revision.
        """
        with self._step(model, environment, fingerprint, run_id, organisation, actor, at) as step:
            step.require_lock(fence)
            if step.who["hub_revision"] != hub_revision:
                raise RegistryRejected(f"candidate {fingerprint[:12]} is not of hub revision {hub_revision[:12]}", fingerprint=fingerprint)
            progress = step.progress()
            entry = step.entry()
            # Ready once and not any longer (superseded, gone back from): the run begins anew.
            done = progress is not None and (
                progress.kind == EventKind.DEPLOYING
                or (progress.kind == EventKind.READY and entry is not None and entry.fingerprint == fingerprint and entry.status == "ready")
            )
            if not done:
                step.change("add_entry", namespace=namespace, endpoint=endpoint)
                step.change("begin_entry", namespace=namespace, endpoint=endpoint)
                serving = step.current()
                replaces = serving.fingerprint if serving is not None else None
                place = {"namespace": namespace, "endpoint": endpoint, "hub_revision": hub_revision}
                step.record(EventKind.DEPLOYING, {**place, "replaces": replaces})
            return step.present()

    @repeated
    def mark_ready(
        self,
        *,
        model: str,
        environment: str,
        fingerprint: str,
        helm_revision: int | None = None,
        git_commit: str | None = None,
        evidence_sha256: str,
        run_id: str,
        fence: int | None = None,
        organisation: str | None = None,
        actor: str | None = None,
        at: datetime | None = None,
    ) -> Entry:
        """Route to the candidate, which the run began and has verified; take whatever served there before out of service.

        It was delivered either as a revision of its Helm release or as a commit that Argo CD went to.

        One transaction: the entry becomes `ready` with this candidate; the others that served the model in the environment, `disabled`.
        Where a person took the model out, the candidate takes the place of what was there and stays out until it is enabled.

        Raises:
            RegistryRejected: The run did not begin here, or it failed since; another candidate took the endpoint meanwhile; the evidence
                was never saved.
        """
        with self._step(model, environment, fingerprint, run_id, organisation, actor, at) as step:
            step.require_lock(fence)
            progress = step.progress()
            if progress is not None and progress.kind == EventKind.READY:
                return step.present()
            if progress is None or progress.kind != EventKind.DEPLOYING:
                state = "has failed" if progress else "did not begin"
                raise RegistryRejected(
                    f"run {run_id} {state} with candidate {fingerprint[:12]} in {environment}: begin (again) first", run_id=run_id
                )
            other = step.overtaken(progress)
            if other is not None:
                raise RegistryRejected(
                    f"candidate {str(other.fingerprint)[:12]} (run {other.run_id}) took the endpoint of {model} in {environment} "
                    f"while {fingerprint[:12]} was being verified: release again",
                    run_id=other.run_id,
                )
            if not has_evidence(step.connection, evidence_sha256):
                raise RegistryRejected(f"evidence {evidence_sha256[:12]} is not in the registry: save it first", sha256=evidence_sha256)
            # From the run's own beginning: the row of what serves has kept the endpoint of the candidate before.
            place = {name: progress.detail[name] for name in ("namespace", "endpoint")}
            # Asked before `ready_entry`, which takes the mark away.
            out = step.taken_out()
            if not step.change("ready_entry", helm_revision=helm_revision, git_commit=git_commit, **place):
                entry = step.present()
                raise RegistryRejected(
                    f"the entry of {model} in {environment} is {entry.status} with {str(entry.fingerprint)[:12]}, not {fingerprint[:12]}",
                    fingerprint=entry.fingerprint,
                )
            step.take_out("supersede_entries", EventKind.SUPERSEDED, f"superseded by {fingerprint[:12]}")
            # The environment's endpoint serves this candidate now: in the same moment nothing is routed beside it any longer.
            step.pass_canary()
            delivered = {"helm_revision": helm_revision} if git_commit is None else {"git_commit": git_commit}
            # Also where it stays out: it was verified, and is a candidate to go back to.
            step.record(EventKind.READY, {**delivered, "evidence_sha256": evidence_sha256, **place})
            if out is not None:
                step.change("keep_out_entry", reason=out.reason)
                step.record(EventKind.DISABLED, {"reason": out.reason}, actor=out.actor)
            return step.present()

    @repeated
    def mark_failed(
        self,
        *,
        model: str,
        environment: str,
        fingerprint: str,
        reason: str,
        error: str | None = None,
        run_id: str,
        fence: int | None = None,
        cluster_changed: bool,
        deployed: bool | None = None,
        organisation: str | None = None,
        actor: str | None = None,
        evidence_sha256: str | None = None,
        at: datetime | None = None,
    ) -> Entry | None:
        """Say that the candidate failed in the environment; return its entry, if there is one.

        The entry that deploys the candidate becomes `failed`. With `cluster_changed` so does one that served it, and whatever else was
        routed there becomes `degraded`: its endpoint does not serve it any longer. A run that did not touch the cluster leaves what serves
        alone.

        Args:
            model: The name that clients send.
            environment: Where.
            fingerprint: The candidate.
            reason: One sentence for people.
            error: The kind of the error that was the cause, for programs; none if no error was.
            run_id: The flow run.
            fence: Its number at the lock.
            cluster_changed: Whether the run may have changed what the endpoint serves.
            deployed: Whether the cluster was told to run the candidate, so that pods of it may be there; as `cluster_changed` if None.
            organisation: Whose entry.
            actor: Who asked.
            evidence_sha256: The verdict, if verification said no.
            at: When.
        """
        with self._step(model, environment, fingerprint, run_id, organisation, actor, at) as step:
            step.require_lock(fence)
            progress = step.progress()
            if progress is None or progress.kind != EventKind.FAILED:
                # A run that began nothing here must not fail a row that another one deploys.
                if progress is not None or cluster_changed:
                    step.change("fail_entry", reason=reason, cluster_changed=cluster_changed)
                detail = {"reason": reason, "error": error, "cluster_changed": cluster_changed, "evidence_sha256": evidence_sha256}
                step.record(EventKind.FAILED, {**detail, "deployed": cluster_changed if deployed is None else deployed})
                if cluster_changed:
                    step.take_out("displace_entries", EventKind.DISPLACED, f"{fingerprint[:12]} was deployed over it and failed: {reason}")
            return step.entry()

    @repeated
    def mark_degraded(
        self,
        *,
        model: str,
        environment: str,
        fingerprint: str,
        reason: str,
        run_id: str | None = None,
        organisation: str | None = None,
        actor: str | None = None,
        evidence_sha256: str | None = None,
        at: datetime | None = None,
    ) -> bool:
        """Take the candidate that serves out of routing; False if it does not serve here (any longer)."""
        # Without the lock's number: what is found bad is taken out while a release holds the lock, too.
        who = {"model": model, "environment": environment, "organisation": organisation, "fingerprint": fingerprint}
        more = {"reason": reason, "degraded_by": None, "run_id": run_id, "actor": actor, "at": at}
        return self._judge(who, EventKind.DEGRADED, {"reason": reason, "evidence_sha256": evidence_sha256}, **more)

    @repeated
    def mark_recovered(
        self,
        *,
        model: str,
        environment: str,
        fingerprint: str,
        run_id: str | None = None,
        organisation: str | None = None,
        actor: str | None = None,
        evidence_sha256: str | None = None,
        degraded_by: str | None = None,
        at: datetime | None = None,
    ) -> bool:
        """Route to a degraded candidate again, which was found good; False if it does not serve here (any longer).

        A candidate that lost its endpoint to a failed release comes back by a run that begins with it, not by this. With `degraded_by` only
        what that actor had degraded comes back: a health check must not overrule a verification.
        """
        who = {"model": model, "environment": environment, "organisation": organisation, "fingerprint": fingerprint}
        more = {"reason": None, "degraded_by": degraded_by, "run_id": run_id, "actor": actor, "at": at}
        return self._judge(who, EventKind.RECOVERED, {"evidence_sha256": evidence_sha256}, **more)

    def _judge(self, who: Mapping[str, object], kind: EventKind, detail: Mapping[str, object], **more: object) -> bool:
        with self._session.connected() as connection:
            held = row(connection, "judge", _Judged, {**who, **more, "kind": kind, "detail": Jsonb(storable_document(detail))})
            if held is not None and held.holds:
                return True
            # Nothing of it serves here. It may never have been a candidate of this model.
            candidate_of(connection, str(who["fingerprint"]), str(who["model"]))
        return False

    @contextmanager
    def _step(
        self,
        model: str,
        environment: str,
        fingerprint: str,
        run_id: str | None,
        organisation: str | None,
        actor: str | None,
        at: datetime | None,
    ) -> Iterator[Step]:
        with self._session.transaction() as connection:
            yield take_step(
                connection,
                model=model,
                environment=environment,
                fingerprint=fingerprint,
                run_id=run_id,
                organisation=organisation,
                actor=actor,
                at=at,
            )
