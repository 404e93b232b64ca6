"""Lets the environments of a site be delivered by Argo CD, with the objects that `deployments/gitops` ships."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from kubernetes.config import new_client_from_config

from blocks.argocd import Argo
from blocks.gitops import GitOps
from sandbox.git import BareRepository
from tests.flows.conftest import Site
from tests.gitops.layout import FOLDER, Following, applied, documents


@dataclass(kw_only=True)
class Followed:
    """A Git repository, and the Applications that follow it.

    Attributes:
        model: Whose.
        repository: The repository.
        applications: The Applications, by environment.
    """

    model: str
    repository: BareRepository
    applications: dict[str, Following] = field(default_factory=dict)

    def folder(self, environment: str = "development") -> str:
        """The model's folder in Git."""
        return f"environments/{environment}/{self.model}"

    def read(self, name: str, environment: str = "development", commit: str | None = None) -> dict[str, Any]:
        """What a file of that folder says."""
        document: dict[str, Any] = yaml.safe_load(self.repository.read(f"{self.folder(environment)}/{name}", commit))
        return document


@contextmanager
def followed_by_argo(site: Site, folder: Path, *environments: str) -> Iterator[Followed]:
    """Have Argo CD deliver these environments of the site, as `docs/gitops.md` sets it up."""
    repository = BareRepository(folder / "models.git")
    repository.commit({f"argocd/{path.relative_to(FOLDER)}": path.read_text() for path, _ in documents()}, "what it begins with")
    kubeconfig = site.world.cluster.kubeconfig
    GitOps(url=repository.url).save(site.blocks)
    Argo(kubeconfig=kubeconfig).save(site.blocks)
    followed = Followed(model=site.model, repository=repository)
    with ExitStack() as open_, new_client_from_config(str(kubeconfig)) as api:
        for name in environments:
            site.edit(f"environments/{name}.yaml", delivery="argocd")
            one = applied(api, name, site.model, repository.url, f"{name}-{site.name}")
            followed.applications[name] = open_.enter_context(one)
        yield followed
