"""Renders the chart with the real helm, once for each combination that the tests ask for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

CHART = Path(__file__).parents[2] / "charts" / "vllm-deployment"


@dataclass(kw_only=True)
class Chart:
    """The chart, its environments and its scenarios."""

    helm: Path
    scratch: Path
    folder: Path = CHART
    _rendered: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        # A home of its own: what the user keeps there (plug-ins, repositories) must not matter.
        environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(self.scratch)}
        return subprocess.run([self.helm, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=60)

    def values(self, environment: str, scenario: str = "minimal", above: Mapping[str, Any] | None = None) -> list[str]:
        """The arguments that pass values as the pipeline does: the environment's below, the candidate's on top."""
        top = {"environment": environment, **(above or {})}
        return [
            f"--values={self.folder / f'values-{environment}.yaml'}",
            f"--values={self.folder / 'ci' / f'{scenario}.yaml'}",
            *(f"--set-json={key}={json.dumps(value)}" for key, value in top.items()),
        ]

    def render(
        self,
        environment: str = "production",
        scenario: str = "minimal",
        above: Mapping[str, Any] | None = None,
        release: str = "tiny-llama",
    ) -> list[dict[str, Any]]:
        """All documents of a release, rendered once; do not change them."""
        arguments = ["template", release, str(self.folder), f"--namespace=llm-{environment}", *self.values(environment, scenario, above)]
        key = json.dumps(arguments)
        if key not in self._rendered:
            done = self.run(*arguments)
            assert done.returncode == 0, done.stderr
            self._rendered[key] = [document for document in yaml.safe_load_all(done.stdout) if document]
        return self._rendered[key]

    def one(self, kind: str, *arguments: Any, **named: Any) -> dict[str, Any]:
        """The only document of this kind."""
        (document,) = [document for document in self.render(*arguments, **named) if document["kind"] == kind]
        return document

    def pod(self, *arguments: Any, **named: Any) -> dict[str, Any]:
        """The Deployment's pod template."""
        template: dict[str, Any] = self.one("Deployment", *arguments, **named)["spec"]["template"]
        return template

    def container(self, *arguments: Any, **named: Any) -> dict[str, Any]:
        """Its only container."""
        (container,) = self.pod(*arguments, **named)["spec"]["containers"]
        return dict(container)

    def refusal(self, above: Mapping[str, Any], scenario: str = "minimal") -> str:
        """What helm says to values that must be refused."""
        done = self.run("template", "tiny-llama", self.folder, *self.values("production", scenario, above))
        assert done.returncode != 0, f"helm rendered the chart with {above}"
        return done.stderr


@pytest.fixture(scope="session")
def helm() -> Path:
    given = os.environ.get("SLIPWAY_HELM") or shutil.which("helm")
    if given:
        return Path(given)
    from sandbox.helm import helm_executable

    return helm_executable()


@pytest.fixture(scope="session")
def chart(helm: Path, tmp_path_factory: pytest.TempPathFactory) -> Chart:
    return Chart(helm=helm, scratch=tmp_path_factory.mktemp("helm-home"))


@dataclass(kw_only=True)
class EnvironmentChart:
    """`charts/environment` as the release `development` from the namespace `slipway-development`."""

    chart: Chart
    folder: Path = CHART.parent / "environment"
    _rendered: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return self.chart.run(*arguments)

    def render(self, scenario: str = "default") -> list[dict[str, Any]]:
        """All documents, rendered once; do not change them. `default` gives no values."""
        if scenario not in self._rendered:
            values = [] if scenario == "default" else [f"--values={self.folder / 'ci' / f'{scenario}.yaml'}"]
            done = self.run("template", "development", self.folder, "--namespace=slipway-development", *values)
            assert done.returncode == 0, done.stderr
            self._rendered[scenario] = [document for document in yaml.safe_load_all(done.stdout) if document]
        return self._rendered[scenario]

    def named(self, kind: str, name: str, scenario: str = "default") -> dict[str, Any]:
        """The document of that kind and name."""
        (document,) = [d for d in self.render(scenario) if (d["kind"], d["metadata"]["name"]) == (kind, name)]
        return document

    def refusal(self, above: Mapping[str, Any]) -> str:
        """What helm says to values that must be refused."""
        values = [f"--set-json={key}={json.dumps(value)}" for key, value in above.items()]
        done = self.run("template", "development", self.folder, "--namespace=slipway-development", *values)
        assert done.returncode != 0, f"helm rendered the chart with {above}"
        return done.stderr


@pytest.fixture(scope="session")
def environment_chart(chart: Chart) -> EnvironmentChart:
    return EnvironmentChart(chart=chart)
