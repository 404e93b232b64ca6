"""Renders the chart with the real helm, once for each combination that the tests ask for."""

from __future__ import annotations

import functools
import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from blocks.facts.helm import merged
from tests.support.documents import read_all_yaml, read_yaml

CHART = Path(__file__).parents[2] / "charts" / "vllm-deployment"

ENVIRONMENTS = ("development", "staging", "production")
#: Those of a release with one engine; `canary` has two, and `test_canary` to itself.
SCENARIOS = tuple(sorted(path.stem for path in (CHART / "ci").glob("*.yaml") if path.stem != "canary"))
COMBINATIONS = list(itertools.product(ENVIRONMENTS, SCENARIOS))


@dataclass(kw_only=True)
class Chart:
    """The chart, its environments and its scenarios."""

    helm: Path
    scratch: Path
    folder: Path = CHART
    _printed: dict[tuple[str, ...], str] = field(default_factory=dict)
    _read_texts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

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

    def merged_values(self, above: Mapping[str, Any], environment: str = "production", scenario: str = "minimal") -> dict[str, Any]:
        """The values as Helm coalesces them before it asks the schema; `above` as `--set-json` takes it."""
        given: dict[str, Any] = {}
        for name in (f"values-{environment}.yaml", f"ci/{scenario}.yaml"):
            given = merged(given, self._read(name))
        for path, value in above.items():
            given = merged(given, functools.reduce(lambda inner, key: {key: inner}, reversed(path.split(".")), value))
        defaults = self._read("values.yaml")
        return _without_nulls(merged(defaults, given), defaults)

    def _read(self, name: str) -> dict[str, Any]:
        values: dict[str, Any] = read_yaml((self.folder / name).read_text(encoding="utf-8"))
        return values

    def text(self, environment: str, scenario: str, above: Mapping[str, Any] | None = None, release: str = "tiny-llama") -> str:
        """What helm prints for a release; it is run once for each."""
        values = self.values(environment, scenario, above)
        arguments = ("template", release, str(self.folder), f"--namespace=llm-{environment}", *values)
        if arguments not in self._printed:
            done = self.run(*arguments)
            assert done.returncode == 0, done.stderr
            self._printed[arguments] = done.stdout
        return self._printed[arguments]

    def render(
        self,
        environment: str = "production",
        scenario: str = "minimal",
        above: Mapping[str, Any] | None = None,
        release: str = "tiny-llama",
    ) -> list[dict[str, Any]]:
        """All documents of a release, read once; do not change them."""
        text = self.text(environment, scenario, above, release)
        if text not in self._read_texts:
            self._read_texts[text] = read_all_yaml(text)
        return self._read_texts[text]

    def one(self, kind: str, *arguments: Any, **named: Any) -> dict[str, Any]:
        """The only document of this kind, beside that of `helm test`."""
        documents = [document for document in self.render(*arguments, **named) if document["kind"] == kind]
        (document,) = [document for document in documents if not document["metadata"]["name"].endswith("-test")]
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


def _without_nulls(values: dict[str, Any], defaults: Any) -> dict[str, Any]:
    """A null takes a default away; one that stands above nothing stays, and the schema refuses it."""
    known = defaults if isinstance(defaults, dict) else {}
    return {
        key: _without_nulls(value, known.get(key)) if isinstance(value, dict) else value
        for key, value in values.items()
        if value is not None or key not in known
    }


def find_helm() -> Path:
    """The real helm: the one that is given, the one on PATH, or the sandbox's."""
    given = os.environ.get("SLIPWAY_HELM") or shutil.which("helm")
    if given:
        return Path(given)
    from sandbox.helm import helm_executable

    return helm_executable()


@pytest.fixture(scope="session")
def helm() -> Path:
    return find_helm()


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
            self._rendered[scenario] = read_all_yaml(done.stdout)
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
