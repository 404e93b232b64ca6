"""A release leaves evidence that explains it, passed or not."""

from __future__ import annotations

import io

import pytest
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterType
from rich.console import Console

from flows import evidence as kept
from flows.errors import SpecInvalid
from flows.plan.phases import BUDGET_SECONDS, PHASES
from flows.release import release
from tests.flows.conftest import Site

TEMPLATE = "{% for message in messages %}<|{{ message.role }}|> {{ message.content }}{% endfor %}<|assistant|>"


def test_evidence_explains_what_was_released_and_what_was_refused(site: Site) -> None:
    # given a release that passed
    run = site.start(release, model=site.model, environments=["development"])
    assert site.leg(release, run).is_completed()

    # then its evidence is found by the run and by the hash, and says what was measured
    with site.registry() as registry:
        found = kept.find(registry, str(run.id), None)
        assert kept.find(registry, found.sha256[:12], None) == found
        page = kept.page(registry, found)
        events = {event.kind: event.detail for event in registry.events(run_id=str(run.id))}
        current = registry.current(site.model, "development")
        with pytest.raises(SpecInvalid, match="verified nothing in staging"):
            kept.find(registry, str(run.id), "staging")
        with pytest.raises(SpecInvalid, match="no evidence '00000000'"):
            kept.find(registry, "00000000", None)
        with pytest.raises(SpecInvalid, match="is a page, not a verification"):
            kept.find(registry, str(events["verified"]["page_sha256"]), None)
    assert current is not None
    assert found.evidence.verdict.outcome == "passed"
    assert found.evidence.candidate.fingerprint == current.fingerprint
    assert events["ready"]["evidence_sha256"] == found.sha256
    assert found.sha256 in page
    shown = io.StringIO()
    kept.show(found, Console(file=shown, width=200))
    assert "capital-as-json" in shown.getvalue()
    # and its time is told by phases, within the budget
    timed = events["timed"]
    assert isinstance(timed["phases"], dict)
    assert list(timed["phases"]) == [name for name in PHASES if name in timed["phases"]] == list(PHASES)
    assert timed["phases"]["load"] >= 0
    assert (timed["within_budget"], timed["budget_seconds"]) == (True, BUDGET_SECONDS)
    # and the run's page leads to it
    wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]), type=ArtifactFilterType(any_=["markdown"]))
    (artifact,) = site.client.read_artifacts(artifact_filter=wanted)
    assert "| development | passed | " in str(artifact.data)
    assert f"`{found.sha256[:12]}` |" in str(artifact.data)

    # when the same commit is released with another chat template
    path = f"models/{site.model}.yaml"
    site.edit(path, engine={"max_model_len": 256, "chat_template": TEMPLATE})
    again = site.start(release, model=site.model, environments=["development"])
    ended = site.leg(release, again)

    # then it fails, because the same weights answer differently, and the evidence shows which answers
    assert ended.name == "Failed"
    assert ended.message is not None
    assert "behaviour: expected the same commit's answers" in ended.message
    with site.registry() as registry:
        refused = kept.find(registry, str(again.id), "development")
        failed = next(event for event in registry.events(run_id=str(again.id)) if event.kind == "failed")
        assert "of the same hub revision" in kept.page(registry, refused)
    assert failed.detail["evidence_sha256"] == refused.sha256
    assert str(failed.detail["reason"]).startswith("VerificationFailed: ")
    behaviour = refused.evidence.verdict.behaviour
    assert behaviour is not None
    assert behaviour.reference == found.evidence.candidate.fingerprint == refused.evidence.replaces
    assert {difference.name for difference in behaviour.differences if difference.max_nats > behaviour.tolerance_nats}
    with site.registry() as registry:
        assert registry.route(site.model, "development") is None
