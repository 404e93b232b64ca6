"""Makes the candidate: resolves the hub revision once, reads what model it is, and takes the digests of everything else."""

from __future__ import annotations

from dataclasses import dataclass

from prefect import task

from blocks.helm import Helm
from blocks.hub import Hub
from flows.candidate.admission import refuse_model
from flows.candidate.files import select_files, weight_files
from flows.errors import Refusal, raise_first
from flows.runtime.tasks import OBSERVES
from flows.spec import Candidate, Model


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A candidate, and why its model may be served nowhere (empty if it may)."""

    candidate: Candidate
    refusals: tuple[Refusal, ...]


def _resolve(hub: Hub, helm: Helm, model: Model, revision: str) -> Resolved:
    with hub.client() as client:
        commit = client.commit(model.repository, revision)
        # Chosen twice: what was read of the weights and the configuration tells whether the repository's code is needed, too.
        names = [file.path for file in select_files(model.repository, commit.files)]
        # Some kilobytes, by range requests: `config.json`, and the headers of these files.
        about = client.describe(commit, weight_files(names))
    with helm.client() as charts:
        chart_digest = charts.chart_digest()
    # Allowed is not enough: `--trust-remote-code` is for models that ask for it.
    remote_code = model.allow_remote_code and bool(about.remote_code)
    candidate = Candidate(
        model=model.name,
        repository=model.repository,
        commit=commit.commit,
        files=select_files(model.repository, commit.files, remote_code=remote_code),
        image=model.image,
        chart_digest=chart_digest,
        engine=model.engine,
        remote_code=remote_code,
        about=about,
    )
    return Resolved(candidate=candidate, refusals=tuple(refuse_model(model, commit.files, about)))


@task(task_run_name="resolve {model.name} at {revision}", **OBSERVES)
def resolve(hub: Hub, helm: Helm, model: Model, revision: str) -> Candidate:
    """Resolve the model's revision to a candidate. Reads only; a run that has begun with a candidate keeps that one (`begun_with`).

    Raises:
        HubRejected: The repository or revision does not exist, may not be read, or is not what it says.
        HubUnreachable: The hub did not answer; retried.
        HelmRejected: The chart cannot be packaged.
        Refusal: The repository is not what Slipway serves: formats, code of its own, missing files.
    """
    resolved = _resolve(hub, helm, model, revision)
    raise_first(resolved.refusals, model.name)
    return resolved.candidate


@task(task_run_name="inspect {model.name} at {revision}", **OBSERVES)
def inspect(hub: Hub, helm: Helm, model: Model, revision: str) -> Resolved:
    """Resolve the model's revision to the candidate that a release would make, with everything that speaks against it.

    Raises:
        HubRejected: The repository or revision does not exist, may not be read, or is not what it says.
        HubUnreachable: The hub did not answer; retried.
        HelmRejected: The chart cannot be packaged.
        Refusal: There is no model to be found in it.
    """
    return _resolve(hub, helm, model, revision)
