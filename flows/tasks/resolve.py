"""Makes the candidate: resolves the hub revision once, and takes the digests of everything else."""

from __future__ import annotations

from prefect import task

from blocks.helm import Helm
from blocks.hub import Hub
from flows.plan.files import select_files
from flows.spec import Candidate, Model
from flows.tasks.policy import WRITES


@task(task_run_name="resolve {model.name} at {revision}", **WRITES)
def resolve(hub: Hub, helm: Helm, model: Model, revision: str) -> Candidate:
    """Resolve the model's revision to a candidate. Reads only; a resumed run keeps the candidate that it began with.

    Raises:
        HubRejected: The repository or revision does not exist, or may not be read.
        HubUnreachable: The hub did not answer; retried.
        HelmRejected: The chart cannot be packaged.
        Refusal: The repository's files are not what Slipway serves.
    """
    with hub.client() as client:
        commit = client.commit(model.repository, revision)
    with helm.client() as charts:
        chart_digest = charts.chart_digest()
    return Candidate(
        model=model.name,
        repository=model.repository,
        commit=commit.commit,
        files=select_files(model.repository, commit.files),
        image=model.image,
        chart_digest=chart_digest,
        engine=model.engine,
    )
