"""The revalidation flow: checks everything that is live, and takes out of `ready` what does not answer as it should."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from prefect import flow, runtime
from prefect.client.schemas.objects import State

from blocks.errors import PipelineError, SnapshotCorrupt
from blocks.facts.kinds import EventKind
from blocks.registry import Entry, Registry
from flows.delivery.drift import Drift, drift_page
from flows.delivery.live import find_drift
from flows.errors import Drifted, VerificationFailed, worst_of
from flows.naming import endpoint
from flows.promotion.tasks import revalidate_entry
from flows.record.tasks import live_entries, note, recall_candidate
from flows.runtime.artifacts import show_page, show_table
from flows.runtime.blocks import blocks_of, shared_registry
from flows.runtime.json_logs import about
from flows.runtime.states import ended
from flows.runtime.tasks import RESULTS, call, foreseen, run
from flows.spec import Deployments
from flows.spec.types import EnvironmentName
from flows.text.markdown import Markdown, code, heads, md, page, row
from flows.verification.attempts import Attempts
from flows.verification.evidence import VerifiedEvidence
from flows.verification.summary import measurement_rows
from flows.weights.nightly import scrub_nodes
from flows.weights.scrub import Scrubbed, mended, unmended

#: Endpoints that are checked at the same time: enough to be quick, few enough not to disturb each other's latencies.
AT_ONCE = 4


@flow(name="revalidate", persist_result=True, result_serializer=RESULTS)
async def revalidate(
    environments: list[EnvironmentName] = [],  # noqa: B006  # Prefect shows the default in its form
    scrub: bool = True,
) -> State[Any] | dict[str, Any]:
    """Verify every entry that serves, record it, and set `degraded` what fails (or `ready` again what recovered).

    Look whether the cluster is still what Helm rendered, or where Argo CD delivers, whether the Application, Git and the cluster are what
    was recorded. Then hash what lies on the nodes again; damaged weights are taken away, and fetched again where they serve.

    Args:
        environments: Environments to check, for example production. Empty: all of them.
        scrub: Whether to hash the weights on the nodes as well, which takes as long as reading all of them.
    """
    try:
        with foreseen("Revalidating"):
            return await _revalidate(environments, scrub)
    except PipelineError as exc:
        return ended(exc)


async def _revalidate(wanted: list[str], scrub: bool) -> dict[str, Any]:
    deployments = Deployments.default()
    registry = await shared_registry(deployments)
    for name in wanted:
        deployments.environment(name)  # refuses a name that is not one
    with registry.kept_open():
        return await _revalidate_live(deployments, registry, wanted, scrub)


async def _revalidate_live(deployments: Deployments, registry: Registry, wanted: list[str], scrub: bool) -> dict[str, Any]:
    run_id = str(runtime.flow_run.id)
    entries = [e for e in await call(live_entries, registry) if not wanted or e.environment in wanted]
    room = asyncio.Semaphore(AT_ONCE)

    async def one(entry: Entry) -> VerifiedEvidence | PipelineError:
        async with room:
            try:
                with foreseen(f"Revalidating {_name(entry)}"):
                    return await _revalidate_one(deployments, registry, entry, run_id)
            except PipelineError as exc:
                return exc  # this entry could not be checked; the others still are

    results = dict(zip([_name(entry) for entry in entries], await asyncio.gather(*map(one, entries)), strict=True))
    proofs = {name: result for name, result in results.items() if isinstance(result, VerifiedEvidence)}
    drifted = await _drifts(deployments, registry, entries, run_id)
    drifts = {name: found for name, found in drifted.items() if isinstance(found, tuple) and found}
    await call(show_page, "revalidation", _page(results) + drift_page(drifts), md("What is live, and whether it still answers"))
    await call(show_table, "revalidation-measurements", measurement_rows(proofs), md("Every measurement of the verification"))
    # Last, as it takes as long as reading all weights: the pages are there by then.
    scrubbed = await scrub_nodes(deployments, registry, entries, run_id) if scrub and entries else []
    unseen = [result for result in (*results.values(), *drifted.values()) if isinstance(result, PipelineError)]
    if worst := worst_of(_wrong(len(entries), proofs, drifts, unseen, scrubbed)):
        raise worst
    return {"checked": len(entries), "nodes_scrubbed": len(scrubbed)}


def _wrong(
    live: int,
    proofs: Mapping[str, VerifiedEvidence],
    drifts: Mapping[str, Sequence[Drift]],
    unseen: Sequence[PipelineError],
    scrubbed: Sequence[Scrubbed],
) -> list[PipelineError]:
    """Everything that is wrong, the worst first: what users get, weights that nobody can start from, what runs and is not what was
    recorded, what was not seen, and what was wrong and is mended.

    Args:
        live: How many entries serve.
        proofs: What was measured of them.
        drifts: What is not as it was recorded.
        unseen: Why something could not be looked at.
        scrubbed: What was found on the nodes.
    """
    wrong: list[PipelineError] = []
    if failed := [f"{name}: {proof.verdict.message}" for name, proof in proofs.items() if proof.verdict.outcome != "passed"]:
        wrong.append(VerificationFailed(f"{len(failed)} of {live} live entries do not answer as they should; {'; '.join(failed)}."))
    if sentence := unmended(scrubbed):
        wrong.append(SnapshotCorrupt(sentence))
    if drifts:
        said = " ".join(drift.message for found in drifts.values() for drift in found)
        wrong.append(Drifted(f"{len(drifts)} of {live} live entries are not as they were recorded: {said}"))
    wrong += unseen
    wrong += [one.error for one in scrubbed if one.report is None and one.error is not None]
    if sentence := mended(scrubbed):
        wrong.append(SnapshotCorrupt(sentence))
    return wrong


async def _revalidate_one(deployments: Deployments, registry: Registry, entry: Entry, run_id: str) -> VerifiedEvidence:
    about(model=entry.model, environment=entry.environment, candidate=entry.fingerprint or "")
    environment = deployments.environment(entry.environment)
    suite = deployments.suite(deployments.model(entry.model).checks)
    candidate = await call(recall_candidate, registry, entry.model, entry.environment, entry.fingerprint or "")
    address = entry.endpoint or endpoint(entry.model, environment.name, environment.namespace)
    blocks = await blocks_of(environment)
    return await run(revalidate_entry, registry, blocks, environment, entry, candidate, address, suite, run_id, Attempts())


async def _drifts(
    deployments: Deployments, registry: Registry, entries: list[Entry], run_id: str
) -> dict[str, tuple[Drift, ...] | PipelineError]:
    """What has drifted of each entry, recorded as an event."""
    found: dict[str, tuple[Drift, ...] | PipelineError] = {}
    for entry in entries:
        try:
            with foreseen(f"Looking whether {_name(entry)} drifted"):
                found[_name(entry)] = await _drift(deployments, registry, entry, run_id)
        except PipelineError as exc:
            found[_name(entry)] = exc
    return found


async def _drift(deployments: Deployments, registry: Registry, entry: Entry, run_id: str) -> tuple[Drift, ...]:
    environment = deployments.environment(entry.environment)
    drifts = await find_drift(await blocks_of(environment), environment, entry)
    if drifts:
        detail = {"found": [{"kind": one.kind, "sentence": one.message, "difference": list(one.difference)} for one in drifts]}
        candidate = await call(recall_candidate, registry, entry.model, entry.environment, entry.fingerprint or "")
        await call(note, registry, candidate, environment, EventKind.DRIFTED, detail, run_id)
    return drifts


def _name(entry: Entry) -> str:
    return f"{entry.model} in {entry.environment}"


def _page(results: dict[str, VerifiedEvidence | PipelineError]) -> Markdown:
    def cells(result: VerifiedEvidence | PipelineError) -> tuple[object, object]:
        if isinstance(result, PipelineError):
            return f"could not be checked: {result.message}", "none"
        return result.verdict.message, code(result.ref.sha256[:12])

    rows = [row(name, *cells(result)) for name, result in results.items()]
    title = md("## Revalidation\n")
    return page(title, heads("entry", "verdict", "evidence"), *rows) if rows else page(title, md("Nothing is live."))
