"""What a stand-in node is asked to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class NodeSpec:
    """One node. What it claims to have is for the scheduler; the machine underneath need not have it.

    Attributes:
        name: The node's name, also its `kubernetes.io/hostname` label.
        gpus: How many `nvidia.com/gpu` it claims.
        memory_bytes: Memory it claims.
        cpus: CPUs it claims.
        labels: Labels besides those that every node has.
        taints: As `{"key": …, "value": …, "effect": …}`.
        disk_bytes: Ephemeral storage it claims.
        gpu_product: What its GPUs claim to be, as NVIDIA's GPU feature discovery labels nodes.
        gpu_memory_mib: What each of them claims to have; 0 leaves both labels away, as on a cluster without that discovery.
    """

    name: str
    gpus: int = 1
    memory_bytes: int = 64 * GIB
    cpus: int = 16
    labels: Mapping[str, str] = field(default_factory=lambda: {"node-type": "gpu"})
    taints: tuple[Mapping[str, str], ...] = ({"key": "gpu-workload", "value": "true", "effect": "NoSchedule"},)
    disk_bytes: int = 500 * GIB
    gpu_product: str = "NVIDIA-H100-80GB-HBM3"
    gpu_memory_mib: int = 81559


@dataclass(frozen=True, kw_only=True)
class AgentOptions:
    """How an agent behaves in time. The defaults are a kubelet's; tests take shorter ones.

    Attributes:
        settle_seconds: The wait between the end of a pod's last container and the pod's final phase.
        restart_backoff_seconds: The first wait before a crashed container or a missing image is tried again; doubles up to 300.
        retry_seconds: The first wait before a volume that cannot be had is tried again; doubles.
        lease_seconds: How often the node's lease is renewed.
        memory_check_seconds: How often memory is compared with its limit.
    """

    settle_seconds: float = 1.0
    restart_backoff_seconds: float = 10.0
    retry_seconds: float = 0.5
    lease_seconds: float = 10.0
    memory_check_seconds: float = 0.5
