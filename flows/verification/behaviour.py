"""Answers compared with those of the release that is replaced: greedy decoding of golden prompts and probes, token by token.

Golden prompts are the suite's; probes are those that the pipeline chose by itself. Log-probabilities are natural logarithms; their
differences are in nats. What becomes of a difference, `regression` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile

from blocks.facts import Position
from flows.spec import CheckSuite
from flows.verification.golden import Golden, GoldenAnswer, Reference, prompts_sha256
from flows.verification.probes import ProbeAnswer, probe_shifts
from flows.verification.shift import Shift, largest, said_shifts, summed, tied

#: Differences are tolerated up to so many times the largest one that repeated runs of one release showed.
NOISE_FACTOR = 3.0
#: And always up to this many nats: repeated runs on an idle engine may not differ at all.
#: vLLM 0.32 on a CPU differed from itself by 1e-5 at most.
LEAST_TOLERANCE_NATS = 0.001


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One golden prompt's answers, before and now.

    Attributes:
        name: The prompt's name.
        first_token: The first token that differs, counted from 0; none where the answers are the same.
        mean_nats: Mean absolute difference of the log-probabilities of the tokens before it.
        max_nats: The largest of them.
        before: The reference's text.
        now: The candidate's text.
        shift: How far the distributions are apart at the positions that both have in common; none in evidence of earlier builds.
        tie: Whether the answers part only because both tokens are as likely, within the tolerance.
        reread: Whether the prompt is read as other tokens than before.
    """

    name: str
    first_token: int | None
    mean_nats: float
    max_nats: float
    before: str
    now: str
    shift: Shift | None = None
    tie: bool = False
    reread: bool = False


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """How the candidate's answers differ from the reference's.

    Attributes:
        reference: Fingerprint of the release that is compared with.
        same_commit: Whether it is of the same hub revision: then nothing but numerical noise may differ.
        exact_share: Share of the answers that are the same, token by token.
        mean_nats: Mean absolute difference of log-probabilities over the tokens that both have in common.
        max_nats: The largest of them.
        valid_before: Answers of the reference whose own expectation held.
        valid_now: The same of the candidate.
        tolerance_nats: What numerical noise explains, learnt from repeated runs of both releases.
        tolerance_share: The share of exact answers that it leaves.
        differences: Golden prompt by golden prompt.
        shift: How far the distributions are apart over all positions; none where the candidate no longer tells them, and in evidence of
            earlier builds.
        tolerance_shift: What numerical noise explains of that.
        probes: Differences of the pipeline's own prompts.
    """

    reference: str
    same_commit: bool
    exact_share: float
    mean_nats: float
    max_nats: float
    valid_before: int
    valid_now: int
    tolerance_nats: float
    tolerance_share: float
    differences: tuple[Difference, ...]
    shift: Shift | None = None
    tolerance_shift: Shift | None = None
    probes: tuple[Difference, ...] = ()


def learnt(suite: CheckSuite, runs: Sequence[Sequence[GoldenAnswer]], probe_runs: Sequence[Sequence[ProbeAnswer]] = ()) -> Golden:
    """The answers of the first run, and what further runs of the same release differ by.

    Args:
        suite: Whose golden prompts were asked.
        runs: The answers to them, run by run.
        probe_runs: The answers to the probes, run by run; they may be asked less often.
    """
    asked_less = [() for _ in runs[len(probe_runs) :]]
    probe_runs = [*probe_runs, *asked_less]
    repeats = [[_compare(before, now) for before, now in zip(runs[0], run, strict=True)] for run in runs[1:]]
    noise = [
        summed(_shifts(zip(runs[0], run, strict=True), zip(probe_runs[0] if probes else (), probes, strict=True)))
        for run, probes in zip(runs[1:], probe_runs[1:], strict=True)
    ]
    return Golden(
        prompts_sha256=prompts_sha256(suite),
        answers=tuple(runs[0]),
        runs=len(runs),
        exact_share=min(map(_exact_share, repeats), default=1.0),
        noise_nats=max((difference.max_nats for run in repeats for difference in run), default=0.0),
        problems=(
            *(f"{answer.name}: {answer.problem}" for run in runs for answer in run if answer.problem),
            *(f"{answer.probe.name}: {answer.problem}" for run in probe_runs for answer in run if answer.problem),
        ),
        probes=tuple(probe_runs[0]),
        noise=largest(noise),
    )


def incomparable(golden: Golden, reference: Reference) -> str:
    """Why the candidate's answers cannot be compared with the reference's; empty if they can."""
    before = reference.golden
    if before is None or reference.fingerprint is None:
        return "nothing to compare with"
    if before.noise is None:
        return "the answers before were recorded by an earlier build, without the likeliest tokens at each position: incomparable"
    if before.prompts_sha256 != golden.prompts_sha256 and not {one.probe for one in before.probes} & {one.probe for one in golden.probes}:
        return "other prompts were asked before: nothing to compare with"
    return ""


