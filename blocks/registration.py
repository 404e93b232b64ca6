"""All blocks in one module: `prefect block register --module blocks.registration` makes them known to a Prefect server."""

from __future__ import annotations

from blocks.argocd import Argo
from blocks.cluster import Cluster
from blocks.endpoint import Endpoint
from blocks.gitops import GitOps
from blocks.health_cache import HealthCache
from blocks.helm import Helm
from blocks.hub import Hub
from blocks.registry import Registry

__all__ = ["Argo", "Cluster", "Endpoint", "GitOps", "HealthCache", "Helm", "Hub", "Registry"]
