"""What a check sends to the endpoint: route and body. Every request is greedy (temperature 0)."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flows.spec.checks import (
    ChatCheck,
    Check,
    CompletionCheck,
    GoldenPrompt,
    JsonCheck,
    LongContextCheck,
    OverLongCheck,
    StopCheck,
    StreamingCheck,
    ToolCallCheck,
    UnknownModelCheck,
)
from flows.verification.probes import SAID_TOKENS, TOP, Probe

COMPLETIONS = "/v1/completions"
CHAT = "/v1/chat/completions"

#: A name that nobody gives a model.
NO_SUCH_MODEL = "slipway-asks-for-a-model-that-is-not-served"

#: Plain text for filler and for latency prompts: words that every tokenizer knows, and that mean nothing together.
TEXT = (
    "river stone garden window paper winter table music harbour letter morning bridge summer forest engine silver market island kitchen "
    "number picture season valley candle mirror story village weather orange travel"
)


@dataclass(frozen=True, kw_only=True)
class Request:
    """A POST to the endpoint."""

    path: str
    body: Mapping[str, Any]


def request(check: Check, model: str, window: int, filler: Sequence[int] = (), prompt: Sequence[int] = ()) -> Request:
    """The request of a check.

    Args:
        check: What is asked.
        model: The served name.
        window: The context window in tokens.
        filler: For `long-context`: tokens of filler text, any number from one on.
        prompt: For `long-context`: the tokens of the check's prompt.
    """
    greedy: dict[str, Any] = {"model": model, "temperature": 0}
    match check:
        case UnknownModelCheck():
            return Request(path=COMPLETIONS, body={**greedy, "model": NO_SUCH_MODEL, "prompt": "Hello", "max_tokens": 1})
        case OverLongCheck():
            # Token 1 is in every vocabulary; a text would have as many tokens as the tokenizer sees fit.
            return Request(path=COMPLETIONS, body={**greedy, "prompt": [1] * (window + 1), "max_tokens": 1})
    limited = {**greedy, "max_tokens": check.max_tokens}
    chat = {**limited, "messages": [{"role": "user", "content": check.prompt}]}
    match check:
        case CompletionCheck():
            return Request(path=COMPLETIONS, body={**limited, "prompt": check.prompt})
        case StopCheck():
            return Request(path=COMPLETIONS, body={**limited, "prompt": check.prompt, "stop": list(check.stop)})
        case ChatCheck():
            return Request(path=CHAT, body=chat)
        case StreamingCheck():
            # vLLM tells a stream's usage only if it is asked to.
            streamed = {"stream": True, "stream_options": {"include_usage": True}}
            if check.over == "chat":
                return Request(path=CHAT, body={**chat, **streamed})
            return Request(path=COMPLETIONS, body={**limited, "prompt": check.prompt, **streamed})
        case JsonCheck():
            named = {"name": "answer", "schema": check.schema, "strict": True}
            return Request(path=CHAT, body={**chat, "response_format": {"type": "json_schema", "json_schema": named}})
        case ToolCallCheck():
            tool = check.tool
            function: dict[str, Any] = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
            if check.choice != "auto":
                # vLLM 0.32 binds the arguments of forced calls to the schema only if it is asked to.
                function["strict"] = True
            choice: Any = {"type": "function", "function": {"name": tool.name}} if check.choice == "named" else check.choice
            return Request(path=CHAT, body={**chat, "tools": [{"type": "function", "function": function}], "tool_choice": choice})
        case LongContextCheck():
            # Tokens and not text, as above: as many as are wanted, by whichever tokenizer.
            room = max(0, wanted_prompt_tokens(check, window) - len(prompt))
            filled = [filler[index % len(filler)] for index in range(room)] + list(prompt)
            return Request(path=COMPLETIONS, body={**limited, "prompt": filled})


def wanted_prompt_tokens(check: LongContextCheck, window: int) -> int:
    """How long the prompt of a long-context check is to be, in tokens: its share of the window, less the answer."""
    return math.floor(check.share * window) - check.max_tokens


@dataclass(frozen=True, kw_only=True)
class Detail:
    """What is asked of an engine beside the tokens of an answer.

    Attributes:
        top: How many of the likeliest tokens at each position; 0 for the chosen one's log-probability alone.
        prompt: Whether the positions of the prompt are wanted, too.
    """

    top: int
    prompt: bool


#: From the most to the least: an engine may be told to answer fewer (`--max-logprobs`), or none of the prompt.
DETAILS = (Detail(top=TOP, prompt=True), Detail(top=TOP, prompt=False), Detail(top=0, prompt=False))


def golden_request(golden: GoldenPrompt, model: str, window: int, detail: Detail | None) -> Request:
    """The request of a golden prompt: the check's own, with the log-probabilities of its answer's tokens, where the engine tells them."""
    asked = request(golden, model, window)
    # Not those of the prompt: for these vLLM reads no prefix cache, and what comes out of the cache is to be compared, too.
    return _detailed(asked, replace(detail, prompt=False) if detail is not None else None)


def probe_request(probe: Probe, model: str, detail: Detail | None) -> Request:
    """The request of a prompt that the pipeline asks by itself."""
    body: dict[str, Any] = {"model": model, "temperature": 0, "max_tokens": SAID_TOKENS}
    if probe.chat:
        return _detailed(Request(path=CHAT, body={**body, "messages": [{"role": "user", "content": probe.prompt}]}), detail)
    return _detailed(Request(path=COMPLETIONS, body={**body, "prompt": probe.prompt}), detail)


def _detailed(asked: Request, detail: Detail | None) -> Request:
    if detail is None:
        return asked
    # Completions want a number here, chat completions a flag and a number.
    wanted: dict[str, Any] = {"logprobs": detail.top} if asked.path == COMPLETIONS else {"logprobs": True, "top_logprobs": detail.top}
    if detail.prompt:
        wanted["prompt_logprobs"] = detail.top
    # By number: several tokens may have one text, and an answer by text keeps one of them only.
    return Request(path=asked.path, body={**asked.body, **wanted, "return_tokens_as_token_ids": True})


def load_requests(model: str, tokens: Sequence[int], *, prompt_tokens: int, max_tokens: int, count: int, seed: int) -> list[Request]:
    """Streamed completions for measuring latency: prompts of one length, all different, answers of one length.

    Args:
        model: The served name.
        tokens: Tokens of plain text that prompts are drawn from.
        prompt_tokens: Length of each prompt.
        max_tokens: Length of each answer: the end-of-text token is ignored, so that every answer costs the same.
        count: How many.
        seed: The same seed draws the same prompts. Prompts differ from each other so that no prefix cache answers for the engine.
    """
    draw = random.Random(seed)  # noqa: S311 - repeatable on purpose, guards nothing
    fixed: dict[str, Any] = {
        "model": model,
        "temperature": 0,
        "max_tokens": max_tokens,
        # Else some answers would be shorter than others, and cheaper.
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return [Request(path=COMPLETIONS, body={**fixed, "prompt": draw.choices(tokens, k=prompt_tokens)}) for _ in range(count)]
