"""Which helm, chart and cluster. Without Prefect: commands that read use it as it is, the block has it as its base."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field

from blocks.helm.client import HelmClient
from blocks.helm.command import HelmCommand


class HelmSettings(BaseModel):
    """The `helm` command, the chart that it installs, and the cluster that it installs it on."""

    executable: str = Field(default="helm", description="The helm command: a name on PATH, or a path.")
    chart: Path = Field(description="Folder of the vllm-deployment chart.")
    kubeconfig: Path | None = Field(default=None, description="Kubeconfig file; empty uses the service account of the pod.")
    context: str | None = Field(default=None, description="A context of that file; empty uses its current one.")
    timeout_seconds: float = Field(default=120.0, gt=0, description="How long one helm command may take; it does not wait for pods.")
    dead_after_seconds: float = Field(
        default=30.0,
        gt=0,
        description="A pending operation that is older, was killed, as the run that holds the lock is not at it.",
    )

    def client(self) -> HelmClient:
        """A client for this Helm."""
        command = HelmCommand(
            executable=self.executable, kubeconfig=self.kubeconfig, context=self.context, timeout_seconds=self.timeout_seconds
        )
        return HelmClient(command, self.chart, self.dead_after_seconds)
