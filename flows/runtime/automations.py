"""Prefect automations as code: makes or updates those of `deployments/automations`, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from pydantic import ValidationError

from flows.errors import SpecInvalid
from flows.runtime.client import prefect_client


def apply_automations(folder: Path) -> list[str]:
    """Make or update every automation of the folder's files, and return what was done, a line each.

    A file is a list of automations in Prefect's own form, but for `block: TYPE/NAME` in an action, which stands for the id of a saved
    block. Applying again changes nothing; automations that are not in the files are left alone.

    Raises:
        SpecInvalid: A file is wrong, or a block that it names does not exist.
    """
    done = []
    with prefect_client() as client:
        for path in sorted(folder.glob("*.yaml")):
            for wanted in _read(path):
                core = _resolved(client, wanted, path.name)
                # `prefect automation create` looks for none of that name: applied twice, it makes two, and both fire (Prefect 3.8.8).
                there = client.read_automations_by_name(core.name)
                if there:
                    client.update_automation(there[0].id, core)
                else:
                    client.create_automation(core)
                done.append(f"{'updated' if there else 'created'} {core.name}")
    return done


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        raise SpecInvalid(f"{path.name}: is not YAML.") from exc
    if not isinstance(content, list) or not all(isinstance(item, dict) and isinstance(item.get("actions"), list) for item in content):
        raise SpecInvalid(f"{path.name}: must be a list of automations with `name`, `trigger` and `actions`.")
    return content


def _resolved(client: SyncPrefectClient, wanted: dict[str, Any], file: str) -> AutomationCore:
    actions = []
    for action in wanted["actions"]:
        if "block" in action:
            kind, _, name = str(action.pop("block")).partition("/")
            try:
                action["block_document_id"] = str(client.read_block_document_by_name(name, kind).id)
            except ObjectNotFound as exc:
                raise SpecInvalid(
                    f"{file}: {wanted.get('name')}: Prefect has no block {kind}/{name}: create it in the UI under Blocks, "
                    "then apply the automations again."
                ) from exc
        actions.append(action)
    try:
        return AutomationCore.model_validate({**wanted, "actions": actions})
    except ValidationError as exc:
        first = exc.errors()[0]
        raise SpecInvalid(f"{file}: {wanted.get('name')}: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from exc
