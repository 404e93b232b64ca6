"""Helm: carries a candidate's values to the cluster and knows which revision carries which candidate. Drives the `helm` command."""

from __future__ import annotations

import asyncio
import hashlib
import tarfile
import tempfile
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

import yaml
from prefect.blocks.core import Block
from pydantic import Field
from pyhelm3 import errors as helm_errors
from pyhelm3.command import Command

from blocks.errors import HelmBusy, HelmRejected, HelmUnreachable, PipelineError
from blocks.facts import HelmRevision

T = TypeVar("T")

#: What Helm and client-go print when the API server is not to be had.
_UNREACHABLE = (
    "cluster unreachable",
    "connection refused",
    "i/o timeout",
    "timed out",
    "no such host",
    "no route to host",
    "tls handshake timeout",
    "connection reset",
    "unexpected eof",
    "etcdserver",
    "service unavailable",
)


class Helm(Block):
    """The `helm` command (4 or newer), the chart that it installs, and the cluster that it installs it on."""

    _block_type_name = "Slipway Helm"
    _block_type_slug = "slipway-helm"

    executable: str = Field(default="helm", description="The helm command: a name on PATH, or a path.")
    chart: Path = Field(description="Folder of the vllm-deployment chart.")
    kubeconfig: Path | None = Field(default=None, description="Kubeconfig file; empty uses the service account of the pod.")
    context: str | None = Field(default=None, description="A context of that file; empty uses its current one.")
    timeout_seconds: float = Field(default=120.0, gt=0, description="How long one helm command may take; it does not wait for pods.")

    def client(self) -> HelmClient:
        """A client for this Helm."""
        return HelmClient(self)


