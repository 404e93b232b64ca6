"""From an answer to a measurement: what a check expects of it, and whether it held."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jsonschema
import referencing
import referencing.exceptions

from blocks.facts import Answer
from blocks.strict_json import NumberUnusable, loads
from flows.spec.checks import Check, JsonCheck, LongContextCheck, OverLongCheck, StopCheck, ToolCallCheck, UnknownModelCheck
from flows.verification.measurement import Measurement, Outcome
from flows.verification.requests import wanted_prompt_tokens

#: What ends in this many copies of one piece of text, together this long, is an endless repetition.
REPEATS = 5
REPEATED_CHARACTERS = 40
LONGEST_PIECE = 80

_Finding = tuple[str, bool]


def check_answer(check: Check, answer: Answer, window: int = 0) -> Measurement:
    """Compare an answer with the check's expectation.

    Args:
        check: What was asked.
        answer: What came back.
        window: The context window in tokens; a long-context check needs it.
    """
    if answer.status is None:
        return _measured(check, answer, "failed", "an answer", answer.error)
    status = check.expect.status or _status(check)
    asked: list[_Finding] = [(f"HTTP {status}", answer.status == status)]
    always: list[_Finding] = []
    seen = _seen(answer) if answer.status == 200 else f"HTTP {answer.status}: {answer.error[:200]}"
    if answer.status == status == 200:
        try:
            asked += _of_text(check, answer, window)
        except NumberUnusable as exc:
            # Neither a yes nor a no: with such a number every comparison goes one way, or ends in an error.
            return _measured(check, answer, "errored", "numbers that can be calculated with", f"{exc}; {seen}")
        always = _of_all(check, answer)
    elif answer.status == status:
        asked += _of_refusal(check, answer)
    missed = [what for what, held in (*asked, *always) if not held]
    held = [what for what, _ in asked]
    return _measured(check, answer, "failed" if missed else "passed", ", ".join(missed or held), seen)


def _measured(check: Check, answer: Answer, outcome: Outcome, expected: str, seen: str) -> Measurement:
    return Measurement(name=check.name, kind=check.kind, outcome=outcome, expected=expected, seen=seen, seconds=answer.seconds)


def _status(check: Check) -> int:
    # What vLLM 0.32 answers: 404 NotFoundError for a model it does not serve, 400 BadRequestError beyond the window.
    if isinstance(check, UnknownModelCheck):
        return 404
    return 400 if isinstance(check, OverLongCheck) else 200


def _seen(answer: Answer) -> str:
    calls = [f"{call.name}({call.arguments[:80]})" for call in answer.tool_calls]
    # Its `repr`, since an answer may hold line ends and control characters.
    said = "; ".join(calls) or f"{answer.text[:80]!r}"
    return f"{said}, {answer.finish_reason}, {answer.completion_tokens} token(s)" + (f"; {answer.flaw}" if answer.flaw else "")


def _of_refusal(check: Check, answer: Answer) -> list[_Finding]:
    findings = [("a message in vLLM's form", bool(answer.error) and not answer.flaw)]
    if check.expect.contains is not None:
        findings.append((f"a message with {check.expect.contains!r}", check.expect.contains in answer.error))
    return findings


def _of_text(check: Check, answer: Answer, window: int) -> list[_Finding]:
    expect, text = check.expect, answer.text
    findings: list[_Finding] = []
    if expect.contains is not None:
        findings.append((f"text with {expect.contains!r}", expect.contains in text))
    if expect.regex is not None:
        findings.append((f"text like /{expect.regex}/", re.search(expect.regex, text) is not None))
    if expect.json_schema is not None:
        findings.append(_satisfies("text", text, expect.json_schema))
    if expect.finish_reason is not None:
        findings.append((f"finish reason {expect.finish_reason}", answer.finish_reason == expect.finish_reason))
    if expect.min_tokens > 1:
        findings.append((f"{expect.min_tokens} tokens or more", answer.completion_tokens >= expect.min_tokens))
    return findings + _of_kind(check, answer, window)


def _of_all(check: Check, answer: Answer) -> list[_Finding]:
    """What must hold of every answer, and is told only where it does not."""
    findings: list[_Finding] = [
        ("a well-formed answer", not answer.flaw),
        ("one token or more", answer.completion_tokens > 0),
        ("usage that adds up", _adds_up(check, answer)),
        ("no replacement characters", "\ufffd" not in answer.text),
    ]
    if not check.expect.may_repeat:
        findings.append(("no endless repetition", not endless_repetition(answer.text)))
    return findings


def _of_kind(check: Check, answer: Answer, window: int) -> list[_Finding]:
    match check:
        case JsonCheck():
            return [_satisfies("text", answer.text, check.schema)]
        case ToolCallCheck():
            calls = [call for call in answer.tool_calls if call.name == check.tool.name]
            right = bool(calls) and len(calls) == len(answer.tool_calls)
            findings: list[_Finding] = [(f"a call of {check.tool.name} and of nothing else", right)]
            return findings + [_satisfies("arguments", call.arguments, check.tool.parameters) for call in calls]
        case StopCheck():
            held = not any(stop in answer.text for stop in check.stop)
            return [("none of the stop texts", held), ("finish reason stop", answer.finish_reason == "stop")]
        case LongContextCheck():
            wanted = wanted_prompt_tokens(check, window)
            return [(f"{wanted} prompt tokens or more", answer.prompt_tokens >= wanted)]
        case _:
            return []


def _adds_up(check: Check, answer: Answer) -> bool:
    limit = getattr(check, "max_tokens", answer.completion_tokens)
    together = answer.prompt_tokens + answer.completion_tokens == answer.total_tokens
    # `length` means that it was cut at `max_tokens`, so there must be exactly so many.
    cut = answer.finish_reason != "length" or answer.completion_tokens == limit
    return together and answer.prompt_tokens > 0 and answer.completion_tokens <= limit and cut


def _satisfies(what: str, text: str, schema: Mapping[str, Any]) -> _Finding:
    problem = _problem(text, schema)
    return f"{what} that satisfies its JSON Schema" + (f" ({problem})" if problem else ""), not problem


def schema_problem(text: str, schema: Mapping[str, Any]) -> str:
    """Why the text is not JSON that satisfies the schema (Draft 2020-12); empty if it is."""
    try:
        return _problem(text, schema)
    except NumberUnusable as exc:
        return f"not JSON: {exc}"


def _problem(text: str, schema: Mapping[str, Any]) -> str:
    """The same.

    Raises:
        NumberUnusable: The text holds a number with which it cannot be told.
    """
    try:
        value = loads(text)
        # A registry of its own: the validator must not fetch what a schema refers to.
        validator = jsonschema.Draft202012Validator(schema, registry=referencing.Registry())
        wrong = jsonschema.exceptions.best_match(validator.iter_errors(value))
    except NumberUnusable:
        raise
    except ValueError as exc:
        return f"not JSON: {exc}"
    except ArithmeticError as exc:  # a `multipleOf` that is next to nothing, of a number that is next to infinite
        raise NumberUnusable(f"a number for which the JSON Schema ends in {type(exc).__name__}") from exc
    except (referencing.exceptions.Unresolvable, RecursionError) as exc:
        return f"a schema that cannot be resolved: {type(exc).__name__}"
    return f"{wrong.json_path}: {wrong.message[:120]}" if wrong is not None else ""


def endless_repetition(text: str) -> str:
    """The piece of text that the text ends in over and over; empty if there is none.

    It counts as endless when the last `REPEATED_CHARACTERS` or more are whole copies of one piece of at most `LONGEST_PIECE`
    characters, `REPEATS` of them or more. Every piece length is tried, so the cost is the length of the text times `LONGEST_PIECE`.
    """
    for length in range(1, min(LONGEST_PIECE, len(text) // REPEATS) + 1):
        same = 0
        # A suffix has the period `length` as long as each character equals the one that far behind it.
        while same < len(text) - length and text[-1 - same] == text[-1 - same - length]:
            same += 1
        copies = (same + length) // length
        if copies >= REPEATS and copies * length >= REPEATED_CHARACTERS:
            return text[-length:]
    return ""
