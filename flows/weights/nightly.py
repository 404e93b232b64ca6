"""The part of the nightly run that looks after weights: each node of what is live is scrubbed, and what is damaged is fetched again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from blocks.errors import PipelineError
from blocks.registry import Entry, Registry
from flows.node.layout import snapshot_folder
from flows.record.tasks import recall_candidate
from flows.runtime.blocks import Blocks, blocks_of, shared_hub
from flows.runtime.tasks import call, run
from flows.spec import Candidate, Deployments, Environment
from flows.weights.scrub import Scrubbed, scrub_rows
from flows.weights.tasks.prefetch import prefetch_everywhere
from flows.weights.tasks.scrub import nodes_of, publish_scrub, record_scrubbed, scrub


async def scrub_nodes(deployments: Deployments, registry: Registry, entries: Sequence[Entry], run_id: str) -> list[Scrubbed]:
    """Scrub every node that the entries' environments may use, all at the same time; what was found and done."""
    environments = [deployments.environment(name) for name in sorted({entry.environment for entry in entries})]
    blocks = {environment.name: await blocks_of(environment) for environment in environments}
    stores: dict[tuple[str, str, str], Environment] = {}
    for environment in environments:
        for node in await call(nodes_of, blocks[environment.name].cluster, environment):
            # Environments of one cluster share nodes; a store is scrubbed once.
            stores.setdefault((environment.blocks, environment.prefetch.store, node), environment)
    live = [await call(recall_candidate, registry, entry.model, entry.environment, entry.fingerprint or "") for entry in entries]

    async def one(node: str, environment: Environment) -> Scrubbed:
        # What is wrong with this node stops no other one.
        return await _scrub_one(deployments, registry, environment, blocks[environment.name], node, live, run_id)

    found = await asyncio.gather(*(one(node, environment) for (_, _, node), environment in stores.items()))
    told = [result.message for result in found]
    await call(publish_scrub, scrub_rows(dict(zip([node for _, _, node in stores], told, strict=True))))
    return list(found)


async def _scrub_one(
    deployments: Deployments,
    registry: Registry,
    environment: Environment,
    blocks: Blocks,
    node: str,
    live: Sequence[Candidate],
    run_id: str,
) -> Scrubbed:
    report = None
    try:
        report = await run(scrub, blocks.cluster, environment, node, run_id)
        await call(record_scrubbed, registry, environment, report, run_id)
        hub = await shared_hub(deployments)
        # The scrub has taken the manifest away: until it is fetched again no engine starts from that snapshot.
        for candidate in {c.fingerprint: c for c in live if snapshot_folder(c.repository, c.commit) in report.snapshots}.values():
            await call(prefetch_everywhere, blocks.cluster, registry, candidate, environment, [node], run_id, hub.endpoint)
    except PipelineError as exc:
        return Scrubbed(report=report, error=exc)
    return Scrubbed(report=report)
