"""One thing that is wrong with a rollout, as the parts of the diagnosis find it."""

from __future__ import annotations

from typing import Literal, NamedTuple

Category = Literal[
    "quota-exceeded",
    "admission-refused",
    "no-gpu",
    "no-room",
    "no-matching-node",
    "node-disk-full",
    "shared-memory-full",
    "scratch-full",
    "node-lost",
    "image-not-found",
    "image-pull-denied",
    "image-not-pulled",
    "container-refused",
    "weights-missing",
    "weights-refused",
    "weights-unloadable",
    "gpu-out-of-memory",
    "no-kv-cache-memory",
    "out-of-memory",
    "killed-while-loading",
    "hung-engine",
    "crash-loop",
    "cluster-unreachable",
    "progress-deadline",
]

#: How long others may take to let go of what a new pod needs: an old pod's grace period and its GPU's release fit in.
OTHERS_LEAVE_SECONDS = 180.0


class Finding(NamedTuple):
    """What is wrong.

    Attributes:
        category: Its kind.
        message: What is wrong, in the words of Kubernetes or of the engine.
        patience_seconds: How long after the rollout's begin waiting may still cure it; 0 if never, none if until the deadline.
        evidence: The lines that it was read from.
    """

    category: Category
    message: str
    patience_seconds: float | None
    evidence: tuple[str, ...] = ()
