"""The stand-in node: an agent that joins any API server as a node and runs each container as a local process.

What it does not emulate: network, mount, user and PID namespaces (a container sees the whole machine; its mounts are folders that its
arguments and environment are pointed at), CPU limits, image contents, seccomp and security contexts (but for read-only file systems,
which the kernel's Landlock enforces), sidecar (restartable init) containers, ephemeral containers, postStart hooks, readiness gates,
gRPC probes, exec and attach, persistent volume claims and CSI, eviction by disk or memory pressure, static pods, DNS inside pods and
the environment variables of Services.
"""

from sandbox.kubernetes.node.agent import NodeAgent
from sandbox.kubernetes.node.images import Image
from sandbox.kubernetes.node.spec import AgentOptions, NodeSpec

__all__ = ["AgentOptions", "Image", "NodeAgent", "NodeSpec"]
