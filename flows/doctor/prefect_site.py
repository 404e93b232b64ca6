"""Gathers what this checkout wants of Prefect, and what is there: a request for each block and each automation, and a few more."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from flows.doctor.rules.facts import PrefectFacts, WantedDeployment
from flows.errors import SpecInvalid
from flows.runtime.prefect_api import PAGE, PrefectApi
from flows.spec import Deployments
from flows.spec.folder import ROOT

#: What the checkout deploys.
MANIFEST = ROOT / "prefect.yaml"


def prefect_facts(deployments: Deployments, manifest: Path = MANIFEST, api: PrefectApi | None = None) -> PrefectFacts:
    """What is wanted and what is there.

    Raises:
        SpecInvalid: Prefect cannot be reached, or a file is wrong.
    """
    wanted = _wanted(manifest)
    automations, for_automations = _automations(deployments.root / "automations")
    blocks = _blocks(deployments) | for_automations
    api = api or PrefectApi()
    pools, workers = {}, {}
    for name in {each.work_pool for each in wanted.values()}:
        path = f"work_pools/{quote(name, safe='')}"
        pool = api.get(f"/{path}")
        if pool is not None:
            pools[name] = bool(pool["is_paused"])
            workers[name] = sum(worker["status"] == "ONLINE" for worker in api.filtered(f"{path}/workers"))
    return PrefectFacts(
        wanted=wanted,
        deployed=_deployed(api, wanted),
        pools=pools,
        workers=workers,
        automations_wanted=automations,
        automations=frozenset(name for name in automations if api.filtered("automations", automations={"name": {"any_": [name]}})),
        blocks_wanted=blocks,
        blocks=frozenset(block for block in blocks if _has_block(api, block)),
    )


def _has_block(api: PrefectApi, block: str) -> bool:
    slug, _, name = block.partition("/")
    # Whether it is there is all that is asked: its secrets stay with Prefect.
    return api.block(slug, name, secrets=False) is not None


def _wanted(manifest: Path) -> dict[str, WantedDeployment]:
    return {str(each["name"]): _of_file(each) for each in yaml.safe_load(manifest.read_text(encoding="utf-8"))["deployments"]}


def _of_file(each: dict[str, Any]) -> WantedDeployment:
    return WantedDeployment(
        entrypoint=str(each["entrypoint"]),
        description=str(each["description"]),
        work_pool=str(each["work_pool"]["name"]),
        crons=tuple(sorted(str(schedule["cron"]) for schedule in each.get("schedules", ()))),
        parameters=_parameters(str(each["entrypoint"])),
        concurrency_limit=_limit(each.get("concurrency_limit")),
    )


def _parameters(entrypoint: str) -> frozenset[str]:
    """Names of the flow's parameters, read from its text: to import all flows takes longer than to look at everything.

    Raises:
        SpecInvalid: There is no such flow.
    """
    module, _, name = entrypoint.rpartition(".")
    found = importlib.util.find_spec(module)
    if found is not None and found.origin is not None:
        for node in ast.parse(Path(found.origin).read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
                return frozenset(each.arg for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs))
    raise SpecInvalid(f"{MANIFEST.name}: there is no flow {entrypoint}.")


def _deployed(api: PrefectApi, wanted: dict[str, WantedDeployment]) -> dict[str, WantedDeployment]:
    found = api.filtered("deployments", deployments={"name": {"any_": list(wanted)}}, limit=PAGE)
    # Another flow may have a deployment of the same name: the one that has our entrypoint is ours, if there is one.
    found.sort(key=lambda each: each["entrypoint"] == wanted[each["name"]].entrypoint)
    return {each["name"]: _of_prefect(each) for each in found}


def _of_prefect(there: dict[str, Any]) -> WantedDeployment:
    return WantedDeployment(
        entrypoint=there["entrypoint"] or "",
        description=there["description"] or "",
        work_pool=there["work_pool_name"] or "",
        crons=tuple(sorted(str(each["schedule"].get("cron", "")) for each in there["schedules"])),
        parameters=frozenset((there["parameter_openapi_schema"] or {}).get("properties", {})),
        concurrency_limit=_limit(there.get("global_concurrency_limit")),
        # Prefect has both: a deployment that is paused, and schedules that are off.
        active=not there["paused"] and all(each["active"] for each in there["schedules"]),
    )


def _limit(said: Any) -> int | None:
    """A limit as a number or with its details, as `prefect.yaml` and Prefect may have it."""
    limit = said.get("limit") if isinstance(said, dict) else said
    return int(limit) if limit is not None else None


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
