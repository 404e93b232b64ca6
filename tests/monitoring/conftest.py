"""Prometheus' own programs (Debian's package `prometheus`), and the chart as helm renders it."""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.spec.load import ROOT
from sandbox.helm import helm_executable
from tests.support.waiting import HANGS_SECONDS

CHART = ROOT / "charts" / "monitoring"

Render = Callable[..., list[dict[str, Any]]]


def program(name: str) -> Path:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: apt-get install --no-install-recommends prometheus")
    return Path(found)


@pytest.fixture(scope="session")
def promtool() -> Path:
    return program("promtool")


@pytest.fixture(scope="session")
def prometheus() -> Path:
    return program("prometheus")


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([helm_executable(), *arguments], capture_output=True, text=True, check=False, timeout=HANGS_SECONDS)


@functools.cache
def rendered(scenario: str = "minimal", chart: Path = CHART, *more: str) -> tuple[dict[str, Any], ...]:
    done = helm("template", "watch", chart, "--namespace=monitoring", f"--values={chart / 'ci' / f'{scenario}.yaml'}", *more)
    assert done.returncode == 0, done.stderr
    return tuple(document for document in yaml.safe_load_all(done.stdout) if document)


def only(kind: str, *arguments: Any) -> dict[str, Any]:
    """The only document of this kind."""
    (document,) = [document for document in rendered(*arguments) if document["kind"] == kind]
    return document


def lost(given: Any, kept: Any, path: str = "") -> list[str]:
    """What a model did not take over from what it was given: a field that it does not know."""
    if isinstance(given, dict) and isinstance(kept, dict):
        return [name for key in given for name in ([f"{path}/{key}"] if key not in kept else lost(given[key], kept[key], f"{path}/{key}"))]
    if isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        return [name for number, (one, other) in enumerate(zip(given, kept, strict=True)) for name in lost(one, other, f"{path}/{number}")]
    return [] if given == kept else [path]
