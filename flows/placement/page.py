"""What people and scripts read of a plan: what a release would do, how it fits, and everything that speaks against it."""

from __future__ import annotations

from collections.abc import Sequence

from flows.candidate.files import LeftOut
from flows.candidate.page import candidate_rows, left_out_rows
from flows.errors import Refusal
from flows.fit.errors import Unreadable
from flows.fit.request import Cost, cost
from flows.fit.verdict import RESERVE_BYTES
from flows.placement.assess import Assessment
from flows.placement.fit import configured, settings_of
from flows.spec import Candidate
from flows.text import gib
from flows.text.markdown import Cell, Markdown, code, heads, md, names, page, row


def preview_page(
    candidate: Candidate,
    refusals: Sequence[Refusal],
    assessments: Sequence[Assessment],
    left_out: Sequence[LeftOut] = (),
    notes: Sequence[str] = (),
) -> Markdown:
    """The plan.

    Args:
        candidate: What would be released.
        refusals: Why its model may be served nowhere.
        assessments: What would happen in each environment.
        left_out: What of the repository no node gets.
        notes: What else is to be known of how the candidate was found.
    """
    lines = [md("## Plan for {} at {}", candidate.model, candidate.commit[:12]), md("")]
    if refusals:
        lines += [md("### It cannot be released"), md(""), *_refused(refusals), md("")]
    short = heads("environment", "", "needed on a GPU", "largest context", "free GPUs")
    lines += [md("### In short"), md(""), short, *map(_fit_row, assessments), md("")]
    for assessment in assessments:
        lines += [md("### {}", assessment.environment.name), md(""), *_story(candidate, assessment, bool(refusals)), md("")]
    lines += [md("### The candidate"), md(""), *candidate_rows(candidate), *_kv_row(candidate), md("")]
    if notes:
        lines += [*(md("- {}", note) for note in notes), md("")]
    if left_out:
        lines += [md("### What stays on the hub"), md(""), *left_out_rows(left_out), md("")]
    lines.append(md("Memory is an estimate until vLLM measures it, when it starts. Nothing was touched."))
    return page(*lines)


def model_row(candidate: Candidate, refusals: Sequence[Refusal]) -> dict[str, Cell]:
    """What was found of the model, for scripts."""
    about = candidate.about
    found: dict[str, Cell] = {
        "model": md("{}", candidate.model),
        "repository": md("{}", candidate.repository),
        "commit": md("{}", candidate.commit),
        "candidate": md("{}", candidate.fingerprint),
        "files": len(candidate.files),
        "size_bytes": candidate.size_bytes,
        "remote_code": candidate.remote_code,
    }
    if about is not None:
        found |= {
            "architecture": _or_none(about.config.architecture),
            "parameters": about.parameters,
            "dtype": md("{}", about.dtype),
            "quantisation": _or_none(about.config.quantisation),
            "weights_bytes": about.weights_bytes,
            "kv_bytes_per_token": told.token_bytes if (told := _cost(candidate)) is not None else None,
            "kv_bytes_per_request": told.request_bytes(candidate.engine.max_model_len) if told is not None else None,
            "max_context": configured(about, candidate.engine).longest_context(),
            "formats": names(about.formats),
            "licence": names(about.licences),
            "gated": about.gated,
        }
    return found | {"refusals": _sentences(refusals)}


