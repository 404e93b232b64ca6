"""Commits a candidate to an environment's Git repository, which Argo CD follows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from blocks.errors import GitRejected, PipelineError
from blocks.facts.helm import merged
from blocks.facts.kinds import EventKind
from blocks.gitops import Checkout, CommitMessage, GitOps
from blocks.helm import Helm, HelmClient
from blocks.registry import Registry, RegistryClient
from flows.delivery import git_files
from flows.delivery.application import by_hand
from flows.delivery.engines import (
    Engines,
    Rearrange,
    engines_of,
    in_slot,
    only,
    restarted,
    restarts_what_serves,
    without,
)
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
        values = in_slot(_wanted_values(charts, wanted), _engines(tree, where).slot)
        tree.write(f"{where}/{VALUES}", git_files.values_text(tree.read(f"{where}/{VALUES}"), values, where))
        tree.write(f"{where}/{RELEASE}", git_files.release_text(tree.read(f"{where}/{RELEASE}"), wanted, provenance))
        # With the chart beside them, the values stay what they were whatever becomes of the chart elsewhere.
        tree.replace(f"{where}/{CHART}", charts.chart_files())
        return _published(tree, charts, wanted, git_files.message(candidate, environment, provenance))


@step
def commit_engines(repository: GitOps, helm: Helm, registry: Registry, wanted: Commit, *, rearrange: Rearrange, verb: str) -> str:
    """Have Git say that the environment goes on with its engines in another order; return the commit that does.

    Idempotent, and errors, as of `commit`.

    Raises:
        GitRejected: Besides, nothing is released there that a candidate could stand beside, or it would start again.
    """
    candidate, environment, where = wanted.candidate, wanted.environment, wanted.folder
    with registry.client() as known:
        provenance = provenance_of(known, wanted)
    with repository.client() as git, git.checkout() as tree, helm.client() as charts:
        if _engines(tree, where).serving is None:
            raise GitRejected(f"{where} of {git.url} says that nothing is released there that a candidate could stand beside.")
        before, text = _rendered(tree, charts, wanted), tree.read(f"{where}/{VALUES}")
        values = rearrange(git_files.values_of(text), _wanted_values(charts, wanted), charts.default_values())
        engines = engines_of(values)
        tree.write(f"{where}/{VALUES}", git_files.values_text(text, values, where))
        tree.write(f"{where}/{RELEASE}", git_files.engines_text(tree.read(f"{where}/{RELEASE}"), engines, wanted, provenance))
        if engines.beside == candidate.fingerprint:
            tree.replace(f"{where}/{CHART}", charts.chart_files())
        if restarted(before, _rendered(tree, charts, wanted)):
            raise GitRejected(restarts_what_serves(where))
        return _published(tree, charts, wanted, git_files.message(candidate, environment, provenance, verb))


@step
def commit_leaving(
    repository: GitOps, helm: Helm, environment: Environment, model: str, fingerprint: str, provenance: Provenance
) -> str | None:
    """Have Git say that the candidate goes, where another one is there as well; the commit that does, or none where it is not.

    Errors as of `commit`.
    """
    where = git_files.folder(model, environment.name)
    with repository.client() as git, git.checkout() as tree, helm.client() as charts:
        release, text = tree.read(f"{where}/{RELEASE}"), tree.read(f"{where}/{VALUES}")
        values = without(git_files.values_of(text), fingerprint) if git_files.promoted(release) is not None else None
        if values is None:
            return None
        here = tree.folder / where
        name = release_name(model, environment.name)
        before = charts.rendered(name, environment.namespace, here / CHART, here / VALUES)
        tree.write(f"{where}/{VALUES}", git_files.values_text(text, values, where))
        tree.write(f"{where}/{RELEASE}", git_files.left_text(release, engines_of(values), where))
        if restarted(before, charts.rendered(name, environment.namespace, here / CHART, here / VALUES)):
            raise GitRejected(restarts_what_serves(where))
        message = git_files.message_of_removal(model, environment.name, fingerprint, provenance)
        return tree.publish(where, message, topic=name)


def _wanted_values(charts: HelmClient, wanted: Commit) -> dict[str, Any]:
    return merged(charts.environment_values(wanted.environment.name), chart_values(wanted.candidate, wanted.environment, wanted.plan))


def _engines(tree: Checkout, where: str) -> Engines:
    """What Git says that runs there; values that stay after a removal say nothing."""
    if git_files.promoted(tree.read(f"{where}/{RELEASE}")) is None:
        return Engines(serving=None)
    return engines_of(git_files.values_of(tree.read(f"{where}/{VALUES}")))


def _rendered(tree: Checkout, charts: HelmClient, wanted: Commit) -> list[dict[str, Any]]:
    here = tree.folder / wanted.folder
    return charts.rendered(wanted.plan.helm_release, wanted.environment.namespace, here / CHART, here / VALUES)


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
        present = _engines(tree, where)
        if present.beside is not None and candidate.fingerprint in (present.serving, present.beside):
            # It is up: the endpoint leads to it, and what stood beside it goes.
            text = tree.read(f"{where}/{VALUES}")
            arranged = only(git_files.values_of(text), candidate.fingerprint)
            tree.write(f"{where}/{VALUES}", git_files.values_text(text, arranged, where))
            release = git_files.engines_text(tree.read(f"{where}/{RELEASE}"), engines_of(arranged), wanted, provenance)
            tree.write(f"{where}/{RELEASE}", release)
            return _published(tree, charts, wanted, git_files.message(candidate, environment, provenance, "back to"))
        source = verified or tree.last_with(f"{where}/{RELEASE}", candidate.fingerprint)
        if source is None:
            raise GitRejected(
                f"{git.url} never said that {environment.name} runs candidate {candidate.short}: release its hub revision "
                f"{candidate.commit} again instead."
            )
        chart_now = tree.files(f"{where}/{CHART}")
        tree.restore([f"{where}/{name}" for name in (VALUES, RELEASE, CHART)], source)
        if git_files.promoted(tree.read(f"{where}/{RELEASE}")) != candidate.fingerprint:
            raise GitRejected(
                f"{where} does not hold candidate {candidate.short} at commit {source[:12]} of {git.url}, with which it was verified: "
                f"release its hub revision {candidate.commit} again instead."
            )
        # The present pods hold GPUs that the old values may not have reckoned with.
        text = git_files.with_strategy(tree.read(f"{where}/{VALUES}"), wanted.plan.strategy, where)
        then, now = engines_of(git_files.values_of(text)), present.slot if present.serving is not None else None
        if then.beside is not None or now not in (None, then.slot):
            # What stood beside it then does not come back, and in the other slot all pods would go before these are up.
            text = git_files.values_text(text, in_slot(git_files.values_of(text), now or then.slot), where)
            alone = git_files.without_beside(tree.read(f"{where}/{RELEASE}"), where)
            tree.write(f"{where}/{RELEASE}", alone)
            if now == "b":
                # The chart of that time may know no slots.
                tree.replace(f"{where}/{CHART}", chart_now)
        tree.write(f"{where}/{VALUES}", text)
        return _published(tree, charts, wanted, git_files.message(candidate, environment, provenance, "back to"))


def _published(tree: Checkout, charts: HelmClient, wanted: Commit, message: CommitMessage) -> str:
    where, release = wanted.folder, wanted.plan.helm_release
    # What is there already was rendered before it was pushed.
    if tree.changed(where):
        _rendered(tree, charts, wanted)
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
