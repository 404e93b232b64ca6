"""Reads vLLM's answers; whatever else comes is refused with one sentence, or noted as the answer's flaw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from blocks.endpoint import positions
from blocks.errors import EndpointRejected
from blocks.facts import Answer, EngineMetrics, ServedModel, ToolCall
from blocks.strict_json import NumberUnusable, finite, loads, whole

#: What a malformed document raises while it is taken apart.
MALFORMED = (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, ArithmeticError)

DONE = "[DONE]"

#: More than an answer has, in bytes: what is said once, and what is said for each token with its likeliest ones (an event of a stream has
#: about 300, a position with six tokens about 500); and where the positions of its prompt are told, too.
_ONCE_BYTES, _TOKEN_BYTES, _READ_BYTES = 64 << 10, 4 << 10, 8 << 20

#: More than vLLM has to say about itself, in bytes. A completion may be longer; the client limits it.
_LARGEST_STATEMENT = 4 << 20

#: Longer than any name, path, version or reason of an engine, in characters: they are shown to people.
_LONGEST_WORD = 1024

#: The same of an error's message.
_LONGEST_MESSAGE = 4096

#: More calls than any answer to a check has: each is checked against a schema, and told.
_MOST_CALLS = 64

_GENERATED, _PREEMPTIONS, _CACHE = "vllm:generation_tokens_total", "vllm:num_preemptions_total", "vllm:kv_cache_usage_perc"
#: vLLM counts every end of a request under this name, errors among them by `finished_reason`.
_ERRORS = "vllm:request_success_total/error"
_RUNNING, _WAITING = "vllm:num_requests_running", "vllm:num_requests_waiting"
_READ = (_GENERATED, _PREEMPTIONS, _CACHE, _ERRORS, _RUNNING, _WAITING)
_WANTED = tuple(name.partition("/")[0] for name in _READ)
#: More than one for each engine and each way to end, on any node; and than one line of these has characters.
_MOST_SERIES, _LONGEST_SERIES = 4096, 1024


def largest_answer(body: Mapping[str, Any]) -> int:
    """How many bytes an answer to this request may have; one that goes on for longer is none.

    Args:
        body: What is asked: so many tokens at most, and the positions of the prompt, or not.
    """
    # What a chat's template adds to a prompt is not known here.
    return _READ_BYTES if "prompt_logprobs" in body else _ONCE_BYTES + _TOKEN_BYTES * int(body.get("max_tokens") or 16)


def served_models(content: bytes, endpoint: str) -> tuple[ServedModel, ...]:
    """The lines of `/v1/models`.

    Raises:
        EndpointRejected: It is something else.
    """
    try:
        lines = loads(content, most=_LARGEST_STATEMENT)["data"]
        return tuple(
            ServedModel(name=_word(line["id"]), root=_word(line["root"]), max_model_len=_optional_count(line.get("max_model_len")))
            for line in lines
        )
    except MALFORMED as exc:
        raise _not_vllm(endpoint, "/v1/models", f"no list of models{_why(exc)}", content) from exc


def version(content: bytes, endpoint: str) -> str:
    """The version that `/version` states.

    Raises:
        EndpointRejected: It is something else.
    """
    try:
        return _word(loads(content, most=_LARGEST_STATEMENT)["version"])
    except MALFORMED as exc:
        raise _not_vllm(endpoint, "/version", "no version", content) from exc


def tokens(content: bytes, endpoint: str) -> tuple[int, ...]:
    """The tokens that `/tokenize` answers.

    Raises:
        EndpointRejected: It is something else.
    """
    try:
        return tuple(whole(token) for token in loads(content, most=_LARGEST_STATEMENT)["tokens"])
    except MALFORMED as exc:
        raise _not_vllm(endpoint, "/tokenize", f"no tokens{_why(exc)}", content) from exc


def metrics(content: bytes, endpoint: str) -> EngineMetrics:
    """The series of `/metrics` that verification reads: counts summed over engines, the cache of the engine that has it fullest.

    Raises:
        EndpointRejected: It is no Prometheus text, or not vLLM's.
    """
    sums: dict[str, float] = {}
    try:
        if len(content) > _LARGEST_STATEMENT:
            raise ValueError("too long")
        # Only what is wanted is taken apart: a megabyte of anything else takes a second of CPU time, and this is asked twice a second.
        lines = [line for line in content.decode().split("\n") if line.startswith(_WANTED)]
        if len(lines) > _MOST_SERIES or max(map(len, lines), default=0) > _LONGEST_SERIES:
            raise ValueError("too many, or too long")
        for family in text_string_to_metric_families("\n".join([*lines, ""])):
            for sample in family.samples:
                reason = sample.labels.get("finished_reason")
                key = f"{sample.name}/{reason}" if reason else sample.name
                if key in _READ:
                    # Each by itself: a negative one would hide in a sum.
                    value, before = _positive(key, sample.value), sums.get(key, 0.0)
                    sums[key] = max(before, value) if key == _CACHE else before + value
        return EngineMetrics(
            generated_tokens=whole(int(sums[_GENERATED])),
            errors=whole(int(sums.get(_ERRORS, 0))),
            preemptions=whole(int(sums[_PREEMPTIONS])),
            kv_cache_usage=sums[_CACHE],
            under_way=whole(int(sums.get(_RUNNING, 0) + sums.get(_WAITING, 0))),
        )
    except MALFORMED as exc:
        raise _not_vllm(endpoint, "/metrics", f"none of vLLM's metrics{_why(exc)}", content) from exc


def exposition(content: bytes, endpoint: str) -> str:
    """The text of `/metrics`.

    Raises:
        EndpointRejected: It is no text, or longer than an engine's.
    """
    try:
        if len(content) > _LARGEST_STATEMENT:
            raise ValueError("too long")
        return content.decode()
    except MALFORMED as exc:
        raise _not_vllm(endpoint, "/metrics", f"none of vLLM's metrics{_why(exc)}", content) from exc


def _positive(name: str, value: float) -> float:
    try:
        number = finite(value)
    except NumberUnusable as exc:
        raise NumberUnusable(f"{name}: {exc}") from exc
    if number < 0:
        raise NumberUnusable(f"{name}: {number:g} is below zero")
    return number


def refusal(status: int, content: bytes, seconds: float) -> Answer:
    """An answer with another status than 200, with its message."""
    try:
        data = loads(content)
        message = data["error"]["message"] if "error" in data else data["message"]
        if isinstance(message, str) and message:
            return Answer(status=status, seconds=seconds, error=message[:_LONGEST_MESSAGE])
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
        raise _not_vllm(endpoint, path, f"no completion{_why(exc)}", content) from exc


def _whole(data: dict[str, Any], seconds: float) -> Answer:
    choice, usage = data["choices"][0], data["usage"]
    message = choice.get("message")
    said = positions.said(choice.get("logprobs"))
    return Answer(
        status=200,
        seconds=seconds,
        # Null beside tool calls, and where a reasoning parser put all of it into `reasoning`.
        text=_text((message["content"] or "") if message is not None else choice["text"]),
        finish_reason=_reason(choice["finish_reason"]),
        prompt_tokens=whole(usage["prompt_tokens"]),
        completion_tokens=whole(usage["completion_tokens"]),
        total_tokens=whole(usage["total_tokens"]),
        tool_calls=_calls((message or {}).get("tool_calls") or []),
        tokens=tuple(position.token for position in said),
        logprobs=tuple(position.top[position.token] for position in said),
        said=said,
        # A completion tells its prompt's in the choice, a chat beside it.
        read=positions.read(choice.get("prompt_logprobs") or data.get("prompt_logprobs")),
    )


def _calls(given: list[dict[str, Any]]) -> tuple[ToolCall, ...]:
    if len(given) > _MOST_CALLS:
        raise ValueError("more calls than anybody makes")
    return tuple(ToolCall(name=_word(call["function"]["name"]), arguments=_text(call["function"]["arguments"])) for call in given)


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
    return _text(choice["delta"].get("content") or "") if "delta" in choice else _text(choice["text"])


def _streamed(content: bytes, seconds: float) -> Answer:
    told = list(events(content))
    parsed = [loads(event) for event in told if event != DONE]
    if not parsed:
        raise ValueError("no event")
    # The last event has the usage and no choices (`include_usage`).
    ends = [_reason(event["choices"][0]["finish_reason"]) for event in parsed if event.get("choices")]
    usage = parsed[-1].get("usage") or {}
    # What an engine that dies or gives up says in the middle of a stream, which began with HTTP 200: all else that lacks follows from it.
    broken = next((_broken_off(event["error"]) for event in parsed if event.get("error")), "")
    flaws = (
        [broken]
        if broken
        else [
            "" if told[-1] == DONE else f"the stream does not end in {DONE}",
            "" if usage else "no usage in the last event",
            "" if any(ends) else "no finish reason",
        ]
    )
    return Answer(
        status=200,
        seconds=seconds,
        text="".join(piece_of(event) for event in parsed),
        finish_reason=next((reason for reason in ends if reason), None),
        prompt_tokens=whole(usage.get("prompt_tokens", 0)),
        completion_tokens=whole(usage.get("completion_tokens", 0)),
        total_tokens=whole(usage.get("total_tokens", 0)),
        flaw=", ".join(flaw for flaw in flaws if flaw),
    )


def _broken_off(error: object) -> str:
    message = error.get("message") if isinstance(error, dict) else error
    return f"the engine broke the answer off: {_text(message)[:_LONGEST_MESSAGE]}"


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _word(value: object) -> str:
    """A text that people are shown as a name."""
    if len(word := _text(value)) > _LONGEST_WORD:
        raise ValueError("too long")
    return word


def _reason(value: object) -> str | None:
    return None if value is None else _word(value)


def _optional_count(value: object) -> int | None:
    return None if value is None else whole(value)


def _why(exc: Exception) -> str:
    """What is wrong, where that is a number: the beginning of a long answer would not show it."""
    return f" that can be calculated with ({exc})" if isinstance(exc, NumberUnusable) else ""


def _not_vllm(endpoint: str, path: str, what: str, content: bytes) -> EndpointRejected:
    begins = content[:60].decode("utf-8", "replace").strip()
    return EndpointRejected(f"{endpoint} answered {path} with HTTP 200 and {what} (it begins {begins!r}); is it vLLM?")
