"""Whether what is asked of a model fits its context window, as far as that can be told without its tokenizer."""

from __future__ import annotations

import math
from collections.abc import Iterator

from flows.spec.checks import Check, CheckSuite, GoldenPrompt, LongContextCheck, OverLongCheck, UnknownModelCheck
from flows.spec.source import Place


def beyond_window(suite: CheckSuite, window: int) -> Iterator[tuple[Place, str]]:
    """What does not fit: where it is in the suite's file, and what is wrong.

    A word is a token at the least: no tokenizer in use joins words. Most prompts have more tokens than that, so this finds only what
    cannot ever be asked.

    Args:
        suite: The suite.
        window: The context window in tokens.
    """
    for part, checks in (("checks", suite.checks), ("golden", suite.golden)):
        for index, check in enumerate(checks):
            problem = _problem(check, window)
            if problem:
                yield (part, index, "max_tokens"), problem


def _problem(check: Check | GoldenPrompt, window: int) -> str:
    if isinstance(check, (UnknownModelCheck, OverLongCheck)):
        return ""
    words = max(1, len(check.prompt.split()))
    room, of = (math.floor(check.share * window), " times share") if isinstance(check, LongContextCheck) else (window, "")
    if words + check.max_tokens <= room:
        return ""
    return (
        f"is {check.max_tokens:,}, and the prompt has {words:,} token(s) at the least: together more than the {room:,} of the "
        f"model's context (engine.max_model_len{of})."
    )
