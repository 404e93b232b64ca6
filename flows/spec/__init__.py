"""What is wanted: models, environments, checks, candidates. Frozen dataclasses; only `flows.spec.load` reads files.

Each is imported when it is first asked for, so that a command that needs only the name of a block does not wait for pydantic.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flows.spec.approval import ApprovalPolicy, Approver, Approvers, Freeze
    from flows.spec.canary import CanaryStep
    from flows.spec.candidate import Candidate, EngineSettings, LoadFormat, SnapshotFile, Speculative
    from flows.spec.checks import Check, CheckSuite, Expectation, GoldenPrompt
    from flows.spec.differences import IgnoredDifference
    from flows.spec.environment import (
        BehaviourPolicy,
        Environment,
        FailurePolicy,
        LatencyPolicy,
        PrefetchPolicy,
        RolloutPolicy,
        StabilityPolicy,
        Toleration,
    )
    from flows.spec.foreign import DriftPolicy, InjectionPolicy, KnownContainer
    from flows.spec.load import Deployments
    from flows.spec.model import Model
    from flows.spec.shared import Shared

_MODULES = ("approval", "canary", "candidate", "checks", "differences", "environment", "foreign", "load", "model", "shared")

__all__ = [
    "ApprovalPolicy",
    "Approver",
    "Approvers",
    "BehaviourPolicy",
    "CanaryStep",
    "Candidate",
    "Check",
    "CheckSuite",
    "Deployments",
    "DriftPolicy",
    "EngineSettings",
    "Environment",
    "Expectation",
    "FailurePolicy",
    "Freeze",
    "GoldenPrompt",
    "IgnoredDifference",
    "InjectionPolicy",
    "KnownContainer",
    "LatencyPolicy",
    "LoadFormat",
    "Model",
    "PrefetchPolicy",
    "RolloutPolicy",
    "Shared",
    "SnapshotFile",
    "Speculative",
    "StabilityPolicy",
    "Toleration",
]


def __getattr__(name: str) -> object:
    if name in __all__:
        for module in _MODULES:
            found: object = getattr(importlib.import_module(f"flows.spec.{module}"), name, None)
            if found is not None:
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
