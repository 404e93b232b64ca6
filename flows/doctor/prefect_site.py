"""Gathers what this checkout wants of Prefect, and what is there: five requests with one work pool."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.client.schemas.objects import WorkerStatus
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound

from flows.doctor.rules.facts import PrefectFacts, WantedDeployment
from flows.errors import SpecInvalid
from flows.runtime.client import prefect_client
from flows.spec import Deployments
from flows.spec.load import ROOT

#: What the checkout deploys.
MANIFEST = ROOT / "prefect.yaml"


def prefect_facts(deployments: Deployments, manifest: Path = MANIFEST) -> PrefectFacts:
    """What is wanted and what is there.

    Raises:
        SpecInvalid: Prefect cannot be reached, or a file is wrong.
    """
    wanted = _wanted(manifest)
    automations, for_automations = _automations(deployments.root / "automations")
    blocks = _blocks(deployments) | for_automations
    with prefect_client() as client:
        pools, workers = {}, {}
        for name in {each.work_pool for each in wanted.values()}:
            try:
                pools[name] = client.read_work_pool(name).is_paused
            except ObjectNotFound:
                continue
            workers[name] = sum(worker.status == WorkerStatus.ONLINE for worker in client.read_workers_for_work_pool(name))
        return PrefectFacts(
            wanted=wanted,
            deployed=_deployed(client, wanted),
            pools=pools,
            workers=workers,
            automations_wanted=automations,
            automations=frozenset(name for name in automations if client.read_automations_by_name(name)),
            blocks_wanted=blocks,
            blocks=frozenset(block for block in blocks if _has_block(client, block)),
        )


def _has_block(client: SyncPrefectClient, block: str) -> bool:
    slug, _, name = block.partition("/")
    try:
        client.read_block_document_by_name(name, slug, include_secrets=False)
    except ObjectNotFound:
        return False
    return True


def _wanted(manifest: Path) -> dict[str, WantedDeployment]:
    return {str(each["name"]): _of_file(each) for each in yaml.safe_load(manifest.read_text(encoding="utf-8"))["deployments"]}


def _of_file(each: dict[str, Any]) -> WantedDeployment:
    module, _, name = str(each["entrypoint"]).rpartition(".")
    flow = getattr(importlib.import_module(module), name)
    return WantedDeployment(
        entrypoint=str(each["entrypoint"]),
        description=str(each["description"]),
        work_pool=str(each["work_pool"]["name"]),
        crons=tuple(sorted(str(schedule["cron"]) for schedule in each.get("schedules", ()))),
        parameters=frozenset(inspect.signature(flow.fn).parameters),
    )


def _deployed(client: SyncPrefectClient, wanted: dict[str, WantedDeployment]) -> dict[str, WantedDeployment]:
    found = client.read_deployments(deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=list(wanted))), limit=200)
    # Another flow may have a deployment of the same name: the one that has our entrypoint is ours, if there is one.
    found.sort(key=lambda each: each.entrypoint == wanted[each.name].entrypoint)
    return {each.name: _of_prefect(each) for each in found}


def _of_prefect(there: DeploymentResponse) -> WantedDeployment:
    return WantedDeployment(
        entrypoint=there.entrypoint or "",
        description=there.description or "",
        work_pool=there.work_pool_name or "",
        crons=tuple(sorted(str(getattr(each.schedule, "cron", "")) for each in there.schedules)),
        parameters=frozenset((there.parameter_openapi_schema or {}).get("properties", {})),
        active=not there.paused and all(schedule.active for schedule in there.schedules),
    )


def _automations(folder: Path) -> tuple[frozenset[str], frozenset[str]]:
    """Names of the automations in the folder's files, and the blocks that they send through."""
    names, blocks = set(), set()
    for path in sorted(folder.glob("*.yaml")):
        try:
            for each in yaml.safe_load(path.read_text(encoding="utf-8")):
                names.add(str(each["name"]))
                blocks |= {str(action["block"]) for action in each["actions"] if "block" in action}
        except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as exc:
            raise SpecInvalid(f"{path.name}: must be a list of automations with `name`, `trigger` and `actions`.") from exc
    return frozenset(names), frozenset(blocks)


def _blocks(deployments: Deployments) -> frozenset[str]:
    shared = deployments.shared()
    wanted = {f"slipway-registry/{shared.registry}", f"slipway-hub/{shared.hub}"}
    if shared.health_cache:
        wanted.add(f"slipway-health-cache/{shared.health_cache}")
    for environment in deployments.environments():
        kinds = ("cluster", "helm", "endpoint", *(("argo", "gitops") if environment.delivery == "argocd" else ()))
        wanted |= {f"slipway-{kind}/{environment.blocks}" for kind in kinds}
    return frozenset(wanted)
