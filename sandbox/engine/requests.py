"""Reads completion requests and refuses what vLLM refuses, with the bodies it answers."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sandbox.engine.grammar import Grammar
from sandbox.engine.refusals import RequestRefused

MAX_LOGPROBS = 20

# What the stand-in does not emulate, with the values that ask for nothing.
_UNSUPPORTED: dict[str, tuple[object, ...]] = {
    "n": (None, 1),
    "best_of": (None, 1),
    "use_beam_search": (None, False),
    "suffix": (None, ""),
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
    "repetition_penalty": (None, 1),
    "logit_bias": (None, {}),
    "structured_outputs": (None, {}),
}


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are chosen and when to end.

    Attributes:
        max_tokens: The most tokens to generate; None leaves it to the window.
        logprobs: How many alternatives to report with each token; None reports nothing.
        seed: Makes sampling repeatable; None takes the engine's next.
        grammar: What the text must be; None leaves it free.
        prompt_logprobs: The same as `logprobs` for the tokens of the prompt.
        numbered: Names tokens by their numbers in what is reported.
    """

    max_tokens: int | None
    min_tokens: int
    temperature: float
    top_p: float
    top_k: int
    seed: int | None
    stop: tuple[str, ...]
    stop_tokens: frozenset[int]
    include_stop: bool
    ignore_end: bool
    logprobs: int | None
    grammar: Grammar | None = None
    prompt_logprobs: int | None = None
    numbered: bool = False


@dataclass(frozen=True, kw_only=True)
class Streaming:
    """Whether to stream, and whether the last chunk tells the usage."""

    enabled: bool
    include_usage: bool


def json_body(raw: bytes) -> dict[str, Any]:
    """Parse a request's body.

    Raises:
        RequestRefused: It is no JSON object.
    """
    try:
        body = json.loads(raw)
    except ValueError as exc:
        raise RequestRefused(f"the request body is not valid JSON: {exc}") from exc
    if not isinstance(body, dict):
        raise RequestRefused("the request body is not a JSON object")
    return body


def check_model(body: Mapping[str, Any], served_names: Sequence[str], adapters: Container[str] = ()) -> str:
    """Return the model or the adapter that is asked for; the first served name where the request names none."""
    model = body.get("model") or served_names[0]
    if model not in served_names and model not in adapters:
        aliases = ", ".join(served_names)
        raise RequestRefused(f"The model `{model}` does not exist. Valid aliases: {aliases}.", status=404, param="model")
    return str(model)


def streaming(body: Mapping[str, Any]) -> Streaming:
    """Read `stream` and `stream_options`."""
    options = body.get("stream_options") or {}
    if not isinstance(options, dict):
        raise RequestRefused("stream_options must be an object", param="stream_options")
    enabled = _flag(body, "stream")
    if options and not enabled:
        raise RequestRefused("Stream options can only be defined when `stream=True`.", param="stream_options")
    return Streaming(enabled=enabled, include_usage=bool(options.get("include_usage")))


def sampling(body: Mapping[str, Any], defaults: Mapping[str, float], max_model_len: int, *, chat: bool) -> Sampling:
    """Read the sampling parameters of a completion or a chat completion.

    Raises:
        RequestRefused: One is out of range, or asks for what the stand-in does not emulate.
    """
    for name, harmless in _UNSUPPORTED.items():
        if body.get(name) not in harmless:
            raise RequestRefused(f"the stand-in engine does not support {name}={body[name]!r}", param=name)
    if not chat and (body.get("response_format") or {"type": "text"}) != {"type": "text"}:
        raise RequestRefused("the stand-in engine supports response_format for chat completions only", param="response_format")
    limit_name = "max_completion_tokens" if chat and body.get("max_completion_tokens") is not None else "max_tokens"
    max_tokens = _integer(body, limit_name, None, 1) if chat else _integer(body, limit_name, 16, 1)
    if max_tokens is not None and max_tokens > max_model_len:
        raise RequestRefused(
            f"{limit_name}={max_tokens} cannot be greater than max_model_len={max_model_len}. Please request fewer output tokens.",
            param=limit_name,
        )
    return Sampling(
        max_tokens=max_tokens,
        min_tokens=_integer(body, "min_tokens", 0, 0) or 0,
        temperature=_number(body, "temperature", defaults.get("temperature", 1.0), 0.0, None),
        top_p=_number(body, "top_p", defaults.get("top_p", 1.0), 1e-9, 1.0),
        top_k=_integer(body, "top_k", int(defaults.get("top_k", 0)), -1) or 0,
        seed=_integer(body, "seed", None, None),
        stop=_stop(body.get("stop")),
        stop_tokens=frozenset(_tokens(body.get("stop_token_ids") or [], "stop_token_ids")),
        include_stop=_flag(body, "include_stop_str_in_output"),
        ignore_end=_flag(body, "ignore_eos"),
        logprobs=_chat_logprobs(body) if chat else _bounded(_integer(body, "logprobs", None, 0), "logprobs"),
        prompt_logprobs=_prompt_logprobs(body),
        numbered=_flag(body, "return_tokens_as_token_ids"),
    )


