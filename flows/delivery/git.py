"""Commits a candidate to an environment's Git repository, which Argo CD follows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from blocks.errors import GitRejected, PipelineError
from blocks.facts.helm import merged
from blocks.facts.kinds import EventKind
from blocks.gitops import Checkout, CommitMessage, GitOps
from blocks.helm import Helm, HelmClient
from blocks.registry import Registry, RegistryClient
from flows.delivery import git_files
from flows.delivery.application import by_hand
from flows.delivery.git_files import CHART, RELEASE, VALUES, Commit
from flows.delivery.provenance import GivenApproval, Provenance
from flows.delivery.values import chart_values
from flows.naming import release_name
from flows.record.tasks import last_evidence
from flows.runtime.tasks import step
from flows.spec import Candidate, Environment


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
        provenance = provenance_of(known, wanted)
    with repository.client() as git, git.checkout() as tree, helm.client() as charts:
        # Argo CD reads this one file, so it holds what Helm is given in two: the chart's own for the environment, and ours.
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
        verified = verified_commit(known, candidate, environment)
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


def _published(tree: Checkout, charts: HelmClient, wanted: Commit, message: CommitMessage) -> str:
    where, release = wanted.folder, wanted.plan.helm_release
    # What is there already was rendered before it was pushed.
    if tree.changed(where):
        here = tree.folder / where
        charts.rendered(release, wanted.environment.namespace, here / CHART, here / VALUES)
    return tree.publish(where, message, topic=release)


def provenance_of(known: RegistryClient, wanted: Commit) -> Provenance:
    """Why the candidate may go there, by the record: what its approvers decided on, or else its verdict in the environment before."""
    candidate, environment = wanted.candidate, wanted.environment
    here = (wanted.run_id, candidate.model, environment.name, candidate.fingerprint)
    asked = known.runs.own_events(*here, [EventKind.APPROVAL_REQUESTED])
    # What the approvers were shown counts, not what was verified while they thought about it.
    evidence = asked[-1].detail.get("evidence_sha256") if asked else last_evidence(known, candidate, environment.after)
    return Provenance(
        run_id=wanted.run_id,
        requester=wanted.requester,
        evidence_sha256=str(evidence) if evidence else None,
        approvals=tuple(
            GivenApproval(approver=str(event.actor), at=event.occurred_at, emergency=bool(event.detail.get("emergency")))
            for event in known.approvals.who_approved(*here)
        ),
        reason=wanted.reason,
    )


def verified_commit(known: RegistryClient, candidate: Candidate, environment: Environment) -> str | None:
    """The commit with which the candidate last became ready in the environment; none if it was no commit, or it never did."""
    ready = known.events.last_ready(candidate.model, environment.name, candidate.fingerprint)
    found = ready.detail.get("git_commit") if ready is not None else None
    return str(found) if found else None


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
        # None where it says nothing already, perhaps by this very run before it was killed: the commit is found then.
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
        # The same class, since whether it is retried is a property of the class.
        left = f"Git says since {commit[:12]} that nothing is released there, but pods may hold GPUs until Argo CD has synced it"
        raise type(exc)(f"{exc.message} {left}: {by_hand(application, namespace, commit)}", **exc.facts) from exc
