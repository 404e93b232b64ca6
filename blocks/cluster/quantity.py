"""Amounts, as Kubernetes writes them."""

from __future__ import annotations

from collections.abc import Mapping

from kubernetes.utils.quantity import parse_quantity


def amount(amounts: Mapping[str, str] | None, name: str) -> int:
    """One of an object's amounts as a whole number; 0 where it has none of that name. Kubernetes writes 1000 as `1k`."""
    return int(parse_quantity((amounts or {}).get(name, "0")))  # type: ignore[no-untyped-call]
