"""Helm: carries a candidate's values to the cluster and knows which revision carries which candidate. Drives the `helm` command."""

from blocks.helm.block import Helm
from blocks.helm.client import HelmClient, values_digest

__all__ = ["Helm", "HelmClient", "values_digest"]
