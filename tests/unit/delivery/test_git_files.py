"""What a promotion says in Git: files that are the same for the same provenance, a message that programs read, and no secret."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from blocks.secret_shapes import looks_secret
from flows.delivery.engines import Engines
from flows.delivery.git_files import Commit, engines_text, message, promoted, release_text, removed_text, values_text, without_beside
from flows.delivery.provenance import GivenApproval, Provenance
from flows.delivery.secret_scan import secret_in
from flows.delivery.values import chart_values
from flows.errors import SpecInvalid
from flows.placement.assess import ReleasePlan, assess, plan_release
from tests.support.examples import BEGIN, candidate, cluster_state, digest, environment, model, node

GROUNDS = Provenance(
    run_id="4f0a7d4e-0000-4000-8000-000000000000",
    requester="zoe",
    evidence_sha256=digest("evidence"),
    approvals=(GivenApproval(approver="ada", at=BEGIN), GivenApproval(approver="bob", at=BEGIN, emergency=True)),
)
WHERE = "environments/staging/tiny-llama"


def plan() -> ReleasePlan:
    return plan_release(assess(model(), candidate(), environment(), cluster_state(node()), digest("chart")))


def release(before: str | None = None, **changes: Any) -> str:
    return release_text(before, wanted(), replace(GROUNDS, **changes))


def wanted(**changes: Any) -> Commit:
    return Commit(candidate=candidate(**changes), environment=environment(), plan=plan(), run_id="a run")


def test_the_files_hold_what_was_promoted_and_why() -> None:
    values = chart_values(candidate(), environment(), plan())

    assert yaml.safe_load(values_text(None, values, WHERE)) == values
    document = yaml.safe_load(release())
    assert document["application"] == "tiny-llama-staging"
    assert document["candidate"]["fingerprint"] == candidate().fingerprint == promoted(release())
    assert document["evidence"] == digest("evidence")
    assert [one["approver"] for one in document["approvals"]] == ["ada", "bob"]
    assert document["approvals"][1] == {"approver": "bob", "at": "2026-01-01T12:00:00Z", "emergency": True}


def test_the_same_grounds_are_the_same_file_whichever_run_finds_them() -> None:
    first = release()

    assert release(first) == first == release(run_id="another", requester="somebody else")
    assert release(first, approvals=()) != first


def test_two_candidates_each_keep_their_own_grounds() -> None:
    old, new = candidate().fingerprint, candidate(commit="2" * 40).fingerprint
    tried = engines_text(release(), Engines(serving=old, beside=new, weight=5), wanted(commit="2" * 40), replace(GROUNDS, approvals=()))

    document = yaml.safe_load(tried)
    assert promoted(tried) == old
    assert (document["beside"]["candidate"]["fingerprint"], document["beside"]["weight"]) == (new, 5)
    assert (len(document["approvals"]), document["beside"]["approvals"]) == (2, [])
    # they change places
    taken = engines_text(tried, Engines(serving=new, beside=old, warm=True), wanted(commit="2" * 40), replace(GROUNDS, approvals=()))
    document = yaml.safe_load(taken)
    assert promoted(taken) == new
    assert (document["beside"]["candidate"]["fingerprint"], document["beside"]["warm"]) == (old, True)
    assert (document["approvals"], len(document["beside"]["approvals"])) == ([], 2)
    # and one is left, or none
    assert "beside" not in yaml.safe_load(without_beside(taken, WHERE))
    assert "beside" not in yaml.safe_load(removed_text(taken, WHERE))
    assert "beside" not in yaml.safe_load(release(taken))


def test_the_files_say_who_writes_them_and_keep_what_people_add() -> None:
    values = chart_values(candidate(), environment(), plan())
    text = values_text(None, values, WHERE)
    assert text.startswith("# The values with which Argo CD renders")

    theirs = text.replace("loadBudgetSeconds:", "# slow disks in this room\nloadBudgetSeconds:")
    assert "# slow disks in this room\n" in values_text(theirs, {**values, "replicas": 2}, WHERE)


@pytest.mark.parametrize("text", [None, "", "candidate: 1\n", "a: [", "- 1\n", "candidate: {fingerprint: 12}\n"])
def test_a_release_file_that_names_nothing_promotes_nothing(text: str | None) -> None:
    assert promoted(text) is None


def test_the_message_has_trailers_that_git_reads() -> None:
    text = message(candidate(), environment(), GROUNDS).text()

    subject, _, rest = text.partition("\n")
    assert subject == f"tiny-llama in staging: promote candidate {candidate().short}"
    command = ["git", "interpret-trailers", "--parse"]
    read = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout.splitlines()
    assert read == [
        f"Candidate: {candidate().fingerprint}",
        "Model: tiny-llama",
        "Environment: staging",
        f"Run: {GROUNDS.run_id}",
        f"Evidence: {digest('evidence')}",
        "Requested-by: zoe",
        "Approved-by: ada",
        "Approved-by: bob",
    ]
    assert candidate().commit in rest


def test_what_people_give_cannot_pass_for_a_trailer() -> None:
    given = Provenance(run_id="1", requester="eve\nApproved-by: ada", reason="Approved-by: ada\n\nApproved-by: bob")
    text = message(candidate(), environment(), given, "back to").text()

    assert text.startswith(f"tiny-llama in staging: back to candidate {candidate().short}\n\n> Approved-by: ada Approved-by: bob\n")
    assert "\nApproved-by:" not in text


def test_a_proposal_to_merge_has_nothing_that_a_forge_takes_for_markup() -> None:
    given = Provenance(run_id="1", reason="<!-- @everyone\n\n# Closes #1 [x](https://evil.example)")
    proposed = message(candidate(), environment(), given, "back to")

    assert proposed.title() == f"tiny-llama in staging: back to candidate {candidate().short}"
    assert all(line.startswith("    ") or not line for line in proposed.description().splitlines())


TOKENS = {
    "a Hugging Face token": "hf_" + "a1B2" * 8,
    "a GitHub token": "ghp_" + "a1B2" * 9,
    "a GitLab token": "glpat-" + "a1B2" * 5,
    "an AWS access key": "AKIA" + "ABCD" * 4,
    "a Slack token": "xoxb-" + "1" * 12,
    "a private key": "-----BEGIN OPENSSH PRIVATE KEY-----",
    "a password in an address": "postgresql://slipway:hunter2@db/registry",
    "a key of vLLM's server": "--api-key=hunter2",
}


@pytest.mark.parametrize("what", TOKENS)
def test_a_value_that_looks_like_a_secret_is_refused_by_its_place_and_never_quoted(what: str) -> None:
    values = {"engine": {"extraArgs": ["--enforce-eager", TOKENS[what]]}}

    with pytest.raises(SpecInvalid, match=rf"{WHERE}/values\.yaml: engine\.extraArgs\[1\]: looks like {what}") as caught:
        values_text(None, values, WHERE)

    assert TOKENS[what] not in caught.value.message


@pytest.mark.parametrize("what", TOKENS)
def test_so_is_one_that_is_the_name_of_a_value(what: str) -> None:
    with pytest.raises(SpecInvalid, match=rf"{WHERE}/values\.yaml: a key of podAnnotations: looks like {what}") as caught:
        values_text(None, {"podAnnotations": {TOKENS[what]: "x"}}, WHERE)

    assert TOKENS[what] not in caught.value.message


def test_what_a_promotion_writes_does_not_look_like_a_secret() -> None:
    values = chart_values(candidate(), environment(), plan())

    assert secret_in(values) is None
    for text in (values_text(None, values, WHERE), release(), message(candidate(), environment(), GROUNDS).text()):
        assert looks_secret(text) is None
    assert looks_secret(f"{datetime.now(UTC)} https://git.example/a/b.git sha256:{digest('x')}") is None
