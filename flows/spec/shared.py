"""What all environments share, as `deployments/shared.yaml` names it."""

from __future__ import annotations

from dataclasses import dataclass

from flows.spec.types import STRICT, DnsLabel


@dataclass(frozen=True, kw_only=True)
class Shared:
    """Names of the blocks, as saved in Prefect, that are the same for all environments.

    Attributes:
        registry: The `Registry` block.
        hub: The `Hub` block.
        health_cache: The `HealthCache` block, for routers that read health checks from Redis; none without it.
    """

    __pydantic_config__ = STRICT

    registry: DnsLabel = "default"
    hub: DnsLabel = "default"
    health_cache: DnsLabel | None = None