def prompts(body: Mapping[str, Any]) -> list[str | list[int]]:
    """Return the prompts of a completion request, each a text or a list of tokens."""
    prompt = body.get("prompt")
    if isinstance(prompt, str):
        return [prompt]
    if isinstance(prompt, list) and prompt:
        if all(isinstance(part, str) for part in prompt):
            return list(prompt)
        if all(isinstance(part, list) for part in prompt):
            return [_tokens(part, "prompt") for part in prompt]
        return [_tokens(prompt, "prompt")]
    raise RequestRefused("Either prompt or prompt_embeds must be provided and non-empty.", param="prompt")


def messages(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the messages of a chat request with their contents as plain texts."""
    given = body.get("messages")
    if not isinstance(given, list) or not given:
        raise RequestRefused("messages must be a list that is not empty", param="messages")
    result = []
    for message in given:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise RequestRefused("each of messages must be an object with a role", param="messages")
        result.append({**message, "content": _content(message.get("content"))})
    return result


def _content(content: object) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in content):
        return "\n".join(part["text"] for part in content)
    raise RequestRefused("the content of a message must be text", param="messages")


def _stop(value: object) -> tuple[str, ...]:
    stop = [value] if isinstance(value, str) else value or []
    if not isinstance(stop, list) or not all(isinstance(text, str) and text for text in stop):
        raise RequestRefused("stop must be a text or a list of texts, none empty", param="stop")
    return tuple(stop)


def _tokens(value: object, name: str) -> list[int]:
    if not isinstance(value, list) or not all(isinstance(token, int) and not isinstance(token, bool) for token in value):
        raise RequestRefused(f"{name} must hold texts or token numbers", param=name)
    return list(value)


def _chat_logprobs(body: Mapping[str, Any]) -> int | None:
    top = _bounded(_integer(body, "top_logprobs", 0, 0), "top_logprobs")
    if not _flag(body, "logprobs"):
        if top:
            raise RequestRefused("when using `top_logprobs`, `logprobs` must be set to true.", param="top_logprobs")
        return None
    return top


def _prompt_logprobs(body: Mapping[str, Any]) -> int | None:
    count = _integer(body, "prompt_logprobs", None, 0)
    if count is not None and _flag(body, "stream"):
        raise RequestRefused("`prompt_logprobs` are not available when `stream=True`.", param="prompt_logprobs")
    return _bounded(count, "prompt_logprobs", "prompt")


def _bounded(count: int | None, name: str, kind: str = "sample") -> int | None:
    if count is not None and count > MAX_LOGPROBS:
        raise RequestRefused(f"Requested {kind} logprobs of {count}, which is greater than max allowed: {MAX_LOGPROBS}", param=name)
    return count


def _flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise RequestRefused(f"{name} must be true or false", param=name)


def _integer(body: Mapping[str, Any], name: str, default: int | None, least: int | None) -> int | None:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise RequestRefused(f"{name} must be an integer, got {value!r}", param=name)
    if least is not None and value < least:
        raise RequestRefused(f"{name} must be at least {least}, got {value}.", param=name)
    return value


def _number(body: Mapping[str, Any], name: str, default: float, least: float, most: float | None) -> float:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RequestRefused(f"{name} must be a number, got {value!r}", param=name)
    if not (least <= value <= (most if most is not None else float("inf"))):
        raise RequestRefused(f"{name} is out of range, got {value}.", param=name)
    return float(value)
