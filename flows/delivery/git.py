"""Commits a candidate to an environment's Git repository, which Argo CD follows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from blocks.errors import GitRejected, PipelineError
from blocks.facts.helm import merged
from blocks.facts.kinds import EventKind
from blocks.gitops import Checkout, GitOps
from blocks.helm import Helm, HelmClient
from blocks.registry import Event, Registry, RegistryClient
from flows.delivery import git_files
from flows.delivery.application import by_hand
from flows.delivery.git_files import CHART, RELEASE, VALUES, Commit, GivenApproval, Provenance
from flows.delivery.values import chart_values
from flows.naming import release_name
from flows.runtime.tasks import step
from flows.spec import Candidate, Environment

#: Events that are looked through for the commit with which a candidate was verified, newest first.
_LOOKED_THROUGH = 1000


@step
def commit(repository: GitOps, helm: Helm, registry: Registry, wanted: Commit) -> str:
    """Have Git say that the environment runs the candidate: its values, its chart and the grounds; return the commit that does.

    Idempotent: where Git says so already, the commit is the one that made it so. What would not render is never committed.

    Raises:
        SpecInvalid: A value looks like a secret, or a file in Git is not YAML.
        HelmRejected: The values do not match the chart's schema, or the chart refuses them.
        GitRejected: The repository, its branch or its forge refuses, or somebody else changed these files meanwhile.
        GitUnreachable: The repository did not answer.
        GitConflict: Others pushed first each time.
    """
    candidate, environment, where = wanted.candidate, wanted.environment, wanted.folder
    with registry.client() as known:
        provenance = _provenance(known, wanted)
    with repository.client() as git, git.checkout() as tree, helm.client() as charts:
        values = merged(charts.environment_values(environment.name), chart_values(candidate, environment, wanted.plan))
        tree.write(f"{where}/{VALUES}", git_files.values_text(tree.read(f"{where}/{VALUES}"), values, where))
        release = git_files.release_text(tree.read(f"{where}/{RELEASE}"), candidate, environment, wanted.plan, provenance)
        tree.write(f"{where}/{RELEASE}", release)
        # With the chart beside them, the values stay what they were whatever becomes of the chart elsewhere.
        tree.replace(f"{where}/{CHART}", charts.chart_files())
        return _published(tree, charts, wanted, git_files.message(candidate, environment, provenance))


@step
def commit_rollback(repository: GitOps, helm: Helm, registry: Registry, wanted: Commit) -> str:
    """Have Git say again what it said when the candidate was verified in the environment; return the commit that does.

    Not `git revert`: between the two there may be failed releases, and other commits than ours. The files are those of the verified commit,
    byte by byte but for the strategy of the rollout, in a new commit on top. Idempotent, and errors, as of `commit`.

    Raises:
        GitRejected: Besides, no commit that carried the candidate is known.
    """
    candidate, environment, where = wanted.candidate, wanted.environment, wanted.folder
    with registry.client() as known:
        verified = _verified_commit(known, candidate, environment)
    provenance = Provenance(run_id=wanted.run_id, requester=wanted.requester, reason=wanted.reason)
    with repository.client() as git, git.checkout() as tree, helm.client() as charts:
        source = verified or tree.last_with(f"{where}/{RELEASE}", candidate.fingerprint)
        if source is None:
            raise GitRejected(
                f"{git.url} never said that {environment.name} runs candidate {candidate.short}: release its hub revision "
                f"{candidate.commit} again instead."
            )
        tree.restore([f"{where}/{name}" for name in (VALUES, RELEASE, CHART)], source)
        if git_files.promoted(tree.read(f"{where}/{RELEASE}")) != candidate.fingerprint:
            raise GitRejected(
                f"{where} does not hold candidate {candidate.short} at commit {source[:12]} of {git.url}, with which it was verified: "
                f"release its hub revision {candidate.commit} again instead."
            )
        # The present pods hold GPUs that the old values may not have reckoned with.
        tree.write(f"{where}/{VALUES}", git_files.with_strategy(tree.read(f"{where}/{VALUES}"), wanted.plan.strategy, where))
        return _published(tree, charts, wanted, git_files.message(candidate, environment, provenance, back=True))


def _published(tree: Checkout, charts: HelmClient, wanted: Commit, message: str) -> str:
    where, release = wanted.folder, wanted.plan.helm_release
    if tree.changed(where):
        here = tree.folder / where
        charts.rendered(release, wanted.environment.namespace, here / CHART, here / VALUES)
    return tree.publish(where, message, topic=release)


def _provenance(known: RegistryClient, wanted: Commit) -> Provenance:
    """Why the candidate may go there, by the record: what its approvers decided on, or else its verdict in the environment before."""
    candidate, environment = wanted.candidate, wanted.environment
    gate = known.events(model=candidate.model, environment=environment.name, run_id=wanted.run_id)
    asked = next(
        (event for event in gate if event.kind == EventKind.APPROVAL_REQUESTED and event.fingerprint == candidate.fingerprint), None
    )
    evidence = asked.detail.get("evidence_sha256") if asked else _verdict(known, candidate, environment)
    return Provenance(
        run_id=wanted.run_id,
        requester=wanted.requester,
        evidence_sha256=str(evidence) if evidence else None,
        approvals=_approvals(gate),
        reason=wanted.reason,
    )


def _approvals(gate: Sequence[Event]) -> tuple[GivenApproval, ...]:
    """Who let the run pass, with each one's last answer, by name."""
    granted = next((event for event in gate if event.kind == EventKind.APPROVAL_GRANTED), None)
    names = granted.detail.get("approvers") if granted else None
    counted = sorted(map(str, names)) if isinstance(names, list) else []
    latest = {event.actor: event for event in reversed(gate) if event.kind == EventKind.APPROVED}
    return tuple(
        GivenApproval(approver=name, at=latest[name].occurred_at, emergency=bool(latest[name].detail.get("emergency")))
        for name in counted
        if name in latest
    )


