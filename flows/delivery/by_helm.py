"""Delivery by Helm, which the flow runs: how a candidate gets to a cluster, back to it, and away from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from blocks.cluster import Cluster
from blocks.errors import HelmConflict, HelmStuck
from blocks.facts import HelmRevision
from blocks.facts.kinds import EventKind
from blocks.helm import Helm
from flows.delivery.engines import Engines, Rearrange, engines_of, with_beside
from flows.delivery.helm import leave_release, rearrange_release, repair_release, roll_back_release, uninstall, upgrade_release
from flows.delivery.move import DeliveredRevision, Move
from flows.delivery.provenance import Provenance
from flows.delivery.released import look_at_release, take_back
from flows.naming import release_name
from flows.record.tasks import note
from flows.spec import Environment
from flows.text.quantities import listed

#: A killed operation and fields that somebody else owns: each may be in the way once, and the second may show only when the first is gone.
_OBSTACLES = 2


@dataclass(frozen=True, kw_only=True)
class ByHelm:
    """The flow runs Helm."""

    helm: Helm
    cluster: Cluster
    environment: Environment

    def shown(self, model: str) -> str:
        """What carries the model's candidate there, for messages."""
        return f"Helm release {release_name(model, self.environment.name)}"

    def carried(self, model: str) -> str | None:
        """The fingerprint that it carries, or will; none if it carries none. Helm writes its newest revision before it touches anything."""
        with self.helm.client() as charts:
            newest = charts.current(release_name(model, self.environment.name), self.environment.namespace)
        return newest.fingerprint if newest is not None else None

    def engines(self, model: str) -> Engines:
        """Both candidates that it carries, or will, and where they lie."""
        with self.helm.client() as charts:
            newest = charts.current(release_name(model, self.environment.name), self.environment.namespace)
        return engines_of(newest.values) if newest is not None and newest.status != "uninstalled" else Engines(serving=None)

    def deliver(self, move: Move) -> DeliveredRevision:
        """Have the cluster run the candidate, which may be new there; does not wait for pods."""
        return self._change(move, upgrade_release)

    def roll_back(self, move: Move) -> DeliveredRevision:
        """Have the cluster run the candidate as it did before; does not wait for pods."""
        return self._change(move, roll_back_release)

    def deliver_beside(self, move: Move) -> DeliveredRevision:
        """Have the cluster run the candidate beside what serves, which stays as it is; does not wait for pods."""
        return self.rearrange(move, with_beside, "try")

    def rearrange(self, move: Move, rearrange: Rearrange, verb: str) -> DeliveredRevision:
        """Have the cluster go on with what it runs in another order; `verb` is for Git's history."""
        return self._change(move, partial(rearrange_release, rearrange=rearrange))

    def leave(self, model: str, fingerprint: str, provenance: Provenance) -> None:
        """Take the candidate away from beside what serves; or if the endpoint leads to it, back to what stands beside it. No pod starts.

        Where it is not there, or alone, nothing is changed.
        """
        release, namespace = release_name(model, self.environment.name), self.environment.namespace
        for _ in range(_OBSTACLES):
            try:
                return leave_release(self.helm, release, namespace, fingerprint)
            except HelmStuck:
                repair_release(
                    self.helm, release, namespace, None if self.engines(model).serving == fingerprint else self.engines(model).serving
                )
        return leave_release(self.helm, release, namespace, fingerprint)

    def remove(self, model: str, fingerprint: str, provenance: Provenance) -> None:
        """Take away what the candidate's Helm release made; one that carries another candidate stays."""
        if self.carried(model) == fingerprint:
            uninstall(self.helm, release_name(model, self.environment.name), self.environment.namespace)

    def _change(self, move: Move, change: Callable[..., HelmRevision]) -> DeliveredRevision:
        """Change the Helm release; what a killed operation left, or somebody did beside Helm, is recorded and put right first."""
        environment, release, force_conflicts = self.environment, move.plan.helm_release, False
        change = partial(change, anew=self._take_back(move))
        for _ in range(_OBSTACLES):
            try:
                return _of_helm(change(self.helm, move.candidate, environment, move.plan, force_conflicts))
            # On record before it is repaired: the repair may be what is killed next.
            except HelmStuck as exc:
                note(move.registry, move.candidate, environment, EventKind.HELM_STUCK, {"found": exc.message}, move.run_id)
                repair = repair_release(self.helm, release, environment.namespace, move.candidate.fingerprint)
                if repair is not None:
                    detail = {"done": repair.message, "kind": repair.kind}
                    note(move.registry, move.candidate, environment, EventKind.HELM_UNSTUCK, detail, move.run_id)
            except HelmConflict as exc:
                # The release's fields are the chart's to say; whoever changed them can read here that, and why, it is so no longer.
                detail = {"found": exc.message, **exc.facts}
                note(move.registry, move.candidate, environment, EventKind.FIELDS_TAKEN_BACK, detail, move.run_id)
                force_conflicts = True
        # With both obstacles gone, what is in the way now is for people: no third one is cleared.
        return _of_helm(change(self.helm, move.candidate, environment, move.plan, force_conflicts))

    def _take_back(self, move: Move) -> bool:
        """Whether what runs is not what was rendered, so that it must be applied again; what others added goes with that, on record."""
        found = look_at_release(self.helm, self.cluster, self.environment, move.plan.helm_release)
        if found.added and self.environment.drift.changes == "take_back":
            take_back(self.cluster, self.environment, found)
            said = f"{listed(found.owners)} set what the chart does not render ({listed(found.lines)})."
            detail = {"found": said, "fields": list(found.lines), "owners": list(found.owners)}
            note(move.registry, move.candidate, self.environment, EventKind.FIELDS_TAKEN_BACK, detail, move.run_id)
            return True
        return bool(found.changed)


def _of_helm(revision: HelmRevision) -> DeliveredRevision:
    return DeliveredRevision(helm_revision=revision.revision)
