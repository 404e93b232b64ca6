"""What Git says of a model in an environment: the files of `deployments/gitops/README.md`, and the commits that change them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from blocks.gitops.message import CommitMessage
from flows.delivery.engines import Engines
from flows.delivery.provenance import Provenance
from flows.delivery.secret_scan import secret_in
from flows.delivery.yaml_edit import parsed, rewritten
from flows.errors import SpecInvalid
from flows.placement.assess import ReleasePlan
from flows.placement.capacity import StrategyName
from flows.spec import Candidate, Environment
from flows.weights.prefetch import snapshot_digest_of

#: Names in a model's folder.
VALUES, RELEASE, CHART = "values.yaml", "release.yaml", "chart"

_ABOUT_VALUES = (
    "# The values with which Argo CD renders chart/. Written by Slipway: keys come from its environments and models, comments stay.\n"
)
_EMPTY_CHART = b"""# Nothing is released here: a chart without templates, so that Argo CD takes away what there was. Written by Slipway.
apiVersion: v2
name: nothing
version: 0.0.0
"""
_ABOUT_RELEASE = "# What was promoted, and on which grounds. Written by Slipway.\n"


@dataclass(frozen=True, kw_only=True)
class Commit:
    """What Git is to say, and in whose name.

    Attributes:
        candidate: What is to run.
        environment: Where.
        plan: Its name there, and how its pods are replaced.
        run_id: The flow run that commits.
        requester: Who asked for it; empty where nobody is known.
        reason: Why an environment goes back; empty for a release.
    """

    candidate: Candidate
    environment: Environment
    plan: ReleasePlan
    run_id: str
    requester: str = ""
    reason: str = ""

    @property
    def folder(self) -> str:
        """Where Git keeps it."""
        return folder(self.candidate.model, self.environment.name)


def folder(model: str, environment: str) -> str:
    """Where Git keeps the model's files of an environment."""
    return f"environments/{environment}/{model}"


def values_text(before: str | None, values: Mapping[str, Any], where: str) -> str:
    """The file of values; comments of the one before stay.

    Raises:
        SpecInvalid: What is there is not YAML, or a value looks like a secret.
    """
    if (found := secret_in(values)) is not None:
        place, what = found
        raise SpecInvalid(f"{where}/{VALUES}: {place}: looks like {what}; Git keeps it for ever: use a Secret (docs/gitops.md).")
    # ruamel.yaml loads a file of comments alone as None, and the comment is gone; so it gets a key, which is overwritten.
    return rewritten(before or f"{_ABOUT_VALUES}{next(iter(values))}: 0\n", values, f"{where}/{VALUES}")


def with_strategy(before: str | None, strategy: StrategyName, where: str) -> str:
    """The same values with another way to replace the pods.

    Raises:
        SpecInvalid: What is there is not the chart's values.
    """
    values = parsed(before) if before else None
    if not isinstance(values, dict):
        raise SpecInvalid(f"{where}/{VALUES}: holds no values of the chart; mend it in Git.")
    return rewritten(before, {**values, "rollout": {**(values.get("rollout") or {}), "strategy": strategy}}, f"{where}/{VALUES}")


def release_text(before: str | None, wanted: Commit, provenance: Provenance) -> str:
    """The file that says what was promoted and why. It names no run: the same candidate on the same grounds is the same file."""
    return _release(before, _promoted(wanted, provenance), wanted.folder)


def engines_text(before: str | None, engines: Engines, wanted: Commit, provenance: Provenance) -> str:
    """The same file where two candidates are there: the grounds of the one beside what serves are below `beside`.

    Args:
        before: The file as it is.
        engines: What the values say now.
        wanted: The commit; its candidate is one of the two.
        provenance: Why that may go there.
    """
    document = parsed(before) if before else None
    there = document if isinstance(document, dict) else {}
    promoted_now = _promoted(wanted, provenance)
    known = {_fingerprint_of(each): {key: each.get(key) for key in _GROUNDS} for each in (there, there.get("beside"), promoted_now) if each}
    beside = {**known.get(engines.beside, {}), "weight": engines.weight, "warm": engines.warm} if engines.beside else None
    now = {**promoted_now, **known.get(engines.serving, {})}
    return _release(before, now if beside is None else {**now, "beside": beside}, wanted.folder)


def _fingerprint_of(document: Any) -> str | None:
    candidate = document.get("candidate") if isinstance(document, dict) else None
    fingerprint = candidate.get("fingerprint") if isinstance(candidate, dict) else None
    return fingerprint if isinstance(fingerprint, str) else None