def tolerance(*noises: Shift | None) -> Shift:
    """What numerical noise explains of a shift, from what releases differ from themselves by; the noisier one counts."""
    noise = largest([noise for noise in noises if noise is not None])
    return Shift(
        positions=noise.positions,
        mean_nats=max(LEAST_TOLERANCE_NATS, NOISE_FACTOR * noise.mean_nats),
        max_nats=max(LEAST_TOLERANCE_NATS, NOISE_FACTOR * noise.max_nats),
    )


def compare(golden: Golden, reference: Reference, commit: str) -> Behaviour | None:
    """The candidate's answers against the reference's; none where they are `incomparable`."""
    before = reference.golden
    if incomparable(golden, reference) or before is None or reference.fingerprint is None:
        return None
    tolerated = tolerance(before.noise, golden.noise)
    # The same prompts in the same order, which the hash is of.
    same_prompts = before.prompts_sha256 == golden.prompts_sha256
    pairs = list(zip(before.answers, golden.answers, strict=True)) if same_prompts else []
    known = {answer.probe: answer for answer in before.probes}
    probed = [(known[answer.probe], answer) for answer in golden.probes if answer.probe in known]
    differences = [_compare(old, new, tolerated) for old, new in pairs]
    counted = [(difference, _in_common(old.tokens, new.tokens)) for difference, (old, new) in zip(differences, pairs, strict=True)]
    tokens = sum(count for _, count in counted)
    untold = _told(before) and not _told(golden)
    return Behaviour(
        reference=reference.fingerprint,
        same_commit=reference.commit == commit,
        exact_share=_exact_share(differences),
        # Every token counts the same, however many the other answers have.
        mean_nats=sum(difference.mean_nats * count for difference, count in counted) / tokens if tokens else 0.0,
        max_nats=max((difference.max_nats for difference in differences), default=0.0),
        valid_before=sum(old.valid for old, _ in pairs),
        valid_now=sum(new.valid for _, new in pairs),
        tolerance_nats=max(LEAST_TOLERANCE_NATS, NOISE_FACTOR * max(before.noise_nats, golden.noise_nats)),
        tolerance_share=min(before.exact_share, golden.exact_share),
        differences=tuple(differences),
        shift=None if untold else summed(_shifts(pairs, probed)),
        tolerance_shift=tolerated,
        probes=tuple(_probed(old, new, tolerated) for old, new in probed),
    )


def _told(golden: Golden) -> bool:
    return any(answer.said for answer in golden.answers) or any(answer.said for answer in golden.probes)


def _shifts(pairs: Iterable[tuple[GoldenAnswer, GoldenAnswer]], probed: Iterable[tuple[ProbeAnswer, ProbeAnswer]]) -> list[float]:
    shifts = [shift for old, new in pairs for shift in said_shifts(old.said, new.said)]
    return shifts + [shift for old, new in probed for shift in probe_shifts(old, new)]


def _compare(before: GoldenAnswer, now: GoldenAnswer, tolerated: Shift | None = None) -> Difference:
    # Up to the first other token only: after it the two continue different texts, and probabilities cannot be compared.
    common = _in_common(before.tokens, now.tokens)
    same = before.tokens == now.tokens and before.text == now.text
    offs = [abs(old - new) for old, new in zip(before.logprobs[:common], now.logprobs[:common], strict=False)]
    return Difference(
        name=now.name,
        first_token=None if same else common,
        mean_nats=round(sum(offs) / len(offs), 6) if offs else 0.0,
        max_nats=round(max(offs, default=0.0), 6),
        before=before.text,
        now=now.text,
        shift=summed(said_shifts(before.said, now.said)),
        tie=not same and _tie(before.said, now.said, common, tolerated),
    )


def _probed(before: ProbeAnswer, now: ProbeAnswer, tolerated: Shift) -> Difference:
    old, new = ([position.token for position in answer.said] for answer in (before, now))
    common = _in_common(old, new)
    return Difference(
        name=now.probe.name,
        first_token=None if old == new else common,
        mean_nats=0.0,
        max_nats=0.0,
        before=before.text,
        now=now.text,
        shift=summed(probe_shifts(before, now)),
        tie=old != new and _tie(before.said, now.said, common, tolerated),
        reread=bool(before.read and now.read) and [place.token for place in before.read] != [place.token for place in now.read],
    )


def _tie(before: Sequence[Position], now: Sequence[Position], place: int, tolerated: Shift | None) -> bool:
    return tolerated is not None and place < min(len(before), len(now)) and tied(before[place], now[place], tolerated.max_nats)


def _in_common(before: Sequence[str], now: Sequence[str]) -> int:
    return len(list(takewhile(lambda pair: pair[0] == pair[1], zip(before, now, strict=False))))


def _exact_share(differences: Sequence[Difference]) -> float:
    return round(sum(d.first_token is None for d in differences) / len(differences), 6) if differences else 1.0
