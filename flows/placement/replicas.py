"""How many pods a release shall have and how long they may take to stop, by the chart's values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flows.errors import SpecInvalid
from flows.spec import Environment


@dataclass(frozen=True, kw_only=True)
class Replicas:
    """What the values say.

    Attributes:
        least: Pods that there shall be at the least.
        autoscaled: Whether an autoscaler may ask for more of them.
        grace_seconds: What one may take to stop.
    """

    least: int
    autoscaled: bool
    grace_seconds: float


def wanted_replicas(values: Mapping[str, Any], environment: Environment) -> Replicas:
    """Read the chart's values as they are when the environment's are merged in.

    Raises:
        SpecInvalid: They do not say it, an autoscaler and the values both own the number of pods, or they choose what the plan chooses.
    """
    file = f"deployments/environments/{environment.name}.yaml"
    if "strategy" in _mapping(environment.values, "rollout"):
        raise SpecInvalid(f"{file}: values.rollout.strategy: is chosen by the plan; set rollout.strategy of the environment instead.")
    scaling, replicas, grace = _mapping(values, "autoscaling"), values.get("replicas"), values.get("terminationGracePeriodSeconds")
    kind = scaling.get("kind", "none")
    # Both would own `.spec.replicas`: by server-side apply the next upgrade ends in a conflict with the autoscaler.
    if kind != "none" and replicas is not None:
        raise SpecInvalid(
            f"{file}: values.replicas: is {replicas!r}, but values.autoscaling.kind is {kind}: the autoscaler owns the number of pods, so "
            "set replicas to null."
        )
    least, key = (replicas, "replicas") if kind == "none" else (scaling.get("minReplicas"), "autoscaling.minReplicas")
    # Not `isinstance`: to Python `true` is an int, too.
    if type(least) is not int or least < 1:
        raise SpecInvalid(f"{file}: values.{key}: must be a number of pods, 1 or more.")
    if type(grace) is not int or grace < 0:
        raise SpecInvalid(f"{file}: values.terminationGracePeriodSeconds: must be a number of seconds.")
    return Replicas(least=least, autoscaled=kind != "none", grace_seconds=float(grace))


def _mapping(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = values.get(key)
    return found if isinstance(found, Mapping) else {}
