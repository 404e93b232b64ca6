"""What a delivery left behind that names it: a revision of the Helm release, or a commit that Argo CD went to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """How the cluster got what it runs; exactly one of the two is set.

    Attributes:
        helm_revision: Number in `helm history`, where the flow runs Helm.
        git_commit: The commit, where Argo CD follows Git.
    """

    helm_revision: int | None = None
    git_commit: str | None = None
