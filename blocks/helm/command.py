"""Runs the `helm` command without a shell, and makes our errors of its sentences."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blocks.errors import HelmBusy, HelmConflict, HelmNotFound, HelmRejected, HelmUnreachable, PipelineError
from blocks.helm.sentences import error_of, kind_of


@dataclass(frozen=True, kw_only=True)
class HelmCommand:
    """The command, and what all of its calls have in common.

    Attributes:
        executable: A name on PATH, or a path.
        kubeconfig: Kubeconfig file; none uses the service account of the pod.
        context: A context of that file; none uses its current one.
        timeout_seconds: How long one call may take.
    """

    executable: str
    kubeconfig: Path | None
    context: str | None
    timeout_seconds: float

    def run(self, *arguments: object, namespace: str | None = None, stdin: str | None = None) -> str:
        """Run helm with these arguments; what it printed.

        Raises:
            HelmNotFound: There is no such release, or no such revision of it.
            HelmBusy: Another operation holds the release; retried.
            HelmUnreachable: The cluster did not answer; retried.
            HelmConflict: Somebody else owns fields that the chart sets.
            HelmRejected: Helm refused.
        """
        command = [self.executable, *map(str, arguments)]
        for option, value in (("--namespace", namespace), ("--kubeconfig", self.kubeconfig), ("--kube-context", self.context)):
            if value:
                command += [option, str(value)]
        try:
            status, stdout, stderr = self._outcome(command, stdin)
        except (subprocess.TimeoutExpired, OSError) as exc:
            raise self._not_run(exc) from exc
        if status != 0:
            raise _refusal(status, stderr)
        return stdout

    def read(self, *arguments: object, namespace: str) -> Any:
        """What helm prints as JSON; errors as of `run`."""
        return json.loads(self.run(*arguments, "--output", "json", namespace=namespace))

    def _outcome(self, command: list[str], stdin: str | None) -> tuple[int, str, str]:
        pipe = subprocess.PIPE
        with subprocess.Popen(  # no shell, and each argument is one
            command, stdin=subprocess.DEVNULL if stdin is None else pipe, stdout=pipe, stderr=pipe, encoding="utf-8", errors="replace"
        ) as process:
            try:
                stdout, stderr = process.communicate(stdin, timeout=self.timeout_seconds)
            finally:
                # SIGTERM lets Helm write the end of its release record instead of leaving it pending.
                if process.poll() is None:
                    process.terminate()
        return process.returncode, stdout, stderr

    def _not_run(self, exc: Exception) -> PipelineError:
        if isinstance(exc, FileNotFoundError):
            return HelmRejected(f"The helm command {self.executable!r} is not there: install Helm 4, or set the Helm block's executable.")
        if isinstance(exc, subprocess.TimeoutExpired):
            return HelmUnreachable(f"helm did not end within {self.timeout_seconds:.0f} s; the cluster may be slow to answer.")
        return HelmRejected(f"helm could not be run: {exc}.")


def _refusal(status: int, stderr: str) -> PipelineError:
    """Our error for how helm ended and what it printed on its way out."""
    # Warnings come before it on the same stream, such as of a metrics API that does not answer: they are not why it ended.
    begin = _ERROR.search(stderr)
    sentence = " ".join(stderr[begin.end() if begin is not None else 0 :].split())
    if status < 0:
        return HelmUnreachable(f"helm was killed by signal {-status} before it had ended ({sentence or 'it said nothing'}).")
    if not sentence:
        return HelmRejected(f"helm ended with exit code {status} and did not say why.")
    if "release: not found" in sentence:
        return HelmNotFound(f"Helm refused: {sentence}.")
    # Helm says so for ever after one that was killed, too: whether somebody is at it, the lock and its age tell.
    if "another operation (install/upgrade/rollback) is in progress" in sentence:
        return HelmBusy(f"Helm is busy: {sentence}.")
    if (conflict := field_conflict(sentence)) is not None:
        return conflict
    return error_of(kind_of(sentence), sentence)


#: What helm's last word begins with, which may quote others' on further lines.
_ERROR = re.compile(r"^Error: ", re.MULTILINE)


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
