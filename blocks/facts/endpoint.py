"""What an endpoint answers, and what is measured of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """A line of `/v1/models`: the served name, the path or repository that was loaded, and the context window in tokens."""

    name: str
    root: str
    max_model_len: int | None


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """A function that the model wants called; `arguments` is what it wrote, which should be JSON."""

    name: str
    arguments: str


@dataclass(frozen=True, kw_only=True)
class Position:
    """One place of a text, as the model saw it.

    Attributes:
        token: The token that stands there; its number, where the engine tells numbers.
        top: Natural-log probabilities of the likeliest tokens there, and of this one, by token.
    """

    token: str
    top: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer to a completion or a chat completion, whole or streamed.

    Attributes:
        status: The HTTP status; none where no answer came in time.
        seconds: From sending the request to the last byte of the answer.
        text: What was generated; empty on an error.
        finish_reason: Why it ended.
        prompt_tokens: Tokens that were read, by the answer's usage.
        completion_tokens: Tokens that were generated, by the same.
        total_tokens: Both, by the same.
        tool_calls: Functions to be called.
        tokens: The tokens of the text, where log-probabilities were asked for.
        logprobs: Their natural-log probabilities.
        said: The same tokens as positions, with what else was likely.
        read: The positions of the prompt from its second token on, where they were asked for.
        error: The endpoint's message where the status is not 200.
        flaw: What of the answer is not as the protocol has it (a stream without its end, for example); empty when nothing is.
    """

    status: int | None
    seconds: float
    text: str = ""
    finish_reason: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    tool_calls: tuple[ToolCall, ...] = ()
    tokens: tuple[str, ...] = ()
    logprobs: tuple[float, ...] = ()
    said: tuple[Position, ...] = ()
    read: tuple[Position, ...] = ()
    error: str = ""
    flaw: str = ""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One request of a load.

    Attributes:
        status: The HTTP status; 0 where the connection broke, none where no answer came in time.
        seconds: From the first byte sent to the last byte received.
        first_seconds: Until the first token came; none where the answer was not streamed.
        gaps_seconds: Between one token and the next.
        tokens: Generated tokens, by the answer's usage.
        error: What was wrong; empty where it is a good answer.
    """

    status: int | None
    seconds: float
    first_seconds: float | None = None
    gaps_seconds: tuple[float, ...] = ()
    tokens: int = 0
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a closed loop of requests took: its samples in the order of their ends, its length, and how many were under way at a time."""

    samples: tuple[Sample, ...]
    seconds: float
    concurrency: int


@dataclass(frozen=True, kw_only=True)
class EngineMetrics:
    """What the engines of a pod say of themselves: their counts together, and the fullest one's cache.

    Attributes:
        generated_tokens: Tokens generated since it started.
        errors: Requests that ended in an error since it started.
        preemptions: Requests that lost their place in the KV cache since it started.
        kv_cache_usage: Share of the KV cache in use now, 0 to 1.
        under_way: Requests that run or wait now.
    """

    generated_tokens: int
    errors: int
    preemptions: int
    kv_cache_usage: float
    under_way: int = 0
