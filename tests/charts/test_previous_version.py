"""A release of an earlier version can be upgraded: what Kubernetes lets nobody change is what it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.charts.conftest import ENVIRONMENTS

RELEASED = sorted((Path(__file__).parent / "released").glob("vllm-deployment-*.tgz"))

#: What the API server refuses to change, by kind.
FIXED = {"Deployment": ("selector",), "Service": ("type", "clusterIP"), "NetworkPolicy": (), "ServiceAccount": ()}


def test_the_version_is_a_new_one(chart: Any) -> None:
    version = yaml.safe_load((chart.folder / "Chart.yaml").read_text(encoding="utf-8"))["version"]
    released = [path.stem.removeprefix("vllm-deployment-") for path in RELEASED]
    assert released
    assert version not in released


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_no_pod_of_an_installed_release_starts_again(chart: Any, environment: str) -> None:
    package = RELEASED[-1]
    values = ["--values", package.with_suffix(".yaml"), "--set", f"environment={environment}"]
    done = chart.run("template", "tiny-llama", package, f"--namespace=llm-{environment}", *values, *_environment(chart, environment))
    assert done.returncode == 0, done.stderr
    (before,) = [document for document in yaml.safe_load_all(done.stdout) if document and document["kind"] == "Deployment"]
    assert chart.one("Deployment", environment)["spec"] == before["spec"]


def _environment(chart: Any, environment: str) -> list[str]:
    """What the environment sets, below the candidate's values: Helm takes later files first."""
    return [f"--values={chart.folder / f'values-{environment}.yaml'}"]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("package", RELEASED, ids=lambda path: path.stem)
def test_selectors_and_names_stay_as_they_were(chart: Any, tmp_path: Path, package: Path, environment: str) -> None:
    values = ["--values", package.with_suffix(".yaml"), "--set", f"environment={environment}"]
    done = chart.run("template", "tiny-llama", package, f"--namespace=llm-{environment}", *values)
    assert done.returncode == 0, done.stderr
    before = [document for document in yaml.safe_load_all(done.stdout) if document]
    now = {(document["kind"], document["metadata"]["name"]): document for document in chart.render(environment)}
    for document in before:
        name = (document["kind"], document["metadata"]["name"])
        assert name in now, f"an upgrade would remove {name}"
        labels = {key: value for key, value in document["metadata"]["labels"].items() if key != "helm.sh/chart"}
        assert labels.items() <= now[name]["metadata"]["labels"].items()
        for field in FIXED.get(document["kind"], ()):
            assert document["spec"].get(field) == now[name]["spec"].get(field), f"{name}: {field}"
