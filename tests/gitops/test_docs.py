"""What docs/gitops.md tells people to type in an emergency is something that Argo CD and Kubernetes understand."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

from flows.spec.load import ROOT
from tests.gitops.test_layout import SCHEMAS, unknown
from tests.support.documents import read_all_yaml

PAGE = (ROOT / "docs" / "gitops.md").read_text()


def commands() -> list[list[str]]:
    blocks = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    return [shlex.split(line.strip()[2:], comments=False) for block in blocks for line in block.splitlines() if line.strip()]


def test_every_line_is_a_command_of_a_program_that_is_named_as_needed() -> None:
    programs = {command[0] for command in commands()}

    assert programs == {"kubectl", "kubeseal", "shred", "git", "slipway"}


def test_the_patches_are_json_and_set_fields_that_argo_cd_knows() -> None:
    patches: list[dict[str, Any]] = [json.loads(command[command.index("-p") + 1]) for command in commands() if "-p" in command]

    assert len(patches) == 2
    schema = SCHEMAS["Application"]
    for patch in patches:
        assert [field for field in unknown(patch, schema) if "missing" not in field] == []
    sync = patches[0]["operation"]["sync"]
    assert sync["prune"] is True
    assert patches[1]["spec"]["syncPolicy"]["automated"] is None


def test_the_files_that_are_applied_are_shipped() -> None:
    files = [command[command.index("-f") + 1] for command in commands() if "-f" in command]

    assert files == ["argocd/root.yaml"]
    for file in files:
        assert (ROOT / "deployments" / "gitops" / file).is_file()


def test_every_account_that_may_touch_applications_is_made_by_a_chart_or_by_a_documented_command() -> None:
    access = read_all_yaml((ROOT / "deployments" / "gitops" / "argocd" / "access.yaml").read_text())
    (binding,) = [document for document in access if document["kind"] == "RoleBinding"]
    allowed = {(subject["namespace"], subject["name"]) for subject in binding["subjects"]}
    typed = re.findall(r"^\$ kubectl -n (\S+) create serviceaccount (\S+)$", (ROOT / "docs" / "worker.md").read_text(), re.MULTILINE)
    # charts/environment makes one in the namespace that docs/environments.md installs it from
    environments = [path.stem for path in (ROOT / "deployments" / "environments").glob("*.yaml")]
    made = {(f"slipway-{name}", f"{name}-deployer") for name in environments}

    assert allowed <= made | set(typed)
    assert made <= allowed
    assert ("slipway", "slipway-flows") in allowed


def test_the_fields_of_the_block_are_explained() -> None:
    from blocks.argocd import Argo
    from blocks.gitops import GitOps

    table = next(line for line in PAGE.splitlines() if "| Slipway GitOps |" in line)
    argo = next(line for line in PAGE.splitlines() if "| Slipway Argo CD |" in line)
    for block, text in ((GitOps, table), (Argo, argo)):
        for field in block.model_fields:
            if not field.startswith("_") and field != "timeout_seconds":
                assert f"`{field}`" in text, field
