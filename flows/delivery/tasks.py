"""The steps of a run that change what a cluster runs."""

from __future__ import annotations

from prefect import task

from flows.delivery.deliver import back_end
from flows.delivery.move import DeliveredRevision, Move
from flows.delivery.provenance import Provenance
from flows.rollout.tasks import shows_diagnosis
from flows.runtime.tasks import OBSERVES


@task(task_run_name="deploy {move.candidate.model} to {move.environment.name}", **OBSERVES)
def deploy(move: Move) -> DeliveredRevision:
    """Have the cluster run the candidate, which may be new there, in place of what serves or beside it; does not wait for pods.

    Idempotent: what carries the candidate already is left alone. What a killed operation left is recorded and put right first.

    Raises:
        Transient: Helm, the cluster or Git did not answer, or is busy; retried.
        HelmRejected, GitRejected, ApplicationUnfit, SyncStalled: They refuse; `untouched` tells whether anything was changed.
        SpecInvalid: A value looks like a secret, or a file in Git is not YAML.
    """
    with shows_diagnosis(move.candidate.model, move.where):
        delivery = back_end(move.blocks, move.environment)
        return delivery.deliver_beside(move) if move.plan.by_canary else delivery.deliver(move)


@task(task_run_name="roll back {move.candidate.model} in {move.environment.name}", **OBSERVES)
def roll_back(move: Move) -> DeliveredRevision:
    """Have the cluster run the candidate as it did before; does not wait for pods. Idempotence and errors as of `deploy`."""
    with shows_diagnosis(move.candidate.model, move.where):
        return back_end(move.blocks, move.environment).roll_back(move)


@task(task_run_name="remove {move.candidate.model} from {move.environment.name}", **OBSERVES)
def remove(move: Move) -> None:
    """Take away what the candidate's Helm release or Application made; what another candidate made stays.

    Raises:
        PipelineError: It cannot be taken away; the message says what is left.
    """
    provenance = Provenance(run_id=move.run_id, requester=move.requester, reason=move.reason)
    back_end(move.blocks, move.environment).remove(move.candidate.model, move.candidate.fingerprint, provenance)
