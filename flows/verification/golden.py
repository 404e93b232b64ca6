"""What is kept of a release's answers, so that the release after it can be compared with them.

Golden prompts are the suite's; probes are those that the pipeline chose by itself. Log-probabilities are natural logarithms.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from blocks.facts import Answer, Position
from flows.spec import CheckSuite, GoldenPrompt
from flows.verification.answers import check_answer
from flows.verification.probes import ProbeAnswer
from flows.verification.shift import Shift


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
        said: The tokens with what else was likely; none in evidence of earlier builds.
    """

    name: str
    text: str
    tokens: tuple[str, ...]
    logprobs: tuple[float, ...]
    valid: bool
    problem: str = ""
    said: tuple[Position, ...] = ()


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
        probes: The answers to the pipeline's own prompts.
        noise: The largest shift between two runs; none in evidence of earlier builds, which cannot be compared position by position.
    """

    prompts_sha256: str
    answers: tuple[GoldenAnswer, ...]
    runs: int
    exact_share: float
    noise_nats: float
    problems: tuple[str, ...] = ()
    probes: tuple[ProbeAnswer, ...] = ()
    noise: Shift | None = None


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


def golden_answer(golden: GoldenPrompt, answer: Answer) -> GoldenAnswer:
    """What is kept of an answer to a golden prompt."""
    said = answer.text or "; ".join(f"{call.name}({call.arguments})" for call in answer.tool_calls)
    return GoldenAnswer(
        name=golden.name,
        text=said,
        # Without log-probabilities there are no tokens: the whole text is compared as one.
        tokens=answer.tokens or (said,),
        logprobs=answer.logprobs,
        valid=check_answer(golden, answer).outcome == "passed",
        problem="" if answer.status == 200 else f"HTTP {answer.status}: {answer.error[:200]}",
        said=answer.said,
    )


def prompts_sha256(suite: CheckSuite) -> str:
    """SHA-256 (hex) of the golden prompts as JSON, in their own order: an engine answers a schema's properties in the schema's order."""
    text = json.dumps([asdict(golden) for golden in suite.golden], separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
