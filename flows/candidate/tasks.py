"""Makes the candidate: resolves the hub revision once, reads what model it is, and takes the digests of everything else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from prefect import task
from prefect.logging import get_run_logger

from blocks.facts import HubCommit
from blocks.facts.model import ModelFacts
from blocks.helm import Helm
from blocks.hub import Hub
from flows.candidate.admission import refuse_model
from flows.candidate.files import LeftOut, folder_of, index_path, left_out, select_files, weight_files
from flows.errors import Refusal, raise_first
from flows.runtime.tasks import OBSERVES
from flows.spec import Candidate, Model, SnapshotFile

if TYPE_CHECKING:
    from blocks.hub.client import HubClient


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A candidate, and what people should know of how it came about.

    Attributes:
        candidate: The candidate.
        refusals: Why its model may be served nowhere; empty if it may.
        left_out: What of its repository no node gets, and why.
        notes: What else is to be told, a sentence each.
    """

    candidate: Candidate
    refusals: tuple[Refusal, ...]
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Found:
    """A model as it lies on the hub.

    Attributes:
        commit: The commit, with all its files.
        index: Where its index has each tensor; none if it has no index.
        files: What an engine needs of it.
        about: What model it is.
        remote_code: Whether code of the repository is among the files, and runs.
    """

    commit: HubCommit
    index: Mapping[str, str] | None
    files: tuple[SnapshotFile, ...]
    about: ModelFacts
    remote_code: bool


def find(client: HubClient, model: Model, revision: str) -> Found:
    """Find the model on the hub, and look into it: some kilobytes, by range requests. No weights are fetched.

    Raises:
        HubRejected: The repository or revision does not exist, may not be read, or is not what it says.
        HubUnreachable: The hub did not answer.
        Refusal: There is no model to be found in it.
    """
    load_format, subfolder = model.engine.load_format, model.subfolder
    commit = client.commit(model.repository, revision)
    path = index_path(commit.files, subfolder=subfolder, load_format=load_format)
    index = client.index(commit, path) if path is not None else None
    select = partial(select_files, commit.repository, commit.files, index=index, subfolder=subfolder, load_format=load_format)
    # Chosen twice: what is read of the weights and the configuration tells whether the repository's code is needed, too.
    weights = weight_files(file.path for file in select())
    about = client.describe(commit, weights, folder=folder_of(subfolder), index=index, mistral=load_format == "mistral")
    # Allowed is not enough: `--trust-remote-code` is for models that ask for it.
    remote_code = model.allow_remote_code and bool(about.remote_code)
    return Found(commit=commit, index=index, files=select(remote_code=remote_code), about=about, remote_code=remote_code)


def _resolve(hub: Hub, helm: Helm, model: Model, revision: str) -> Resolved:
    with hub.client() as client:
        found = find(client, model, revision)
    with helm.client() as charts:
        chart_digest = charts.chart_digest()
    commit = found.commit
    candidate = Candidate(
        model=model.name,
        repository=commit.repository,
        commit=commit.commit,
        files=found.files,
        image=model.image,
        chart_digest=chart_digest,
        engine=model.engine,
        subfolder=model.subfolder,
        remote_code=found.remote_code,
        about=found.about,
    )
    return Resolved(
        candidate=candidate,
        refusals=tuple(refuse_model(model, commit.files, found.about)),
        left_out=left_out(commit.files, found.files, subfolder=model.subfolder, load_format=model.engine.load_format),
        notes=commit.notes,
    )


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
    for note in resolved.notes:
        get_run_logger().warning(note)
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
