"""Helm, Git, Argo CD and the cluster do not say what was recorded. Nothing is mended by itself: somebody may have done it on purpose."""

from __future__ import annotations

from collections.abc import Iterable

from flows.doctor.rules.facts import DriftFact, Facts
from flows.doctor.rules.runs import is_held
from flows.doctor.rules.symptom import Symptom
from flows.naming import release_name


def drift_symptoms(facts: Facts) -> Iterable[Symptom]:
    """What has drifted; a place that a run is changing just now is left out."""
    busy = {(lock.model, lock.environment) for lock in facts.locks if is_held(lock)}
    yield from _set_by_others(facts, busy)
    for drift in facts.drifts:
        if (drift.model, drift.environment) not in busy:
            about = f"{drift.model} in {drift.environment}"
            sentence = f"drift of {about} could not be looked for: {drift.message}" if drift.kind == "unseen" else drift.message
            yield Symptom(kind=f"drift-{drift.kind}", about=about, message=sentence, command=_command(drift))


def _set_by_others(facts: Facts, busy: set[tuple[str, str]]) -> Iterable[Symptom]:
    for entry in facts.entries:
        seen = facts.environments.get(entry.environment)
        sentence = seen.set_by_others.get(release_name(entry.model, entry.environment)) if seen is not None else None
        if sentence and entry.status in ("ready", "degraded") and (entry.model, entry.environment) not in busy:
            command = f"slipway release {entry.model} --revision {entry.hub_revision} --environment {entry.environment}"
            yield Symptom(kind="drift-rendered", about=f"{entry.model} in {entry.environment}", message=sentence, command=command)


def _command(drift: DriftFact) -> str:
    model, environment = drift.model, drift.environment
    if drift.kind == "application":
        return (
            f"kubectl edit application -n {drift.argocd_namespace} {drift.application}, and argocd/{environment}/applications.yaml in Git"
        )
    if drift.kind == "git":
        return f"slipway release {model} --revision {drift.hub_revision} --environment {environment}"
    if drift.kind == "live":
        from flows.delivery.application import by_hand  # the rest of that room is for who delivers

        back = by_hand(drift.application, drift.argocd_namespace, drift.git_commit or "COMMIT")
        return f"{back}; or, to keep what was gone back to by hand: slipway rollback {model} {environment} --reason TEXT --as NAME"
    return "docs/troubleshooting.md has the sentence"
