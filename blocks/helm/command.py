"""Runs the `helm` command without a shell, and makes our errors of its sentences."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from typing import Any, TypeVar

from pyhelm3 import errors as helm_errors
from pyhelm3.command import Command

from blocks.errors import HelmBusy, HelmConflict, HelmNotFound, HelmRejected, HelmUnreachable, PipelineError
from blocks.helm.sentences import error_of, kind_of

T = TypeVar("T")


class HelmCommand(Command):  # type: ignore[misc]  # pyhelm3 has no type information
    """pyhelm3's command line builder and parser, run without the shell that it would put in between, with our errors."""

    timeout_seconds: float = 120.0

    async def run(self, command: list[Any], input: bytes | None = None) -> bytes:  # pyhelm3's name
        """Run helm with these arguments and return what it printed."""
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

    def wait_for(self, call: Coroutine[Any, Any, T]) -> T:
        """The result of one of this object's calls.

        Raises:
            HelmBusy: Another operation holds the release; retried.
            HelmUnreachable: The cluster did not answer; retried.
            HelmNotFound: There is no such release, or no such revision of it.
            HelmConflict: Somebody else owns fields that the chart sets.
            HelmRejected: Helm refused.
        """
        try:
            # pyhelm3 is asyncio and our tasks run in threads: each command has a loop of its own.
            return asyncio.run(call)
        except (helm_errors.Error, TimeoutError, OSError) as exc:
            raise self._error(exc) from exc

    def _error(self, exc: Exception) -> PipelineError:
        if isinstance(exc, FileNotFoundError):
            return HelmRejected(f"The helm command {self._executable!r} is not there: install Helm 4, or set the Helm block's executable.")
        if isinstance(exc, TimeoutError):
            return HelmUnreachable(f"helm did not end within {self.timeout_seconds:.0f} s; the cluster may be slow to answer.")
        if not isinstance(exc, helm_errors.Error):
            return HelmRejected(f"helm could not be run: {exc}.")
        text = " ".join(exc.stderr.decode(errors="replace").split())
        # Warnings come before it on the same stream.
        sentence = text.rsplit("Error: ", 1)[-1]
        if isinstance(exc, helm_errors.ReleaseNotFoundError):
            return HelmNotFound(f"Helm refused: {sentence}.")
        # Helm says so for ever after one that was killed, too: whether somebody is at it, the lock and its age tell.
        if "another operation (install/upgrade/rollback) is in progress" in text:
            return HelmBusy(f"Helm is busy: {sentence}.")
        if (conflict := field_conflict(sentence)) is not None:
            return conflict
        return error_of(kind_of(text), sentence)


def field_conflict(sentence: str) -> HelmConflict | None:
    """What Helm says of a server-side apply that would change fields of somebody else; none if it says something else.

    It names each manager with its fields: `conflict with "kubectl" with subresource "scale" using apps/v1: .spec.replicas`.
    """
    if not re.search(r"Apply failed with \d+ conflicts?", sentence):
        return None
    owners = sorted(set(re.findall(r'conflicts? with "([^"]+)"', sentence)))
    fields = sorted(set(re.findall(r"(?<=[\s:])\.[a-z][^\s,]*", sentence)))
    return HelmConflict(
        f"{' and '.join(owners) or 'Somebody'} changed what the chart sets ({', '.join(fields) or 'some fields'}) outside of Helm: "
        f"Helm refuses to overwrite it ({sentence}).",
        owners=owners,
        fields=fields,
    )
