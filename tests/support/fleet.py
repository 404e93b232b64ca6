"""A registry that many models are in: rows for a thousand, and for one of them a history as releases write it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import LiteralString

import psycopg

from blocks.facts.kinds import EventKind
from blocks.registry import Gate, RegistryClient
from blocks.registry.documents import digest
from flows.candidate.changes import changes
from flows.spec import Candidate
from flows.verification.latency import LatencyLevel
from tests.support.examples import about, candidate, evidence, verdict

ENVIRONMENTS = ("development", "staging", "production")

#: The model with a history, and the run that waits for approval of its last candidate.
MODEL, WAITING_RUN = "tiny-llama", "11111111-2222-4333-8444-555555555555"

_ENTRIES: LiteralString = """
INSERT INTO model_registry_entries (
    model_name, hub_revision, deployment_environment, deployment_namespace, deployment_endpoint, deployment_status,
    deployment_status_reason, candidate_fingerprint, helm_revision, verified_at, last_health_check_at, health_window
)
SELECT
    'model-' || to_char(model, 'FM0000'), encode(sha256(convert_to('commit' || model || '.' || revision, 'UTF8')), 'hex'), environment,
    'llm-' || environment, 'model-' || model || '-' || environment || '.models.svc.cluster.local:8000',
    CASE WHEN revision < 3 THEN 'disabled' WHEN model %% 97 = 0 THEN 'degraded' WHEN model %% 131 = 0 THEN 'failed' ELSE 'ready' END,
    CASE WHEN revision < 3 THEN 'superseded' WHEN model %% 97 = 0 THEN 'P95 was 412 ms, allowed are 300 ms' END,
    encode(sha256(convert_to(model || '.' || revision, 'UTF8')), 'hex'), revision,
    now() - make_interval(days => 30 - revision, hours => model %% 20),
    now(), CASE WHEN model %% 97 = 0 THEN '++---' ELSE '+++++' END
FROM generate_series(1, %(models)s) AS model, generate_series(1, 3) AS revision, unnest(%(environments)s::text[]) AS environment
"""
_EVENTS: LiteralString = """
INSERT INTO slipway_events (occurred_at, kind, model_name, environment, candidate_fingerprint, run_id, detail)
SELECT
    e.verified_at + make_interval(hours => number), (ARRAY['deploying', 'verified', 'ready', 'revalidated'])[number], e.model_name,
    e.deployment_environment, e.candidate_fingerprint, 'run-' || e.model_name || e.helm_revision,
    jsonb_build_object('evidence_sha256', encode(sha256(convert_to(e.candidate_fingerprint || number, 'UTF8')), 'hex'))
FROM generate_series(1, 4) AS number, model_registry_entries AS e
WHERE e.model_name LIKE 'model-%%'
"""


def fill(dsn: str, models: int) -> None:
    """So many models in three environments, each with three candidates and the events of their releases."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(_ENTRIES, {"models": models, "environments": list(ENVIRONMENTS)})
        connection.execute("SET session_replication_role = origin")
        connection.execute(_EVENTS, {})
        connection.execute("VACUUM ANALYZE")


def tell_history(registry: RegistryClient, releases: int = 6) -> list[Candidate]:
    """Releases of one model through all environments, of which the last waits before production; its candidates, in their order."""
    begin = datetime.now(UTC) - timedelta(days=3 * releases)
    made = []
    for number in range(releases):
        engine = replace(candidate().engine, max_model_len=4096 * (1 + number // 2), chat_template="" if number < 3 else "{{ messages }}")
        one = candidate(commit=f"{number:x}" * 40, engine=engine, about=about())
        made.append(one)
        registry.candidates.register(one.fingerprint, one.document(), one.model, one.commit)
        for step, name in enumerate(ENVIRONMENTS):
            at, last = begin + timedelta(days=3 * number, hours=step), number == releases - 1
            if name == "production" and last:
                _wait(registry, one, made[-2], at)
                continue
            run = WAITING_RUN if last else f"{number:08d}-2222-4333-8444-555555555555"
            _bring(registry, one, name, run, at, 0.18 + 0.03 * number, passed=(number, name) != (2, "staging"))
    return made


def _bring(registry: RegistryClient, one: Candidate, environment: str, run: str, at: datetime, seconds: float, *, passed: bool) -> None:
    where = {"model": one.model, "environment": environment, "fingerprint": one.fingerprint, "run_id": run}
    namespace, endpoint = f"llm-{environment}", f"{one.model}-{environment}.llm.svc.cluster.local:8000"
    registry.lifecycle.begin(**where, hub_revision=one.commit, namespace=namespace, endpoint=endpoint, at=at)
    found = verdict()
    levels = tuple(_slower(level, seconds) for level in found.latency)
    shown = evidence(
        replace(found, latency=levels, outcome="passed" if passed else "failed"), candidate=one, run_id=run, measured_at=at
    ).document()
    sha256 = registry.evidence.save("verification", {**shown, "environment": environment})
    outcome = "passed" if passed else "failed"
    detail = {"outcome": outcome, "sentence": f"{outcome}: 31 of 31 checks", "evidence_sha256": sha256}
    registry.events.add(EventKind.VERIFIED, **where, detail=detail, at=at + timedelta(minutes=6))
    if passed:
        registry.lifecycle.mark_ready(**where, helm_revision=1, evidence_sha256=sha256, at=at + timedelta(minutes=7))
    else:
        registry.lifecycle.mark_failed(
            **where, reason="P95 was 412 ms, allowed are 300 ms", cluster_changed=False, at=at + timedelta(minutes=7)
        )


def _slower(level: LatencyLevel, seconds: float) -> LatencyLevel:
    assert level.end_to_end is not None
    p50, p95 = level.end_to_end.p50, level.end_to_end.p95
    told = replace(level.end_to_end, p50=replace(p50, value=seconds), p95=replace(p95, value=seconds * 1.6))
    return replace(level, end_to_end=told)


def _wait(registry: RegistryClient, one: Candidate, before: Candidate, at: datetime) -> None:
    passed = registry.events.last_verdict(one.model, "staging", one.fingerprint)
    differs = [vars(change) for change in changes(before, one)]
    document = {
        "candidate": one.document(),
        "environment": "production",
        "current": before.fingerprint,
        "changes": differs,
        "verdict_sha256": passed.detail["evidence_sha256"] if passed else None,
    }
    sha256 = registry.evidence.save("approval", document)
    gate = Gate(
        run_id=WAITING_RUN,
        name=f"production-{digest(document)[:16]}",
        model=one.model,
        environment="production",
        fingerprint=one.fingerprint,
    )
    subject = {"requester": "zoe", "evidence_sha256": sha256, "request_hours": 168.0}
    registry.approvals.mark(gate, EventKind.APPROVAL_REQUESTED, subject, at=at)
