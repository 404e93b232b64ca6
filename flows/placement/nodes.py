"""Which nodes could run a candidate: those that take its pods, have the GPUs, the memory on them, and the disk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from blocks.facts import Node, Taint
from flows.errors import DoesNotFit, Refusal
from flows.spec import Candidate, Environment, Toleration
from flows.text import GIB, gib, listed


@dataclass(frozen=True, kw_only=True)
class Target:
    """Nodes that get the weights and may run the engine, and why none or not all of them can be used.

    Attributes:
        nodes: Those that take pods and have GPUs enough, by name.
        gpu_bytes: Memory of the smallest of their GPUs; none if it is not known of all.
        gpu: What to call that GPU.
        refusals: Why it cannot go on with them.
    """

    nodes: tuple[Node, ...]
    gpu_bytes: int | None
    gpu: str
    refusals: tuple[Refusal, ...]


def find_target(candidate: Candidate, environment: Environment, nodes: Sequence[Node]) -> Target:
    """Find the candidate's nodes among those that match the environment's selector.

    The scheduler knows nothing of GPU memory: it may put a pod on any node with free GPUs that the selector matches. So the
    smallest of them counts.
    """
    usable = [node for node in nodes if takes_pods(node, environment)]
    selector = ",".join(f"{key}={value}" for key, value in sorted(environment.node_selector.items()))
    if not usable:
        told = f"; {len(nodes)} carry it in all" + _why_not(nodes, environment)
        return _nothing(DoesNotFit(f"No ready node carries {selector}, which environment {environment.name} asks for{told}."))
    gpus = candidate.engine.tensor_parallel_size
    fitting = tuple(sorted((node for node in usable if node.gpus >= gpus), key=lambda node: node.name))
    if not fitting:
        most = max(node.gpus for node in usable)
        return _nothing(
            DoesNotFit(
                f"{candidate.model} needs {gpus} GPU(s) on one node (tensor_parallel_size); "
                f"the largest of {len(usable)} node(s) with {selector} has {most}.",
                gpus_wanted=gpus,
                gpus_most=most,
            )
        )
    memory = {node.name: _gpu_bytes(node, environment) for node in fitting}
    known = {name: size for name, size in memory.items() if size is not None}
    smallest = min(fitting, key=lambda node: known.get(node.name, 0))
    return Target(
        nodes=fitting,
        gpu_bytes=min(known.values()) if len(known) == len(memory) else None,
        gpu=f"{smallest.gpu_product or 'GPU'} of {smallest.name}",
        refusals=(*_unknown(sorted(set(memory) - set(known)), environment), *_disks(candidate, environment, fitting)),
    )


def takes_pods(node: Node, environment: Environment) -> bool:
    """Whether the node takes the environment's pods."""
    return node.ready and node.schedulable and not _untolerated(node, environment)


def _untolerated(node: Node, environment: Environment) -> list[Taint]:
    # PreferNoSchedule keeps no pod away.
    binding = (taint for taint in node.taints if taint.effect in ("NoSchedule", "NoExecute"))
    return [taint for taint in binding if not any(_tolerates(toleration, taint) for toleration in environment.tolerations)]


def _tolerates(toleration: Toleration, taint: Taint) -> bool:
    """Kubernetes' own rule: an empty effect or key matches any."""
    if toleration.effect not in ("", taint.effect) or toleration.key not in ("", taint.key):
        return False
    return toleration.operator == "Exists" or toleration.value == taint.value


def _why_not(nodes: Iterable[Node], environment: Environment) -> str:
    tainted = sorted({f"{t.key}={t.value}:{t.effect}" for node in nodes if node.ready for t in _untolerated(node, environment)})
    return f", with taints that it does not tolerate ({listed(tainted)})" if tainted else ""


def _gpu_bytes(node: Node, environment: Environment) -> int | None:
    if node.gpu_memory_bytes is not None:
        return node.gpu_memory_bytes
    return int(environment.gpu_memory_gib * GIB) if environment.gpu_memory_gib is not None else None


def _unknown(names: Sequence[str], environment: Environment) -> list[Refusal]:
    if not names:
        return []
    return [
        DoesNotFit(
            f"Nothing says how much memory the GPUs of {listed(names)} have: let NVIDIA's GPU feature discovery label the nodes "
            f"(nvidia.com/gpu.memory), or state gpu_memory_gib in deployments/environments/{environment.name}.yaml.",
            nodes=list(names),
        )
    ]


def _disks(candidate: Candidate, environment: Environment, nodes: Sequence[Node]) -> list[Refusal]:
    """What the nodes' disks cannot ever hold; the prefetch looks at what is free on them when it comes to that."""
    found: list[Refusal] = []
    stated = environment.prefetch.disk_gib
    sizes = {node.name: int(stated * GIB) if stated is not None else node.disk_bytes for node in nodes}
    small = [name for name, size in sizes.items() if size < candidate.size_bytes]
    if small:
        found.append(
            DoesNotFit(
                f"The files of {candidate.model} take {gib(candidate.size_bytes)}, and the disk of {listed(small)} holds "
                f"{gib(min(sizes[name] for name in small))} in all: use larger disks, or state prefetch.disk_gib where "
                f"{environment.prefetch.store} lies on a disk of its own.",
                wanted_bytes=candidate.size_bytes,
                nodes=small,
            )
        )
    full = [node.name for node in nodes if node.disk_pressure]
    if full:
        found.append(DoesNotFit(f"The disk of {listed(full)} is nearly full (DiskPressure): make room on it first.", nodes=full))
    return found


def _nothing(refusal: Refusal) -> Target:
    return Target(nodes=(), gpu_bytes=None, gpu="", refusals=(refusal,))
