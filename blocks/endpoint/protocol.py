"""Reads vLLM's answers; whatever else comes is refused with one sentence, or noted as the answer's flaw."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NoReturn

from prometheus_client.parser import text_string_to_metric_families

from blocks.errors import EndpointRejected
from blocks.facts import Answer, EngineMetrics, ServedModel, ToolCall

#: What a malformed document raises while it is taken apart.
MALFORMED = (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError)

DONE = "[DONE]"


def loads(text: str | bytes) -> Any:
    """JSON as the standard has it: NaN and infinity, which Python would read, are errors.

    Raises:
        ValueError: It is none.
    """
    return json.loads(text, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def served_models(content: bytes, endpoint: str) -> tuple[ServedModel, ...]:
    """The lines of `/v1/models`.

    Raises:
        EndpointRejected: It is something else.
    """
    try:
        lines = loads(content)["data"]
        return tuple(ServedModel(name=str(line["id"]), root=str(line["root"]), max_model_len=line.get("max_model_len")) for line in lines)
    except MALFORMED as exc:
        raise _not_vllm(endpoint, "/v1/models", "no list of models", content) from exc


def version(content: bytes, endpoint: str) -> str:
    """The version that `/version` states.

    Raises:
        EndpointRejected: It is something else.
    """
    try:
        return str(loads(content)["version"])
    except MALFORMED as exc:
        raise _not_vllm(endpoint, "/version", "no version", content) from exc


def tokens(content: bytes, endpoint: str) -> tuple[int, ...]:
    """The tokens that `/tokenize` answers.

    Raises:
        EndpointRejected: It is something else.
    """
    try:
        return tuple(int(token) for token in loads(content)["tokens"])
    except MALFORMED as exc:
        raise _not_vllm(endpoint, "/tokenize", "no tokens", content) from exc


def metrics(content: bytes, endpoint: str) -> EngineMetrics:
    """The series of `/metrics` that verification reads, summed over engines.

    Raises:
        EndpointRejected: It is no Prometheus text, or not vLLM's.
    """
    sums: dict[str, float] = {}
    try:
        for family in text_string_to_metric_families(content.decode()):
            for sample in family.samples:
                reason = sample.labels.get("finished_reason")
                key = f"{sample.name}/{reason}" if reason else sample.name
                sums[key] = sums.get(key, 0.0) + sample.value
        return EngineMetrics(
            generated_tokens=int(sums["vllm:generation_tokens_total"]),
            # vLLM counts every end of a request under this name, errors among them by `finished_reason`.
            errors=int(sums.get("vllm:request_success_total/error", 0)),
            preemptions=int(sums["vllm:num_preemptions_total"]),
            kv_cache_usage=sums["vllm:kv_cache_usage_perc"],
        )
    except (*MALFORMED, OverflowError) as exc:
        raise _not_vllm(endpoint, "/metrics", "none of vLLM's metrics", content) from exc


def refusal(status: int, content: bytes, seconds: float) -> Answer:
    """An answer with another status than 200, with its message."""
    try:
        data = loads(content)
        message = data["error"]["message"] if "error" in data else data["message"]
        if isinstance(message, str) and message:
            return Answer(status=status, seconds=seconds, error=message)
    except MALFORMED:
        pass
    shown = content[:200].decode("utf-8", "replace")
    return Answer(status=status, seconds=seconds, error=shown, flaw="the error is not in vLLM's form")


def answer(content: bytes, seconds: float, *, streamed: bool, endpoint: str, path: str) -> Answer:
    """An answer with status 200.

    Raises:
        EndpointRejected: It is no completion.
    """
    try:
        return _streamed(content, seconds) if streamed else _whole(loads(content), seconds)
    except MALFORMED as exc:
        raise _not_vllm(endpoint, path, "no completion", content) from exc


def _whole(data: dict[str, Any], seconds: float) -> Answer:
    choice, usage = data["choices"][0], data["usage"]
    message = choice.get("message")
    chosen, logprobs = _logprobs(choice.get("logprobs"))
    return Answer(
        status=200,
        seconds=seconds,
        # Null beside tool calls, and where a reasoning parser put all of it into `reasoning`.
        text=str((message["content"] or "") if message is not None else choice["text"]),
        finish_reason=choice["finish_reason"],
        prompt_tokens=int(usage["prompt_tokens"]),
        completion_tokens=int(usage["completion_tokens"]),
        total_tokens=int(usage["total_tokens"]),
        tool_calls=tuple(
            ToolCall(name=str(call["function"]["name"]), arguments=str(call["function"]["arguments"]))
            for call in (message or {}).get("tool_calls") or ()
        ),
        tokens=chosen,
        logprobs=logprobs,
    )


def _logprobs(given: dict[str, Any] | None) -> tuple[tuple[str, ...], tuple[float, ...]]:
    if given is None:
        return (), ()
    # Chat completions have entries, completions lists side by side.
    if "content" in given:
        entries = given["content"] or []
        return tuple(str(entry["token"]) for entry in entries), tuple(float(entry["logprob"]) for entry in entries)
    return tuple(map(str, given["tokens"])), tuple(float(value) for value in given["token_logprobs"])


def events(content: bytes) -> Iterator[str]:
    """The data of server-sent events, one `data:` line each."""
    # Not splitlines: that also splits at characters that JSON may hold as they are.
    for line in content.decode("utf-8").split("\n"):
        if line.startswith("data:"):
            yield line[len("data:") :].strip()


def piece_of(event: dict[str, Any]) -> str:
    """The text that one event of a stream adds."""
    if not event.get("choices"):
        return ""
    choice = event["choices"][0]
    return str(choice["delta"].get("content") or "") if "delta" in choice else str(choice["text"])


def _streamed(content: bytes, seconds: float) -> Answer:
    told = list(events(content))
    parsed = [loads(event) for event in told if event != DONE]
    if not parsed:
        raise ValueError("no event")
    # The last event has the usage and no choices (`include_usage`).
    ends = [event["choices"][0]["finish_reason"] for event in parsed if event.get("choices")]
    usage = parsed[-1].get("usage") or {}
    flaws = [
        "" if told[-1] == DONE else f"the stream does not end in {DONE}",
        "" if usage else "no usage in the last event",
        "" if any(ends) else "no finish reason",
    ]
    return Answer(
        status=200,
        seconds=seconds,
        text="".join(piece_of(event) for event in parsed),
        finish_reason=next((reason for reason in ends if reason), None),
        prompt_tokens=int(usage.get("prompt_tokens", 0)),
        completion_tokens=int(usage.get("completion_tokens", 0)),
        total_tokens=int(usage.get("total_tokens", 0)),
        flaw=", ".join(flaw for flaw in flaws if flaw),
    )


def _not_vllm(endpoint: str, path: str, what: str, content: bytes) -> EndpointRejected:
    begins = content[:60].decode("utf-8", "replace").strip()
    return EndpointRejected(f"{endpoint} answered {path} with HTTP 200 and {what} (it begins {begins!r}); is it vLLM?")
