"""What people and scripts read of a plan: what a release would do, how it fits, and everything that speaks against it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flows.candidate.page import candidate_rows
from flows.errors import Refusal
from flows.placement.assess import Assessment
from flows.placement.fit import RESERVE_BYTES, token_bytes
from flows.spec import Candidate
from flows.text import gib

_HEAD = "| environment | | needed on a GPU | largest context | free GPUs |"


def preview_page(candidate: Candidate, refusals: Sequence[Refusal], assessments: Sequence[Assessment]) -> str:
    """The plan as markdown.

    Args:
        candidate: What would be released.
        refusals: Why its model may be served nowhere.
        assessments: What would happen in each environment.
    """
    lines = [f"## Plan for {candidate.model} at {candidate.commit[:12]}", ""]
    if refusals:
        lines += ["### It cannot be released", "", *(f"- {refusal.message}" for refusal in refusals), ""]
    lines += ["### In short", "", _HEAD, "|" + "-|" * (_HEAD.count("|") - 1), *map(_fit_row, assessments), ""]
    for assessment in assessments:
        lines += [f"### {assessment.environment.name}", "", *_story(candidate, assessment, bool(refusals)), ""]
    lines += ["### The candidate", "", *candidate_rows(candidate), *_kv_row(candidate), ""]
    lines.append("Memory is an estimate until vLLM measures it, when it starts. Nothing was touched.")
    return "\n".join(lines)


def model_row(candidate: Candidate, refusals: Sequence[Refusal]) -> dict[str, Any]:
    """What was found of the model, for scripts."""
    about = candidate.about
    row: dict[str, Any] = {
        "model": candidate.model,
        "repository": candidate.repository,
        "commit": candidate.commit,
        "candidate": candidate.fingerprint,
        "files": len(candidate.files),
        "size_bytes": candidate.size_bytes,
        "remote_code": candidate.remote_code,
    }
    if about is not None:
        row |= {
            "architecture": about.config.architecture,
            "parameters": about.parameters,
            "dtype": about.dtype,
            "quantisation": about.config.quantisation,
            "weights_bytes": about.weights_bytes,
            "kv_bytes_per_token": token_bytes(about, candidate.engine) or None,
            "max_context": about.config.max_context,
            "formats": ", ".join(about.formats),
            "licence": ", ".join(about.licences),
            "gated": about.gated,
        }
    return row | {"refusals": _sentences(refusals)}


def environment_row(assessment: Assessment) -> dict[str, Any]:
    """What was found of one environment, for scripts."""
    fit, way = assessment.fit, assessment.way
    room = way.room if way else None
    return {
        "environment": assessment.environment.name,
        "ok": not assessment.refusals,
        "nodes": ", ".join(assessment.plan.nodes),
        "replicas": assessment.seen.replicas,
        "strategy": assessment.plan.strategy,
        "interruption_seconds": assessment.plan.interruption_seconds,
        "gpu_bytes": assessment.target.gpu_bytes,
        "usable_bytes": fit.usable_bytes if fit else None,
        "weights_bytes": fit.weights_bytes if fit else None,
        "kv_bytes": fit.kv_bytes if fit else None,
        "needed_bytes": fit.needed_bytes if fit else None,
        "largest_context": fit.largest_context if fit else None,
        "gpus_free": room.free if room else None,
        "gpus_held": room.held if room else None,
        "gpus_extra": room.extra if room else None,
        "load_seconds": assessment.plan.budget.load_seconds,
        "refusals": _sentences(assessment.refusals),
    }


def _sentences(refusals: Sequence[Refusal]) -> str:
    return "\n".join(refusal.message for refusal in refusals)


def _kv_row(candidate: Candidate) -> list[str]:
    about = candidate.about
    if about is None:
        return []
    windowed = sum(group.layers for group in about.config.attention if group.window is not None)
    more = f", and {windowed} layers with a window" if windowed else ""
    state = ", and a state of linear attention" if about.config.state_values else ""
    size = f"{token_bytes(about, candidate.engine):,} bytes a token{more}{state}" if about.config.attention else "cannot be told"
    longest = f"{about.config.max_context:,} tokens" if about.config.max_context is not None else "not said"
    return [f"| KV cache | {size} |", f"| longest context of the model | {longest} |", f"| formats | {', '.join(about.formats)} |"]


def _fit_row(assessment: Assessment) -> str:
    fit, room = assessment.fit, assessment.way.room if assessment.way else None
    cells = [
        assessment.environment.name,
        "can be released" if not assessment.refusals else "**refused**",
        f"{gib(fit.needed_bytes)} of {gib(fit.usable_bytes)}" if fit else "cannot be told",
        f"{fit.largest_context:,}" if fit else "cannot be told",
        f"{room.free} of {room.total}; {room.extra} needed" if room else "no node",
    ]
    return f"| {' | '.join(cells)} |"


def _story(candidate: Candidate, assessment: Assessment, nowhere: bool) -> list[str]:
    """What would happen, step by step; or everything that speaks against it."""
    if assessment.refusals:
        return [f"- {refusal.message}" for refusal in assessment.refusals]
    if nowhere:
        return ["- Nothing here speaks against it, but the model itself is refused."]
    environment, plan, seen = assessment.environment, assessment.plan, assessment.seen
    labels = sorted({pod.labels.get("slipway.dev/candidate", "")[:12] for pod in seen.pods} - {""})
    replaces = f"in place of candidate {', '.join(labels)}" if labels else "for the first time"
    pods = f"{seen.replicas} pod(s) with {candidate.engine.gpus} GPU(s) each"
    return [
        *([f"- Only after it is verified in {environment.after}."] if environment.after else []),
        *(["- Only after a person approves it."] if environment.approval.required else []),
        f"- {candidate.size_bytes / 1e6:,.1f} MB are brought to {', '.join(plan.nodes)}, unless they are there.",
        f"- Helm release `{plan.helm_release}` in namespace `{environment.namespace}`: {pods}, "
        f"{'which is there already' if labels == [candidate.short] else replaces}.",
        *(
            [f"- {assessment.way.message[0].upper()}{assessment.way.message[1:]}."]
            if assessment.way and labels != [candidate.short]
            else []
        ),
        *_memory(assessment),
        f"- Each pod may take {plan.budget.load_seconds} s to load, the rollout {plan.budget.rollout_seconds} s.",
        f"- It answers at `{plan.endpoint}`.",
    ]


def _memory(assessment: Assessment) -> list[str]:
    fit = assessment.fit
    if fit is None:
        return []
    return [
        f"- On one {assessment.target.gpu}: {gib(fit.weights_bytes)} of weights, {gib(fit.kv_bytes)} of KV cache for {fit.concurrency:,} "
        f"request(s) of {fit.max_model_len:,} tokens and {gib(RESERVE_BYTES)} of reserve make {gib(fit.needed_bytes)}; vLLM may take "
        f"{gib(fit.usable_bytes)} of {gib(fit.gpu_bytes)}."
    ]