class _ExecCommand(Command):  # type: ignore[misc]  # pyhelm3 has no type information
    """pyhelm3's command line builder and parser, run without the shell that it would put in between."""

    timeout_seconds: float = 120.0

    async def run(self, command: list[Any], input: bytes | None = None) -> bytes:  # pyhelm3's name
        arguments = [str(part) for part in command]
        if self._kubeconfig:
            arguments += ["--kubeconfig", str(self._kubeconfig)]
        if self._kubecontext:
            arguments += ["--kube-context", self._kubecontext]
        process = await asyncio.create_subprocess_exec(
            self._executable,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL if input is None else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(self.timeout_seconds):
                stdout, stderr = await process.communicate(input)
        finally:
            if process.returncode is None:
                # SIGTERM lets Helm write the end of its release record instead of leaving it pending.
                process.terminate()
                await process.wait()
        if process.returncode != 0:
            if b"release: not found" in stderr:
                raise helm_errors.ReleaseNotFoundError(process.returncode, stdout, stderr)
            raise helm_errors.Error(process.returncode, stdout, stderr)
        return bytes(stdout)


class HelmClient:
    """Runs `helm`. Each call is one or two processes of about 0.1 s; none of them waits for pods."""

    def __init__(self, block: Helm) -> None:
        self._block = block
        self._command = _ExecCommand(executable=block.executable, kubeconfig=block.kubeconfig, kubecontext=block.context)
        self._command.timeout_seconds = block.timeout_seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def chart_digest(self) -> str:
        """SHA-256 of the chart's packaged content.

        `helm package` decides what belongs to the chart (`.helmignore`). Its archive holds times, so what is hashed is each
        file's name and content in the order of names: the same chart has the same digest everywhere.

        Raises:
            HelmRejected: There is no chart, or it cannot be packaged.
        """
        if not (self._block.chart / "Chart.yaml").is_file():
            raise HelmRejected(f"There is no chart in {self._block.chart}: set the Helm block's chart to the folder that holds Chart.yaml.")
        with tempfile.TemporaryDirectory() as folder:
            self._run(self._command.run(["package", self._block.chart, "--destination", folder]))
            (package,) = Path(folder).glob("*.tgz")
            with tarfile.open(package) as archive:
                members = sorted((member for member in archive if member.isfile()), key=lambda member: member.name)
                digest = hashlib.sha256()
                for member in members:
                    content = hashlib.file_digest(archive.extractfile(member), "sha256")  # type: ignore[arg-type]  # a file has content
                    digest.update(f"{member.name}\0{content.hexdigest()}\n".encode())
        return digest.hexdigest()

    def default_values(self) -> dict[str, Any]:
        """The chart's own `values.yaml`, which Helm puts below all others."""
        return self._values("values.yaml")

    def environment_values(self, environment: str) -> dict[str, Any]:
        """The chart's own `values-ENVIRONMENT.yaml`; empty where it has none."""
        return self._values(f"values-{environment}.yaml")

    def _values(self, name: str) -> dict[str, Any]:
        path = self._block.chart / name
        if not path.is_file():
            return {}
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.YAMLError as exc:
            raise HelmRejected(f"{path.name} of the chart is not valid YAML: {getattr(exc, 'problem', exc)}.") from exc
        return values if isinstance(values, dict) else {}

    def current(self, release: str, namespace: str) -> HelmRevision | None:
        """The newest Helm revision of the release, whatever its status; none where there is no release.

        Raises:
            HelmUnreachable: The cluster did not answer; retried.
            HelmRejected: Helm refused.
        """
        try:
            return _revision(self._run(self._command.status(release, namespace=namespace)))
        except HelmRejected as exc:
            if isinstance(exc.__cause__, helm_errors.ReleaseNotFoundError):
                return None
            raise

    def upgrade(self, release: str, namespace: str, values: Mapping[str, Any]) -> HelmRevision:
        """Install or upgrade the release with these values; does not wait for pods.

        Raises:
            HelmBusy: Another operation holds the release; retried.
            HelmUnreachable: The cluster did not answer; retried.
            HelmRejected: The chart or its values are wrong, or the cluster refuses what they render.
        """
        return _revision(self._run(self._command.install_or_upgrade(release, self._block.chart, dict(values), namespace=namespace)))

    def rollback(self, release: str, namespace: str, number: int) -> HelmRevision:
        """Make the release what it was at a Helm revision; does not wait for pods.

        Raises:
            HelmBusy: Another operation holds the release; retried.
            HelmUnreachable: The cluster did not answer; retried.
            HelmRejected: There is no such revision, or the cluster refuses it.
        """
        self._run(self._command.rollback(release, number, namespace=namespace))
        current = self.current(release, namespace)
        if current is None:
            raise HelmRejected(f"The Helm release {release} in {namespace} vanished while it was rolled back.")
        return current

    def history(self, release: str, namespace: str) -> tuple[HelmRevision, ...]:
        """All Helm revisions that are kept, oldest first, with the candidates they carry; empty where there is no release."""
        try:
            lines = self._run(self._command.history(release, namespace=namespace))
        except HelmRejected as exc:
            if isinstance(exc.__cause__, helm_errors.ReleaseNotFoundError):
                return ()
            raise
        numbers = sorted(int(line["revision"]) for line in lines)
        return tuple(_revision(self._run(self._command.status(release, namespace=namespace, revision=number))) for number in numbers)

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        try:
            return asyncio.run(call)
        except (helm_errors.Error, TimeoutError, OSError) as exc:
            raise self._error(exc) from exc

    def _error(self, exc: Exception) -> PipelineError:
        if isinstance(exc, FileNotFoundError):
            return HelmRejected(
                f"The helm command {self._block.executable!r} is not there: install Helm 4, or set the Helm block's executable."
            )
        if isinstance(exc, TimeoutError):
            return HelmUnreachable(f"helm did not end within {self._block.timeout_seconds:.0f} s; the cluster may be slow to answer.")
        if not isinstance(exc, helm_errors.Error):
            return HelmRejected(f"helm could not be run: {exc}.")
        text = " ".join(exc.stderr.decode(errors="replace").split())
        sentence = text.rsplit("Error: ", 1)[-1]
        lowered = text.lower()
        if "another operation (install/upgrade/rollback) is in progress" in lowered:
            return HelmBusy(f"Helm is busy: {sentence}.")
        if any(sign in lowered for sign in _UNREACHABLE):
            return HelmUnreachable(f"Helm cannot reach the cluster: {sentence}.")
        return HelmRejected(f"Helm refused: {sentence}.")


def _revision(status: Mapping[str, Any]) -> HelmRevision:
    """What `helm status` (and an upgrade) prints, as a fact."""
    fingerprint = ((status.get("config") or {}).get("candidate") or {}).get("fingerprint")
    return HelmRevision(
        release=str(status["name"]), revision=int(status["version"]), status=str(status["info"]["status"]), fingerprint=fingerprint
    )
