"""Failed, errored and inconclusive are told apart in the run's state and in the command's exit code."""

from __future__ import annotations

import pytest

from blocks.errors import ClusterUnreachable, EndpointRejected, PipelineError, RegistryRejected
from flows.cli.app import _EXIT_CODES
from flows.errors import ApprovalDenied, SpecInvalid, VerificationFailed, VerificationInconclusive
from flows.promotion.promote import require_passed
from flows.runtime.states import ended
from flows.verification.evidence import EvidenceRef, VerifiedEvidence
from flows.verification.measurement import Measurement, Outcome
from tests.support.examples import verdict


@pytest.mark.parametrize(
    ("outcome", "error", "state", "code"),
    [
        ("failed", VerificationFailed, "Failed", 1),
        ("errored", EndpointRejected, "Errored", 3),
        ("inconclusive", VerificationInconclusive, "Inconclusive", 4),
    ],
)
def test_a_verdict_that_did_not_pass_ends_the_run(outcome: Outcome, error: type[PipelineError], state: str, code: int) -> None:
    measurement = Measurement(name="capital", outcome=outcome, expected="Paris", seen="Lyon")
    proof = VerifiedEvidence(verdict=verdict(measurement), ref=EvidenceRef(sha256="a1b2c3" + "0" * 58, page_sha256="0" * 64))

    with pytest.raises(error) as caught:
        require_passed(proof, "tiny in staging")

    assert str(caught.value).startswith(f"tiny in staging: verification {outcome}: 1 of 1 checks; capital: expected Paris, saw Lyon")
    assert caught.value.facts["evidence_sha256"] == proof.ref.sha256
    assert (ended(caught.value).name, ended(caught.value).type.value) == (state, "FAILED")
    assert _EXIT_CODES[state] == code


def test_a_verdict_that_passed_goes_on() -> None:
    require_passed(VerifiedEvidence(verdict=verdict(), ref=EvidenceRef(sha256="0" * 64, page_sha256="0" * 64)), "tiny in staging")


@pytest.mark.parametrize(
    ("error", "state"),
    [(SpecInvalid, "Failed"), (ApprovalDenied, "Failed"), (ClusterUnreachable, "Errored"), (RegistryRejected, "Errored")],
)
def test_our_no_fails_and_a_fault_errs(error: type[PipelineError], state: str) -> None:
    assert ended(error("why")).name == state
