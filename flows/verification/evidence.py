"""The evidence of one verification: one JSON document that says what was released, what was measured, by which limits, and the verdict."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic_core import to_jsonable_python

from blocks.storable import storable_text
from blocks.wording import without_secrets
from flows.record.phases import BUDGET_SECONDS
from flows.spec import BehaviourPolicy, Candidate, CheckSuite, Environment, LatencyPolicy, StabilityPolicy
from flows.spec.adapter import adapter
from flows.spec.types import STRICT
from flows.verification.golden import Reference
from flows.verification.verdict import Verdict


@dataclass(frozen=True, kw_only=True)
class Released:
    """The candidate, as far as people ask for it; `fingerprint` leads to the whole document in the registry."""

    fingerprint: str
    model: str
    repository: str
    commit: str
    image: str
    chart_digest: str
    files: int
    size_bytes: int
    max_model_len: int


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the verification was judged by."""

    latency: LatencyPolicy
    stability: StabilityPolicy
    behaviour: BehaviourPolicy
    budget_seconds: float = BUDGET_SECONDS


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One verification.

    Attributes:
        schema: The version of the document's form; a change that a reader would notice is a new one.
        measured_at: When the verdict was there, UTC.
        run_id: The flow run.
        environment: Where.
        candidate: What was released.
        replaces: Fingerprint of what served there before; none where nothing did.
        suite: Name of the check suite.
        suite_sha256: Hash of its canonical JSON.
        limits: What it was judged by.
        phases: Seconds by phase, in order, up to the verdict.
        verdict: What was measured, and what it amounts to.
    """

    __pydantic_config__ = STRICT

    schema: Literal["slipway.dev/evidence/v1"] = "slipway.dev/evidence/v1"
    measured_at: datetime
    run_id: str
    environment: str
    candidate: Released
    replaces: str | None
    suite: str
    suite_sha256: str
    limits: Limits
    phases: Mapping[str, float]
    verdict: Verdict

    def document(self) -> dict[str, Any]:
        """The evidence as JSON-able data that a database keeps as it is: floats to the microsecond, no character that JSON text lacks, no
        secret that an engine says, and no text without end."""
        return _kept(to_jsonable_python(asdict(self)))  # type: ignore[no-any-return]  # a dataclass is a mapping

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Evidence:
        """The evidence that `document` was made of.

        Raises:
            ValueError: It is none, or of another version.
        """
        return adapter(cls).validate_python(document)


@dataclass(frozen=True, kw_only=True)
class EvidenceRef:
    """Where evidence is in the registry: the hash of its document, and that of the page made of it."""

    sha256: str
    page_sha256: str


@dataclass(frozen=True, kw_only=True)
class VerifiedEvidence:
    """A verdict and where its evidence is kept."""

    verdict: Verdict
    ref: EvidenceRef


def evidence(
    *,
    candidate: Candidate,
    environment: Environment,
    suite: CheckSuite,
    reference: Reference,
    verdict: Verdict,
    phases: Mapping[str, float],
    run_id: str,
    measured_at: datetime,
) -> Evidence:
    """The evidence of a verdict."""
    canonical = json.dumps(to_jsonable_python(asdict(suite)), sort_keys=True, separators=(",", ":"))
    made = Evidence(
        measured_at=measured_at,
        run_id=run_id,
        environment=environment.name,
        candidate=Released(
            fingerprint=candidate.fingerprint,
            model=candidate.model,
            repository=candidate.repository,
            commit=candidate.commit,
            image=candidate.image,
            chart_digest=candidate.chart_digest,
            files=len(candidate.files),
            size_bytes=candidate.size_bytes,
            max_model_len=candidate.engine.max_model_len,
        ),
        replaces=reference.fingerprint,
        suite=suite.name,
        suite_sha256=hashlib.sha256(canonical.encode()).hexdigest(),
        limits=Limits(latency=environment.latency, stability=environment.stability, behaviour=environment.behaviour),
        phases=phases,
        verdict=verdict,
    )
    # As it will be read from the registry, so that whatever is made of it now can be made of it later.
    return Evidence.from_document(made.document())


def _kept(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {storable_text(str(key)): _kept(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_kept(inner) for inner in value]
    if isinstance(value, float):
        # To the microsecond: what is hashed must be what a database gives back.
        return round(value, 6)
    return without_secrets(storable_text(value)) if isinstance(value, str) else value
