"""Answers compared with those of the release that is replaced: greedy decoding of golden prompts, token by token.

Log-probabilities are natural logarithms; their differences are in nats.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import takewhile

from blocks.facts import Answer
from flows.spec import BehaviourPolicy, CheckSuite, GoldenPrompt
from flows.verification.answers import check_answer
from flows.verification.measurement import Measurement, judged

#: Differences are tolerated up to so many times the largest one that repeated runs of one release showed.
NOISE_FACTOR = 3.0
#: And always up to this many nats: repeated runs on an idle engine may not differ at all.
#: vLLM 0.32 on a CPU differed from itself by 1e-5 at most.
LEAST_TOLERANCE_NATS = 0.001


@dataclass(frozen=True, kw_only=True)
class GoldenAnswer:
    """A release's answer to a golden prompt.

    Attributes:
        name: The prompt's name.
        text: What was said; of a tool call, the call.
        tokens: Its tokens.
        logprobs: Their natural-log probabilities.
        valid: Whether the prompt's own expectation (JSON, tool call, …) held.
        problem: What came instead of an answer; empty where one came.
    """

    name: str
    text: str
    tokens: tuple[str, ...]
    logprobs: tuple[float, ...]
    valid: bool
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Golden:
    """A release's answers, and how much they differ from themselves.

    Attributes:
        prompts_sha256: Which prompts they answer; answers to others cannot be compared.
        answers: Those of the first run.
        runs: How often all prompts were asked.
        exact_share: The smallest share of answers that a further run gave exactly.
        noise_nats: The largest difference of a token's log-probability between two runs.
        problems: What came instead of answers, in all runs.
    """

    prompts_sha256: str
    answers: tuple[GoldenAnswer, ...]
    runs: int
    exact_share: float
    noise_nats: float
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What the registry knows from before.

    Attributes:
        fingerprint: The release that is compared with; none where there is nothing to compare with, as for the next two.
        commit: Its hub revision.
        golden: Its answers.
        engine_version: What the candidate's own image stated when it was verified before.
    """

    fingerprint: str | None = None
    commit: str | None = None
    golden: Golden | None = None
    engine_version: str | None = None


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
    """

    name: str
    first_token: int | None
    mean_nats: float
    max_nats: float
    before: str
    now: str


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
        differences: Prompt by prompt.
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


def golden_answer(golden: GoldenPrompt, answer: Answer) -> GoldenAnswer:
    """What is kept of an answer to a golden prompt."""
    said = answer.text or "; ".join(f"{call.name}({call.arguments})" for call in answer.tool_calls)
    return GoldenAnswer(
        name=golden.name,
        text=said,
        # Without log-probabilities there are no tokens: the whole text is compared as one.
        tokens=answer.tokens or (said,),
        # Six places, as evidence keeps floats: what is measured now is as exact as what is recalled.
        logprobs=tuple(round(value, 6) for value in answer.logprobs),
        valid=check_answer(golden, answer).outcome == "passed",
        problem="" if answer.status == 200 else f"HTTP {answer.status}: {answer.error[:200]}",
    )


def learnt(suite: CheckSuite, runs: Sequence[Sequence[GoldenAnswer]]) -> Golden:
    """The answers of the first run, and what further runs of the same release differ by."""
    repeats = [_compare(before, now) for run in runs[1:] for before, now in zip(runs[0], run, strict=True)]
    shares = [_exact_share([_compare(before, now) for before, now in zip(runs[0], run, strict=True)]) for run in runs[1:]]
    return Golden(
        prompts_sha256=prompts_sha256(suite),
        answers=tuple(runs[0]),
        runs=len(runs),
        exact_share=min(shares, default=1.0),
        noise_nats=max((difference.max_nats for difference in repeats), default=0.0),
        problems=tuple(f"{answer.name}: {answer.problem}" for run in runs for answer in run if answer.problem),
    )


def prompts_sha256(suite: CheckSuite) -> str:
    """SHA-256 (hex) of the golden prompts as JSON, in their own order: an engine answers a schema's properties in the schema's order."""
    text = json.dumps([asdict(golden) for golden in suite.golden], separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def compare(golden: Golden, reference: Reference, commit: str) -> Behaviour | None:
    """The candidate's answers against the reference's; none where there is nothing to compare with."""
    before = reference.golden
    if before is None or reference.fingerprint is None or before.prompts_sha256 != golden.prompts_sha256:
        return None
    # The same prompts in the same order, which the hash is of.
    differences = [_compare(old, new) for old, new in zip(before.answers, golden.answers, strict=True)]
    counted = [(d, _in_common(old, new)) for d, old, new in zip(differences, before.answers, golden.answers, strict=True)]
    tokens = sum(count for _, count in counted)
    return Behaviour(
        reference=reference.fingerprint,
        same_commit=reference.commit == commit,
        exact_share=_exact_share(differences),
        # Every token counts the same, however many the other answers have.
        mean_nats=sum(difference.mean_nats * count for difference, count in counted) / tokens if tokens else 0.0,
        max_nats=max((difference.max_nats for difference in differences), default=0.0),
        valid_before=sum(answer.valid for answer in before.answers),
        valid_now=sum(answer.valid for answer in golden.answers),
        tolerance_nats=max(LEAST_TOLERANCE_NATS, NOISE_FACTOR * max(before.noise_nats, golden.noise_nats)),
        tolerance_share=min(before.exact_share, golden.exact_share),
        differences=tuple(differences),
    )


def check_golden(golden: Golden) -> Measurement:
    """Every golden prompt must have been answered every time."""
    asked = golden.runs * len(golden.answers)
    seen = f"{asked - len(golden.problems)} answers" + (f"; {golden.problems[0]}" if golden.problems else "")
    return judged("golden-prompts", "behaviour", not golden.problems, expected=f"{asked} answers", seen=seen)


def check_behaviour(behaviour: Behaviour | None, policy: BehaviourPolicy) -> Measurement:
    """Judge the differences by the policy; where it only asks for a report, they are told and pass."""
    # A first release, or other prompts than before.
    if behaviour is None:
        return judged("behaviour", "behaviour", True, expected="a release to compare with, if there is one", seen="nothing to compare with")
    seen = (
        f"{behaviour.exact_share:.0%} of {len(behaviour.differences)} answers exact, log-probabilities off by {behaviour.mean_nats:.4f} "
        f"(mean) and {behaviour.max_nats:.4f} (max) nats, {behaviour.valid_now} valid ({behaviour.valid_before} before)"
    )
    if behaviour.same_commit and policy.same_commit == "gate":
        expected = (
            f"the same commit's answers: {behaviour.tolerance_share:.0%} exact and log-probabilities within "
            f"{behaviour.tolerance_nats:.4f} nats, as repeated runs showed"
        )
        agree = behaviour.exact_share >= behaviour.tolerance_share and behaviour.max_nats <= behaviour.tolerance_nats
        return judged("behaviour", "behaviour", agree, expected=expected, seen=seen)
    if policy.mode == "gate":
        expected = (
            f"{policy.min_exact_share:.0%} exact or more, {policy.max_mean_nats:g} nats in the mean at most, and no fewer valid answers"
        )
        near = behaviour.exact_share >= policy.min_exact_share and behaviour.mean_nats <= policy.max_mean_nats
        return judged("behaviour", "behaviour", near and behaviour.valid_now >= behaviour.valid_before, expected=expected, seen=seen)
    return judged("behaviour", "behaviour", True, expected="a report", seen=seen)


def _compare(before: GoldenAnswer, now: GoldenAnswer) -> Difference:
    # Up to the first other token only: after it the two continue different texts, and probabilities cannot be compared.
    common = _in_common(before, now)
    same = before.tokens == now.tokens and before.text == now.text
    offs = [abs(old - new) for old, new in zip(before.logprobs[:common], now.logprobs[:common], strict=False)]
    return Difference(
        name=now.name,
        first_token=None if same else common,
        mean_nats=round(sum(offs) / len(offs), 6) if offs else 0.0,
        max_nats=round(max(offs, default=0.0), 6),
        before=before.text,
        now=now.text,
    )


def _in_common(before: GoldenAnswer, now: GoldenAnswer) -> int:
    pairs = zip(before.tokens, now.tokens, strict=False)
    return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))


def _exact_share(differences: Sequence[Difference]) -> float:
    return round(sum(d.first_token is None for d in differences) / len(differences), 6) if differences else 1.0
