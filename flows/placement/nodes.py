"""Which nodes could run a candidate: those that take its pods, have the GPUs, the memory on them, and the disk."""

from __future__ import annotations

import math
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
    gpus = candidate.engine.gpus
    offered = {node.name: gpus_for_one_pod(node) for node in usable}
    fitting = tuple(sorted((node for node in usable if offered[node.name] >= gpus), key=lambda node: node.name))
    if not fitting:
        most = max(offered.values())
        shared = "; a pod gets one at the most of GPUs that pods share" if any(node.gpus >= gpus for node in usable) else ""
        return _nothing(
            DoesNotFit(
                f"{candidate.model} needs {gpus} GPU(s) on one node ({_why_so_many(candidate)}); "
                f"the largest of {len(usable)} node(s) with {selector} has {most}{shared}.",
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
        refusals=(
            *_unknown([node for node in fitting if node.name not in known], environment),
            *_shared(candidate, fitting),
            *_disks(candidate, environment, fitting),
        ),
    )


def gpus_for_one_pod(node: Node) -> int:
    """The most GPUs that one pod may have: shares of one GPU may be the same GPU twice, which no engine can use."""
    return node.gpus if node.gpu_shared_by == 1 else min(node.gpus, 1)


def _why_so_many(candidate: Candidate) -> str:
    return "tensor_parallel_size" if candidate.engine.gpus == candidate.engine.tensor_parallel_size else "tensor_parallel_size × extra_args"


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
    """Memory that an engine sees on one GPU: the whole of it in time slices, its share otherwise."""
    if node.gpu_memory_bytes is not None:
        return node.gpu_memory_bytes * (node.gpu_shared_by if node.gpu_sharing == "time-slicing" else 1)
    return int(environment.gpu_memory_gib * GIB) if environment.gpu_memory_gib is not None else None


def _unknown(nodes: Sequence[Node], environment: Environment) -> list[Refusal]:
    state = f"state gpu_memory_gib in deployments/environments/{environment.name}.yaml"
    found: list[Refusal] = [
        DoesNotFit(
            f"The label nvidia.com/gpu.memory of {node.name} says {node.gpu_memory_said}, which is not the memory of one "
            f"{node.gpu_product or 'GPU'} in MiB: mend the label, or {state}.",
            nodes=[node.name],
        )
        for node in nodes
        if node.gpu_memory_said
    ]
    silent = [node.name for node in nodes if not node.gpu_memory_said]
    if silent:
        found.append(
            DoesNotFit(
                f"Nothing says how much memory the GPUs of {listed(silent)} have: let NVIDIA's GPU feature discovery label the nodes "
                f"(nvidia.com/gpu.memory, and nvidia.com/gpu.replicas where pods share them), or {state}.",
                nodes=silent,
            )
        )
    return found


def _shared(candidate: Candidate, nodes: Sequence[Node]) -> list[Refusal]:
    """Time slices share no memory out: vLLM takes its share of the whole GPU, and the pods beside it must fit, too."""
    sharing = max((node for node in nodes if node.gpu_sharing == "time-slicing"), key=lambda node: node.gpu_shared_by, default=None)
    share = candidate.engine.gpu_memory_utilization
    if sharing is None or share * sharing.gpu_shared_by <= 1:
        return []
    most = math.floor(1000 / sharing.gpu_shared_by) / 1000
    return [
        DoesNotFit(
            f"engine.gpu_memory_utilization of {candidate.model} is {share:g}, but {sharing.gpu_shared_by} pods share each GPU of "
            f"{sharing.name} in time slices, and each sees all of its memory: set {most:g} or less.",
            nodes=[sharing.name],
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
