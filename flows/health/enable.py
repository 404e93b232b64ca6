"""Puts a model back into routing that a person took out: only if it answers."""

from __future__ import annotations

import asyncio

from blocks.endpoint import Endpoint
from blocks.endpoint.health import Probe, probe_all
from blocks.registry import Entry
from flows.errors import VerificationFailed
from flows.health.tasks import TIMEOUT_SECONDS
from flows.runtime.blocks import Blocks, blocks_of, shared_registry
from flows.runtime.endpoints import keyed
from flows.spec import Deployments, Environment


async def enable(model: str, environment_name: str, reason: str, actor: str) -> Entry | None:
    """Enable the model in the environment; return the entry that holds the endpoint, None if a failed release took it.

    Raises:
        VerificationFailed: Its endpoint does not answer; the model stays out.
        RegistryRejected: Nothing there can be put back.
    """
    deployments = Deployments.default()
    environment = deployments.environment(environment_name)
    endpoint = await asyncio.to_thread(_way, await blocks_of(environment), environment)
    registry = await shared_registry(deployments)
    with registry.client() as client:
        before = await asyncio.to_thread(client.current, model, environment_name)
        # Only what would be routed at once must answer; anything else comes back as what it was.
        if before is not None and before.disabled_from == "ready":
            look = Probe(endpoint=before.endpoint or "", model=model)
            (what,) = await probe_all(endpoint.access(), [look], at_once=1, timeout_seconds=TIMEOUT_SECONDS)
            if what is not None:
                raise VerificationFailed(f"{model} stays out of {environment_name}: {what}. Mend it, or release it again.")
        return await asyncio.to_thread(client.switch.enable, model, environment_name, reason=reason, actor=actor)


def _way(blocks: Blocks, environment: Environment) -> Endpoint:
    with blocks.cluster.client() as cluster:
        return keyed(blocks.endpoint, cluster, environment)