def environment_row(assessment: Assessment) -> dict[str, Cell]:
    """What was found of one environment, for scripts."""
    fit, way = assessment.fit, assessment.way
    room = way.room if way else None
    return {
        "environment": md("{}", assessment.environment.name),
        "ok": not assessment.refusals,
        "nodes": names(assessment.plan.nodes),
        "replicas": assessment.seen.replicas,
        "strategy": md("{}", assessment.plan.strategy),
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


def _sentences(refusals: Sequence[Refusal]) -> Markdown:
    return page(*(md("{}", refusal.message) for refusal in refusals))


def _refused(refusals: Sequence[Refusal]) -> list[Markdown]:
    return [md("- {}", refusal.message) for refusal in refusals]


def _or_none(text: str | None) -> Markdown | None:
    return md("{}", text) if text is not None else None


def _cost(candidate: Candidate) -> Cost | None:
    """What requests take of its KV cache, on a GPU of 70 GiB and more; none if that cannot be told."""
    if candidate.about is None:
        return None
    shape = configured(candidate.about, candidate.engine).shape
    try:
        return cost(shape, settings_of(candidate.engine), candidate.engine.max_model_len) if shape is not None else None
    except Unreadable:
        return None


def _kv_row(candidate: Candidate) -> list[Markdown]:
    about = candidate.about
    if about is None:
        return []
    told, tokens = _cost(candidate), candidate.engine.max_model_len
    size = f"{gib(told.request_bytes(tokens))} for a request of {tokens:,} tokens" if told is not None else "cannot be told"
    more = f", {told.token_bytes:,} bytes for each token more" if told is not None else ""
    longest = configured(about, candidate.engine).longest_context()
    return [
        row("KV cache", f"{size}{more}"),
        row("longest context of the model", f"{longest:,} tokens" if longest is not None else "not said"),
        row("formats", names(about.formats)),
    ]


def _fit_row(assessment: Assessment) -> Markdown:
    fit, room = assessment.fit, assessment.way.room if assessment.way else None
    return row(
        assessment.environment.name,
        "can be released" if not assessment.refusals else md("**refused**"),
        f"{gib(fit.needed_bytes)} of {gib(fit.usable_bytes)}" if fit else "cannot be told",
        f"{fit.largest_context:,}" if fit else "cannot be told",
        f"{room.free} of {room.total}; {room.extra} needed" if room else "no node",
    )


def _shared(assessment: Assessment) -> str:
    if not assessment.environment.prefetch.share:
        return ""
    return "; nodes that have them give them, and all of them share one download"


def _story(candidate: Candidate, assessment: Assessment, nowhere: bool) -> list[Markdown]:
    """What would happen, step by step; or everything that speaks against it."""
    if assessment.refusals:
        return _refused(assessment.refusals)
    if nowhere:
        return [md("- Nothing here speaks against it, but the model itself is refused.")]
    environment, plan, seen, way = assessment.environment, assessment.plan, assessment.seen, assessment.way
    labels = sorted({pod.labels.get("slipway.dev/candidate", "")[:12] for pod in seen.pods} - {""})
    replaces = f"in place of candidate {', '.join(labels)}" if labels else "for the first time"
    pods = f"{seen.replicas} pod(s) with {candidate.engine.gpus} GPU(s) each"
    return [
        *([md("- Only after it is verified in {}.", environment.after)] if environment.after else []),
        *([md("- Only after a person approves it.")] if environment.approval.required else []),
        md("- {:,.1f} MB are brought to {}, unless they are there{}.", candidate.size_bytes / 1e6, names(plan.nodes), _shared(assessment)),
        md(
            "- Helm release {} in namespace {}: {}, {}.",
            code(plan.helm_release),
            code(environment.namespace),
            pods,
            "which is there already" if labels == [candidate.short] else replaces,
        ),
        *([md("- {}.", f"{way.message[0].upper()}{way.message[1:]}")] if way and labels != [candidate.short] else []),
        *_canary(assessment),
        *_memory(assessment),
        md("- Each pod may take {} s to load, the rollout {} s.", plan.budget.load_seconds, plan.budget.rollout_seconds),
        md("- It answers at {}.", code(plan.endpoint)),
    ]


def _canary(assessment: Assessment) -> list[Markdown]:
    way, policy = assessment.way, assessment.environment.rollout
    if way is None or way.strategy != "canary":
        return []
    steps = ", ".join(f"{step.weight} % for {step.minutes:g} min" for step in policy.steps if step.minutes is not None)
    kept = f"; what served before stays warm for {policy.keep_minutes:g} min" if policy.keep_minutes else ""
    shadow = f", and a copy of {policy.shadow} % of the other requests" if policy.shadow else ""
    minutes = sum(step.minutes or 0 for step in policy.steps) + policy.keep_minutes
    return [
        md("- It gets {} of the requests{}, and then all{}.", steps, shadow, kept),
        md("- That takes {} GPU(s) more for {} min and longer, beside those of what serves.", way.room.extra, f"{minutes:g}"),
    ]


def _memory(assessment: Assessment) -> list[Markdown]:
    fit = assessment.fit
    if fit is None:
        return []
    said = (
        f"{gib(fit.weights_bytes)} of weights, {gib(fit.kv_bytes)} of KV cache for {fit.concurrency:,} request(s) of "
        f"{fit.max_model_len:,} tokens and {gib(RESERVE_BYTES)} of reserve make {gib(fit.needed_bytes)}; vLLM may take "
        f"{gib(fit.usable_bytes)} of {gib(fit.gpu_bytes)}"
    )
    return [md("- On one {}: {}.", assessment.target.gpu, said)]
