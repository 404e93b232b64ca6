"""Whether a pod fits a node, and Kubernetes' words for why it does not. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from sandbox.kubernetes.meta.client import Object
from sandbox.kubernetes.meta.selectors import Requirement
from sandbox.kubernetes.meta.values import dig, quantity

Amounts = Mapping[str, Decimal]

NOT_HELPFUL = "Preemption is not helpful for scheduling"
NO_VICTIMS = "No preemption victims found for incoming pod"

_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "absent", "Gt": ">", "Lt": "<"}


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """Why a node cannot take a pod.

    Attributes:
        reasons: In Kubernetes' words, one for each thing that is missing.
        hopeless: Whether the node could not take the pod even if it were empty.
    """

    reasons: tuple[str, ...]
    hopeless: bool


def requested(pod: Object) -> dict[str, Decimal]:
    """What a pod needs of a node: the sum of its containers, or the largest init container if that is more, and one pod slot."""
    spec = pod["spec"]
    total: dict[str, Decimal] = {}
    for container in spec["containers"]:
        for name, amount in _requests(container).items():
            total[name] = total.get(name, Decimal(0)) + amount
    for container in spec.get("initContainers") or []:
        for name, amount in _requests(container).items():
            total[name] = max(total.get(name, Decimal(0)), amount)
    for name, text in (spec.get("overhead") or {}).items():
        total[name] = total.get(name, Decimal(0)) + quantity(text)
    return total | {"pods": Decimal(1)}


def _requests(container: Object) -> dict[str, Decimal]:
    resources = container.get("resources") or {}
    # A limit without a request is a request of the same size.
    amounts = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {name: quantity(amount) for name, amount in amounts.items()}


def allocatable(node: Object) -> dict[str, Decimal]:
    """What a node has to give."""
    return {name: quantity(amount) for name, amount in dig(node, "status", "allocatable", default={}).items()}


def misfit(pod: Object, node: Object, used: Amounts, volumes: Sequence[Object] = ()) -> Misfit | None:
    """Why the node cannot take the pod, or None if it can; checked in the order of the real scheduler's filters.

    Args:
        pod: The pod that waits.
        node: The node.
        used: What the pods on the node have taken already.
        volumes: The persistent volumes that the pod mounts.
    """
    if dig(node, "spec", "unschedulable") and not tolerates(pod, {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}):
        return Misfit(reasons=("node(s) were unschedulable",), hopeless=True)
    taints = [taint for taint in dig(node, "spec", "taints", default=[]) if taint["effect"] in ("NoSchedule", "NoExecute")]
    if not all(tolerates(pod, taint) for taint in taints):
        return Misfit(reasons=("node(s) had untolerated taint(s)",), hopeless=True)
    if not matches_node(pod, node):
        if _asks_for_another(pod, node):
            # The scheduler looks at the named nodes alone, and never gets to ask this one.
            return Misfit(reasons=("node(s) didn't satisfy plugin(s) [NodeAffinity]",), hopeless=True)
        return Misfit(reasons=("node(s) didn't match Pod's node affinity/selector",), hopeless=True)
    free = allocatable(node)
    short = [
        (name, amount)
        for name, amount in requested(pod).items()
        if amount > 0 and amount > free.get(name, Decimal(0)) - used.get(name, Decimal(0))
    ]
    if not short and not all(_reaches(volume, node) for volume in volumes):
        return Misfit(reasons=("node(s) had volume node affinity conflict",), hopeless=True)
    if not short:
        return None
    reasons = tuple("Too many pods" if name == "pods" else f"Insufficient {name}" for name, _ in short)
    return Misfit(reasons=reasons, hopeless=any(amount > free.get(name, Decimal(0)) for name, amount in short))


def tolerates(pod: Object, taint: Object) -> bool:
    """Whether one of the pod's tolerations covers the taint."""
    for toleration in pod["spec"].get("tolerations") or []:
        if toleration.get("effect") and toleration["effect"] != taint["effect"]:
            continue
        if toleration.get("key") and toleration["key"] != taint["key"]:
            continue
        if toleration.get("operator", "Equal") == "Exists" or toleration.get("value", "") == taint.get("value", ""):
            return True
    return False


def matches_node(pod: Object, node: Object) -> bool:
    """Whether the node has what the pod's node selector and its required node affinity ask for."""
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in (pod["spec"].get("nodeSelector") or {}).items()):
        return False
    required = _required(pod)
    return required is None or _any_term(required, node)


def _asks_for_another(pod: Object, node: Object) -> bool:
    """Whether each of the pod's terms names nodes, and none of them this one."""
    required = dig(
        pod, "spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms", default=[]
    )
    named = [_names(term) for term in required]
    return bool(named) and all(names is not None and node["metadata"]["name"] not in names for names in named)


def _required(pod: Object) -> list[Object] | None:
    """The terms of the pod's required node affinity."""
    affinity = dig(pod, "spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
    return None if affinity is None else list(affinity)


def _names(term: Object) -> set[str] | None:
    """The nodes that a term names; none if it names none."""
    fields = [item for item in term.get("matchFields") or [] if item["key"] == "metadata.name" and item["operator"] == "In"]
    return {name for item in fields for name in item["values"]} if fields else None


def _reaches(volume: Object, node: Object) -> bool:
    """Whether the volume can be mounted on the node."""
    required = dig(volume, "spec", "nodeAffinity", "required", "nodeSelectorTerms")
    return required is None or _any_term(required, node)


def _any_term(terms: Iterable[Object], node: Object) -> bool:
    labels, fields = node["metadata"].get("labels") or {}, {"metadata.name": node["metadata"]["name"]}
    return any(
        # An empty term matches no node, where an empty selector matches everything.
        (term.get("matchExpressions") or term.get("matchFields"))
        and _matches(term.get("matchExpressions") or [], labels)
        and _matches(term.get("matchFields") or [], fields)
        for term in terms
    )


def _matches(expressions: Iterable[Object], values: Mapping[str, str]) -> bool:
    return all(
        Requirement(key=item["key"], operator=_OPERATORS[item["operator"]], values=frozenset(item.get("values") or ())).matches(values)
        for item in expressions
    )


def unbound_message(trouble: str, nodes: int) -> str:
    """The same sentence where a claim of the pod's rules out every node."""
    return (
        f"0/{nodes} nodes are available: {trouble}. not found"
        if trouble.endswith("not found")
        else f"0/{nodes} nodes are available: {trouble}."
    )


def unschedulable_message(misfits: Sequence[Misfit], *, may_preempt: bool = True) -> str:
    """The sentence of the PodScheduled condition when no node can take a pod."""
    count = len(misfits)
    if not count:
        return "no nodes available to schedule pods"
    reasons = Counter(reason for misfit in misfits for reason in misfit.reasons)
    found = ", ".join(sorted(f"{number} {reason}" for reason, number in reasons.items()))
    if not may_preempt:
        return f"0/{count} nodes are available: {found}. preemption: not eligible due to preemptionPolicy=Never."
    outlook = Counter(NOT_HELPFUL if misfit.hopeless else NO_VICTIMS for misfit in misfits)
    preemption = ", ".join(sorted(f"{number} {reason}" for reason, number in outlook.items()))
    return f"0/{count} nodes are available: {found}. no new claims to deallocate, preemption: 0/{count} nodes are available: {preemption}."