def _verdict(known: RegistryClient, candidate: Candidate, environment: Environment) -> object:
    if environment.after is None:
        return None
    return _last_ready(known, candidate, environment.after, "evidence_sha256")


def _verified_commit(known: RegistryClient, candidate: Candidate, environment: Environment) -> str | None:
    found = _last_ready(known, candidate, environment.name, "git_commit")
    return str(found) if found else None


def _last_ready(known: RegistryClient, candidate: Candidate, environment: str, detail: str) -> object:
    events = known.events(model=candidate.model, environment=environment, limit=_LOOKED_THROUGH)
    return next(
        (event.detail.get(detail) for event in events if event.kind == EventKind.READY and event.fingerprint == candidate.fingerprint), None
    )


@step
def commit_removal(repository: GitOps, model: str, environment: str, fingerprint: str, provenance: Provenance) -> str | None:
    """Have Git say that nothing is released there; the commit that does, or none where Git says something else than the candidate.

    The chart becomes one that renders to nothing. The values stay: the next release writes them, and people's comments are in them.
    Idempotent: where Git says so already, the commit is the one that made it so.

    Raises:
        SpecInvalid: A file in Git is not YAML.
        GitRejected: The repository, its branch or its forge refuses, or somebody else changed these files meanwhile.
        GitUnreachable: The repository did not answer.
        GitConflict: Others pushed first each time.
    """
    where = git_files.folder(model, environment)
    with repository.client() as git, git.checkout() as tree:
        before = tree.read(f"{where}/{RELEASE}")
        if before is None or git_files.promoted(before) not in (None, fingerprint):
            return None
        tree.write(f"{where}/{RELEASE}", git_files.removed_text(before, where))
        tree.replace(f"{where}/{CHART}", git_files.empty_chart())
        message = git_files.message_of_removal(model, environment, fingerprint, provenance)
        return tree.publish(where, message, topic=release_name(model, environment))


@contextmanager
def or_by_hand(application: str, namespace: str, commit: str) -> Iterator[None]:
    """Has an error of the sync that takes everything away say what is left, and what a person types."""
    try:
        yield
    except PipelineError as exc:
        left = f"Git says since {commit[:12]} that nothing is released there, but pods may hold GPUs until Argo CD has synced it"
        raise type(exc)(f"{exc.message} {left}: {by_hand(application, namespace, commit)}", **exc.facts) from exc
