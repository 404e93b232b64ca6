"""NetworkPolicies as Kubernetes defines them, evaluated: may these two talk? Pure, and only for the words that our charts use."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

NAME = "kubernetes.io/metadata.name"


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A pod, or (without labels) an address outside the pod network."""

    address: str
    namespace_labels: Mapping[str, str] | None = None
    pod_labels: Mapping[str, str] = field(default_factory=dict)


def pod(namespace: str, labels: Mapping[str, str], address: str = "10.1.0.9") -> Peer:
    return Peer(address=address, namespace_labels={NAME: namespace}, pod_labels=labels)


def passes(policies: Sequence[Mapping[str, Any]], source: Peer, destination: Peer, port: int, protocol: str) -> bool:
    """Whether traffic gets out of the one and into the other."""
    return allowed(policies, source, "Egress", destination, port, protocol) and allowed(
        policies, destination, "Ingress", source, port, protocol
    )


def allowed(policies: Sequence[Mapping[str, Any]], at: Peer, direction: str, peer: Peer, port: int, protocol: str) -> bool:
    """Whether traffic passes between a pod and the peer, in the direction seen from the pod: no policy selects it, or any lets it pass."""
    if at.namespace_labels is None:
        return True
    holding = [
        policy
        for policy in policies
        if policy["metadata"]["namespace"] == at.namespace_labels[NAME]
        and direction in policy["spec"]["policyTypes"]
        and _selected(policy["spec"]["podSelector"], at.pod_labels)
    ]
    return not holding or any(_permitted(policy, direction, peer, port, protocol) for policy in holding)


def _permitted(policy: Mapping[str, Any], direction: str, peer: Peer, port: int, protocol: str) -> bool:
    """Whether any rule lets the peer through. A rule that leaves out peers or ports means all of them."""
    side = {"Ingress": "from", "Egress": "to"}[direction]
    for rule in policy["spec"].get(direction.lower(), []):
        assert rule.keys() <= {side, "ports"}
        peers, ports = rule.get(side) or [], rule.get("ports") or []
        if peers and not any(_matches(candidate, peer, policy["metadata"]["namespace"]) for candidate in peers):
            continue
        assert all(opened.keys() == {"port", "protocol"} for opened in ports)
        if not ports or any((opened["port"], opened["protocol"]) == (port, protocol) for opened in ports):
            return True
    return False


def _matches(rule_peer: Mapping[str, Any], peer: Peer, namespace: str) -> bool:
    known: tuple[set[str], ...] = ({"namespaceSelector", "podSelector"}, {"podSelector"}, {"ipBlock"})
    assert rule_peer.keys() in known, f"this evaluator does not know {sorted(rule_peer)}"
    if "ipBlock" in rule_peer:
        assert rule_peer["ipBlock"].keys() <= {"cidr", "except"}
        address = ipaddress.ip_address(peer.address)
        inside = address in ipaddress.ip_network(rule_peer["ipBlock"]["cidr"])
        return inside and not any(address in ipaddress.ip_network(cidr) for cidr in rule_peer["ipBlock"].get("except", ()))
    if peer.namespace_labels is None:
        return False
    # Without a selector of namespaces, the policy's own is meant.
    namespaces = rule_peer.get("namespaceSelector", {"matchLabels": {NAME: namespace}})
    return _selected(namespaces, peer.namespace_labels) and _selected(rule_peer["podSelector"], peer.pod_labels)


def _selected(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    assert selector.keys() <= {"matchLabels"}, f"this evaluator does not know {sorted(selector)}"
    return bool(selector.get("matchLabels", {}).items() <= labels.items())
