"""Grafana dashboards as code: what each panel asks, in Python; `python -m flows.metrics.dashboards` writes the JSON that the chart ships.

Nothing here runs in a release. The JSON is kept beside the chart so that it can be read, diffed and imported without this program.
"""

from flows.metrics.dashboards.deployments import DEPLOYMENTS
from flows.metrics.dashboards.gpus import GPUS
from flows.metrics.dashboards.inference import INFERENCE
from flows.metrics.dashboards.panels import Dashboard

#: By the name of the file.
DASHBOARDS: dict[str, Dashboard] = {"deployments": DEPLOYMENTS, "inference": INFERENCE, "gpus": GPUS}

__all__ = ["DASHBOARDS", "Dashboard"]
