"""What is wanted: models, environments, checks, candidates. Frozen dataclasses; only `flows.spec.load` reads files."""

from flows.spec.approval import ApprovalPolicy, Approver, Approvers, Freeze
from flows.spec.candidate import Candidate, EngineSettings, SnapshotFile, Speculative
from flows.spec.checks import Check, CheckSuite, Expectation, GoldenPrompt
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
from flows.spec.load import Deployments
from flows.spec.model import Model
from flows.spec.shared import Shared

__all__ = [
    "ApprovalPolicy",
    "Approver",
    "Approvers",
    "BehaviourPolicy",
    "Candidate",
    "Check",
    "CheckSuite",
    "Deployments",
    "EngineSettings",
    "Environment",
    "Expectation",
    "FailurePolicy",
    "Freeze",
    "GoldenPrompt",
    "LatencyPolicy",
    "Model",
    "PrefetchPolicy",
    "RolloutPolicy",
    "Shared",
    "SnapshotFile",
    "Speculative",
    "StabilityPolicy",
    "Toleration",
]