#: Keys of the file that are about one candidate.
_GROUNDS = ("candidate", "evidence", "approvals")


def _release(before: str | None, document: Mapping[str, Any], where: str) -> str:
    return rewritten(before or f"{_ABOUT_RELEASE}application: 0\n", document, f"{where}/{RELEASE}")


def _promoted(wanted: Commit, provenance: Provenance) -> dict[str, Any]:
    candidate, environment, plan = wanted.candidate, wanted.environment, wanted.plan
    return {
        "application": plan.helm_release,
        "environment": environment.name,
        "namespace": environment.namespace,
        "model": candidate.model,
        "candidate": {
            "fingerprint": candidate.fingerprint,
            "repository": candidate.repository,
            "commit": candidate.commit,
            "image": candidate.image,
            "chart": candidate.chart_digest,
            "weights": snapshot_digest_of(candidate),
        },
        "evidence": provenance.evidence_sha256,
        "approvals": [
            {"approver": one.approver, "at": f"{one.at:%Y-%m-%dT%H:%M:%SZ}", "emergency": one.emergency} for one in provenance.approvals
        ],
    }


def empty_chart() -> dict[str, bytes]:
    """The files of a chart that renders to nothing: to Argo CD a folder that is gone is a fault, and an empty one is a wish."""
    return {"Chart.yaml": _EMPTY_CHART}


def left_text(before: str | None, engines: Engines, where: str) -> str:
    """The same file with one of its two candidates alone."""
    document = parsed(before) if before else None
    there = document if isinstance(document, dict) else {}
    beside = there.get("beside")
    alone = {key: value for key, value in there.items() if key != "beside"}
    if isinstance(beside, dict) and _fingerprint_of(beside) == engines.serving:
        alone |= {key: beside.get(key) for key in _GROUNDS}
    return rewritten(before, alone, f"{where}/{RELEASE}")


def without_beside(before: str | None, where: str) -> str:
    """The same file without the candidate that stood beside what served."""
    document = parsed(before) if before else None
    kept = {key: value for key, value in document.items() if key != "beside"} if isinstance(document, dict) else {}
    return rewritten(before, kept, f"{where}/{RELEASE}")


def removed_text(before: str, where: str) -> str:
    """The same file, saying that nothing is released there."""
    document = parsed(before)
    kept = document if isinstance(document, dict) else {}
    nothing: dict[str, Any] = {"candidate": None, "evidence": None, "approvals": []}
    return rewritten(before, {**{key: value for key, value in kept.items() if key != "beside"}, **nothing}, f"{where}/{RELEASE}")


def promoted(text: str | None) -> str | None:
    """The fingerprint that a `release.yaml` names; none if there is no such file, or it names none."""
    try:
        document = parsed(text) if text else None
    # Broken by hand: it names no candidate, and whoever writes to it next is told where.
    except SpecInvalid:
        return None
    return _fingerprint_of(document)


def values_of(text: str | None) -> dict[str, Any]:
    """The chart's values in a file; nothing where there is none, or it holds something else."""
    try:
        values = parsed(text) if text else None
    except SpecInvalid:
        return {}
    return values if isinstance(values, dict) else {}


def message(candidate: Candidate, environment: Environment, provenance: Provenance, verb: str = "promote") -> CommitMessage:
    """The commit's message: a subject, what it is about, and trailers that programs read."""
    about = f"{candidate.repository} at {candidate.commit}"
    return _message(verb, candidate.model, environment.name, candidate.fingerprint, provenance, about)


def message_of_removal(model: str, environment: str, fingerprint: str, provenance: Provenance) -> CommitMessage:
    """The message of the commit that takes a candidate away."""
    return _message("remove", model, environment, fingerprint, provenance, "")


def _message(verb: str, model: str, environment: str, fingerprint: str, provenance: Provenance, about: str) -> CommitMessage:
    return CommitMessage(
        subject=f"{model} in {environment}: {verb} candidate {fingerprint[:12]}",
        reason=provenance.reason,
        about=about,
        trailers=(
            ("Candidate", fingerprint),
            ("Model", model),
            ("Environment", environment),
            ("Run", provenance.run_id),
            ("Evidence", provenance.evidence_sha256 or ""),
            ("Requested-by", provenance.requester),
            *(("Approved-by", one.approver) for one in provenance.approvals),
        ),
    )
