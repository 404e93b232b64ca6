"""The Prefect block that says which helm, chart and cluster."""

from __future__ import annotations

from prefect.blocks.core import Block

from blocks.helm.settings import HelmSettings


class Helm(HelmSettings, Block):
    """The `helm` command (4 or newer), the chart that it installs, and the cluster that it installs it on."""

    _block_type_name = "Slipway Helm"
    _block_type_slug = "slipway-helm"
