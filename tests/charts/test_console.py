"""`charts/console`: valid for Kubernetes, as careful as any of ours, and its variables are those that the console reads."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from kubernetes_validate import utils
from packaging.version import Version

from flows.console.settings import console_settings
from sandbox.helm import helm_executable
from tests.charts.rules import CONFINED
from tests.support.documents import read_all_yaml

FOLDER = Path(__file__).parents[2] / "charts" / "console"
ALWAYS = {"Deployment", "Service", "ServiceAccount", "PodDisruptionBudget", "NetworkPolicy"}
KINDS = {"minimal": ALWAYS | {"Ingress"}, "full": ALWAYS | {"HTTPRoute"}}
FILES = {
    "SLIPWAY_CONSOLE_KEYS_FILE": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    "SLIPWAY_OIDC_CLIENT_SECRET_FILE": "secret",
    "SLIPWAY_CONSOLE_PROXY_SECRET_FILE": "a proxy's secret of 32 characters",
}


def helm(*arguments: str | Path, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    return subprocess.run([helm_executable(), *arguments], env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("scenario", sorted(KINDS))
def test_what_is_rendered_is_valid_careful_and_understood(tmp_path: Path, scenario: str) -> None:
    values = f"--values={FOLDER / 'ci' / f'{scenario}.yaml'}"
    assert helm("lint", "--strict", FOLDER, values, home=tmp_path).returncode == 0
    done = helm("template", "console", FOLDER, "--namespace", "slipway", values, home=tmp_path)
    documents: list[dict[str, Any]] = read_all_yaml(done.stdout)

    assert {document["kind"] for document in documents} == KINDS[scenario], done.stderr
    newest = max(utils.all_versions(), key=Version)
    for document in documents:
        if document["kind"] != "HTTPRoute":  # a custom resource
            kubernetes_validate.validate(document, newest, strict=True)
    deployment = next(document for document in documents if document["kind"] == "Deployment")
    assert deployment["spec"]["replicas"] >= 2
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["securityContext"] == CONFINED
    assert (pod["automountServiceAccountToken"], pod["securityContext"]["runAsNonRoot"]) == (False, True)
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
    given = {each["name"]: each.get("value", "") for each in container["env"]}
    for name, content in FILES.items():
        if name in given:
            (tmp_path / name).write_text(content)
            given[name] = str(tmp_path / name)
    assert console_settings(given).url == "https://slipway.example.com"


@pytest.mark.parametrize("wrong", ["url=http://slipway.example.com", "image.digest=latest", "replicas=0", "route.kind=nodePort", "other=1"])
def test_what_is_wrong_is_refused(tmp_path: Path, wrong: str) -> None:
    done = helm("template", "console", FOLDER, f"--values={FOLDER / 'ci' / 'minimal.yaml'}", f"--set={wrong}", home=tmp_path)

    assert done.returncode != 0
    assert wrong.partition("=")[0].rpartition(".")[2] in done.stderr
