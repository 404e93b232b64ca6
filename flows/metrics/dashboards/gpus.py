"""Whether there are GPUs left, and what those in use do. From kube-state-metrics and NVIDIA's DCGM exporter."""

from __future__ import annotations

from flows.metrics.dashboards.panels import Dashboard, Panel, Variable

_ONE = "{{Hostname}} {{gpu}}"
_NODES = 'Hostname=~"$node"'


def _each(metric: str) -> str:
    # DCGM's exporter also labels by the pod that holds the GPU: one that changes hands would be two lines.
    return f"max by (Hostname, gpu) ({metric}{{{_NODES}}})"


_CAPACITY = (
    Panel(
        title="GPUs",
        help="That nodes offer, that pods have asked for, and what is left. Cordoned nodes and pods that have ended count for nothing.",
        queries={
            "allocatable": "cluster:slipway_gpus:allocatable",
            "requested": "sum(namespace:slipway_gpus:requested) or vector(0)",
            "free": "cluster:slipway_gpus:free",
        },
        kind="stat",
        width=24,
    ),
    Panel(
        title="Requested by namespace",
        help="Who has them.",
        queries={"{{namespace}}": "namespace:slipway_gpus:requested"},
        stacked=True,
    ),
    Panel(
        title="Offered by node",
        help="A node that is lost, or whose driver is, drops from here.",
        queries={"{{node}}": 'sum by (node) (kube_node_status_allocatable{resource="nvidia_com_gpu", node=~"$node"})'},
    ),
    Panel(
        title="Pods without a node",
        help="That need a GPU and cannot be scheduled.",
        queries={
            "pods": "count(kube_pod_status_unschedulable == 1 and on (namespace, pod) "
            'kube_pod_container_resource_requests{resource="nvidia_com_gpu"}) or vector(0)'
        },
        limit=1,
    ),
)

_USE = (
    Panel(
        title="Busy",
        help="Share of time in which a kernel ran.",
        queries={_ONE: f"{_each('DCGM_FI_DEV_GPU_UTIL')} / 100"},
        unit="percentunit",
    ),
    Panel(
        title="Memory",
        help="Share in use. vLLM takes its share at the start and keeps it, so a level line at 90 % is as it should be.",
        queries={_ONE: f"{_each('DCGM_FI_DEV_FB_USED')} / ({_each('DCGM_FI_DEV_FB_USED')} + {_each('DCGM_FI_DEV_FB_FREE')})"},
        unit="percentunit",
        limit=0.98,
    ),
    Panel(
        title="Tokens for each GPU",
        help="Generated a second, by all engines, for each GPU that pods have asked for.",
        queries={"tokens": "sum(rate(vllm:generation_tokens_total[$__rate_interval])) / sum(namespace:slipway_gpus:requested)"},
    ),
    Panel(title="Power", help="Drawn by each GPU.", queries={_ONE: _each("DCGM_FI_DEV_POWER_USAGE")}, unit="watt"),
    Panel(
        title="Temperature",
        help="Of each GPU; it slows itself down when too hot.",
        queries={_ONE: _each("DCGM_FI_DEV_GPU_TEMP")},
        unit="celsius",
    ),
    Panel(
        title="Last error",
        help="The number of the last XID; it stays until the exporter starts again. 48, 63, 64, 74, 79 and 95 need a drained node.",
        queries={_ONE: _each("DCGM_FI_DEV_XID_ERRORS")},
        limit=1,
    ),
)

GPUS = Dashboard(
    uid="slipway-gpus",
    title="Slipway / GPUs",
    help="For those who run the cluster: capacity, use and trouble of its GPUs.",
    variables=(Variable(name="node", query='label_values(kube_node_status_allocatable{resource="nvidia_com_gpu"}, node)'),),
    rows={"Capacity": _CAPACITY, "Use": _USE},
)
