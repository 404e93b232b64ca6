"""A release leaves evidence that explains it, passed or not."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys

import pytest
import yaml
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey, ArtifactFilterType
from prefect.settings import temporary_settings
from pydantic import SecretStr
from rich.console import Console

from blocks.registry import Registry
from flows.cli import evidence as kept
from flows.errors import SpecInvalid
from flows.naming import release_name
from flows.record.phases import BUDGET_SECONDS, PHASES
from flows.release import release
from flows.spec.load import ROOT
from tests.flows.conftest import Site
from tests.support.waiting import HANGS_SECONDS


def slipway(site: Site, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as a user of this site runs it."""
    with temporary_settings() as settings:
        environment = {**os.environ, "PREFECT_API_URL": str(settings.api.url), "SLIPWAY_DEPLOYMENTS": str(site.deployments)}
    command = [sys.executable, "-m", "flows.cli.app", *arguments]
    return subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=HANGS_SECONDS, stdin=subprocess.DEVNULL
    )


TEMPLATE = "{% for message in messages %}<|{{ message.role }}|> {{ message.content }}{% endfor %}<|assistant|>"


def test_evidence_explains_what_was_released_and_what_was_refused(site: Site) -> None:
    site.edit(f"models/{site.model}.yaml", checks="full")
    # given a release that passed
    run = site.start(release, model=site.model, environments=["development"])
    assert site.leg(release, run).is_completed()

    # then its evidence is found by the run and by the hash, and says what was measured
    with site.registry() as registry:
        found = kept.find(registry, str(run.id), None)
        assert kept.find(registry, found.sha256[:12], None) == found
        page = kept.page(registry, found)
        events = {event.kind: event.detail for event in registry.events.latest(run_id=str(run.id))}
        current = registry.current(site.model, "development")
        with pytest.raises(SpecInvalid, match="verified nothing in staging"):
            kept.find(registry, str(run.id), "staging")
        with pytest.raises(SpecInvalid, match="no evidence '00000000'"):
            kept.find(registry, "00000000", None)
        with pytest.raises(SpecInvalid, match="is of the kind page, not a verification"):
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
    assert set(timed["phases"]) == set(PHASES) - {"canary"}
    assert timed["phases"]["load"] >= 0
    assert (timed["within_budget"], timed["budget_seconds"]) == (True, BUDGET_SECONDS)
    # and the run's page leads to it
    key = ArtifactFilterKey(any_=[release_name(site.model, "release")])
    wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]), type=ArtifactFilterType(any_=["markdown"]), key=key)
    (artifact,) = site.client.read_artifacts(artifact_filter=wanted)
    assert "| development | passed | " in str(artifact.data)
    assert f"`{found.sha256[:12]}` |" in str(artifact.data)

    # and the command gives the document that was hashed, and the page that was kept
    path = site.deployments / "evidence.html"
    told = slipway(site, "evidence", found.sha256[:12], "--json", "--html", str(path))
    assert told.returncode == 0, told.stderr
    assert hashlib.sha256(told.stdout.rstrip("\n").encode()).hexdigest() == found.sha256
    assert path.read_text(encoding="utf-8") == page

    # when the same commit is released with another chat template
    engine = yaml.safe_load((site.deployments / "models" / f"{site.model}.yaml").read_text())["engine"]
    site.edit(f"models/{site.model}.yaml", engine={**engine, "chat_template": TEMPLATE})
    again = site.start(release, model=site.model, environments=["development"])
    ended = site.leg(release, again)

    # then it fails, because the same weights answer differently, and the evidence shows which answers
    assert ended.name == "Failed"
    assert ended.message is not None
    assert "behaviour: expected the same commit's answers" in ended.message
    with site.registry() as registry:
        refused = kept.find(registry, str(again.id), "development")
        failed = next(event for event in registry.events.latest(run_id=str(again.id)) if event.kind == "failed")
        assert "of the same hub revision" in kept.page(registry, refused)
    assert failed.detail["evidence_sha256"] == refused.sha256
    assert str(failed.detail["reason"]).startswith("VerificationFailed: ")
    behaviour = refused.evidence.verdict.behaviour
    assert behaviour is not None
    assert behaviour.reference == found.evidence.candidate.fingerprint == refused.evidence.replaces
    assert {difference.name for difference in behaviour.differences if difference.max_nats > behaviour.tolerance_nats}
    with site.registry() as registry:
        route = registry.route(site.model, "development")
    assert route is not None
    assert route.endpoint is not None, "the environment went back"


def test_a_fault_and_our_no_have_exit_codes_of_their_own(site: Site) -> None:
    assert slipway(site, "evidence", "0" * 12).returncode == 1
    Registry(dsn=SecretStr("postgresql://slipway@127.0.0.1:9/registry"), connect_timeout_seconds=1).save(site.blocks, overwrite=True)

    errored = slipway(site, "status")

    assert errored.returncode == 3
    assert errored.stderr.startswith("slipway: ")
    assert "127.0.0.1" in errored.stderr
