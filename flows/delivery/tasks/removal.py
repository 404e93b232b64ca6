"""Commits that nothing is released where a candidate failed that nothing came before, so that it keeps no GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prefect import task

from blocks.errors import PipelineError
from blocks.gitops import GitOps
from flows.delivery import git_files
from flows.delivery.application import by_hand
from flows.delivery.git_files import CHART, RELEASE, Grounds
from flows.naming import release_name
from flows.runtime.tasks import OBSERVES


@task(task_run_name="commit removal from {environment}", **OBSERVES)
def commit_removal(repository: GitOps, model: str, environment: str, fingerprint: str, grounds: Grounds) -> str | None:
    """Have Git say that nothing is released there; the commit that does, or none where Git says something else than the candidate.

    The chart becomes one that renders to nothing. The values stay: the next release writes them, and people's comments are in them.
    Idempotent: where Git says so already, the commit is the one that made it so.

    Raises:
        SpecInvalid: A file in Git is not YAML.
        GitRejected: The repository, its branch or its forge refuses, or somebody else changed these files meanwhile.
        GitUnreachable: The repository did not answer; retried.
        GitConflict: Others pushed first each time; retried.
    """
    where = git_files.folder(model, environment)
    with repository.client() as git, git.checkout() as tree:
        before = tree.read(f"{where}/{RELEASE}")
        if before is None or git_files.promoted(before) not in (None, fingerprint):
            return None
        tree.write(f"{where}/{RELEASE}", git_files.removed_text(before, where))
        tree.replace(f"{where}/{CHART}", git_files.empty_chart())
        message = git_files.message_of_removal(model, environment, fingerprint, grounds)
        return tree.publish(where, message, topic=release_name(model, environment))


@contextmanager
def or_by_hand(application: str, namespace: str, commit: str) -> Iterator[None]:
    """Has an error of the sync that takes everything away say what is left, and what a person types."""
    try:
        yield
    except PipelineError as exc:
        left = f"Git says since {commit[:12]} that nothing is released there, but pods may hold GPUs until Argo CD has synced it"
        raise type(exc)(f"{exc.message} {left}: {by_hand(application, namespace, commit)}", **exc.facts) from exc
