"""Each expectation has an answer that passes and answers that do not; each kind of check asks for what it should."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from blocks.facts import Answer, ToolCall
from flows.spec import Check, Expectation
from flows.spec.checks import LongContextCheck
from flows.verification.answers import REPEATED_CHARACTERS, REPEATS, check_answer, endless_repetition, schema_problem
from flows.verification.requests import CHAT, COMPLETIONS, load_requests, request, wanted_prompt_tokens

CHECK: TypeAdapter[Any] = TypeAdapter(Check)
SCHEMA = {"type": "object", "properties": {"capital": {"type": "string"}}, "required": ["capital"], "additionalProperties": False}
TOOL = {"name": "look_up", "parameters": SCHEMA}


def check(kind: str = "completion", expect: dict[str, object] | None = None, **fields: object) -> Any:
    prompted = {} if kind in ("unknown-model", "over-long") else {"prompt": "The capital of France is", "max_tokens": 16}
    return CHECK.validate_python({"name": "capital", "kind": kind, "expect": expect or {}, **prompted, **fields})


def answer(**changes: Any) -> Answer:
    usage = {"prompt_tokens": 24, "completion_tokens": 7}
    given = {"status": 200, "seconds": 0.05, "text": " Paris.", "finish_reason": "stop", **usage, **changes}
    return Answer(**{"total_tokens": given["prompt_tokens"] + given["completion_tokens"], **given})


CALL = {"text": "", "tool_calls": (ToolCall(name="look_up", arguments='{"capital": "Paris"}'),)}


@pytest.mark.parametrize(
    ("checked", "good", "bad"),
    [
        (check(expect={"contains": "Paris"}), {}, {"text": " London."}),
        (check(expect={"regex": r"^ Par.s\.$"}), {}, {"text": " Paris. Paris."}),
        (check(expect={"finish_reason": "stop"}), {}, {"finish_reason": "length", "completion_tokens": 16}),
        (check(expect={"min_tokens": 7}), {}, {"completion_tokens": 6}),
        (check(expect={"json_schema": SCHEMA}), {"text": '{"capital": "Paris"}'}, {"text": '{"capital": 7}'}),
        (check(expect={"json_schema": SCHEMA}), {"text": '{"capital": "Paris"}'}, {"text": '{"capital": "Paris"'}),
        (check(), {}, {"text": "Par\ufffds"}),
        (check(), {}, {"completion_tokens": 0}),
        (check(), {}, {"total_tokens": 30}),
        (check(), {}, {"completion_tokens": 17}),
        (check(), {"completion_tokens": 16, "finish_reason": "length"}, {"finish_reason": "length"}),
        (check(), {}, {"status": 500, "error": "boom"}),
        (check(), {}, {"status": None, "error": "no answer within 60 s"}),
        (check(), {}, {"text": "round and " * 9}),
        (check(expect={"may_repeat": True}), {"text": "round and " * 9}, {"text": "", "completion_tokens": 0}),
        (check("streaming"), {}, {"flaw": "the stream does not end in [DONE]"}),
        (check("json", schema=SCHEMA), {"text": '{"capital": "Paris"}'}, {"text": "Paris"}),
        (check("tool-call", tool=TOOL), CALL, {"text": "look_up"}),
        (check("tool-call", tool=TOOL), CALL, {"tool_calls": (ToolCall(name="other", arguments="{}"),)}),
        (check("tool-call", tool=TOOL), CALL, {"tool_calls": (ToolCall(name="look_up", arguments="{}"),)}),
        (check("stop", stop=["Lyon"]), {}, {"text": " not Lyon."}),
        (check("stop", stop=["Lyon"]), {}, {"finish_reason": "length", "completion_tokens": 16}),
        (check("long-context", share=0.5), {"prompt_tokens": 112}, {"prompt_tokens": 111}),
        (check("unknown-model"), {"status": 404, "error": "The model `x` does not exist."}, {}),
        (check("unknown-model"), {"status": 404, "error": "no"}, {"status": 404, "error": "<html>", "flaw": "not in vLLM's form"}),
        (check("over-long"), {"status": 400, "error": "too long"}, {"status": 500, "error": "too long"}),
        (check("over-long", expect={"status": 422}), {"status": 422, "error": "too long"}, {"status": 400, "error": "too long"}),
        (check("over-long", expect={"contains": "context"}), {"status": 400, "error": "context"}, {"status": 400, "error": "no"}),
    ],
)
def test_each_expectation_passes_and_fails(checked: Any, good: dict[str, object], bad: dict[str, object]) -> None:
    assert check_answer(checked, answer(**good), 256).outcome == "passed"

    failed = check_answer(checked, answer(**bad), 256)

    assert (failed.outcome, failed.name, failed.kind) == ("failed", "capital", checked.kind)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "9" * 400])
def test_a_number_with_which_nothing_can_be_told_makes_the_check_errored(number: str) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "number", "multipleOf": 0.01, "minimum": 0}}}
    text = f'{{"n": {number}}}'
    asked = [
        (check("json", schema=schema), answer(text=text)),
        (check(expect={"json_schema": schema}), answer(text=text)),
        (check("tool-call", tool={**TOOL, "parameters": schema}), answer(tool_calls=(ToolCall(name="look_up", arguments=text),))),
    ]

    for checked, given_ in asked:
        measured = check_answer(checked, given_)
        assert (measured.outcome, measured.name) == ("errored", "capital")
        assert number[:12] in measured.seen
    assert schema_problem(text, schema).startswith("not JSON")


def test_a_schema_whose_arithmetic_overflows_makes_the_check_errored_too() -> None:
    schema = {"type": "number", "multipleOf": 10**400}

    assert check_answer(check("json", schema=schema), answer(text="1.5")).outcome in ("errored", "failed")


def test_what_failed_is_told_and_nothing_else() -> None:
    failed = check_answer(check(expect={"contains": "Paris", "finish_reason": "stop"}), answer(text=" Lyon."))

    assert failed.expected == "text with 'Paris'"
    assert failed.seen == "' Lyon.', stop, 7 token(s)"
    assert "HTTP 404: no such model" in check_answer(check(), answer(status=404, error="no such model")).seen


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("", ""),
        ("a plain sentence that says something once and then ends.", ""),
        ("The answer is " + "no, " * 10, "no, "),
        ("Once. " + "\n" * 40, "\n"),
        ("no, " * (REPEATS - 1), ""),
        ("-" * (REPEATED_CHARACTERS - 1), ""),
        ("-" * REPEATED_CHARACTERS, "-"),
        ("over and over " * 8 + "and then it stops", ""),
        (
            ("a long piece of text that comes again and again, whatever it says. " * 5),
            "a long piece of text that comes again and again, whatever it says. ",
        ),
        ("Paris. " + "x" * 81 + "y" + "x" * 81, "x"),
    ],
)
def test_endless_repetition_is_many_copies_of_one_piece_at_the_end(text: str, piece: str) -> None:
    assert endless_repetition(text) == piece


@given(piece=st.text(min_size=1, max_size=80), before=st.text(max_size=20), copies=st.integers(0, 60))
def test_whatever_is_repeated_often_enough_is_found(piece: str, before: str, copies: int) -> None:
    found = endless_repetition(before + piece * copies)

    if copies >= REPEATS and copies * len(piece) >= REPEATED_CHARACTERS + len(piece):
        assert found
    if found:
        assert (before + piece * copies).endswith(found * REPEATS)


@given(text=st.text(max_size=60))
def test_no_text_breaks_the_schema_check(text: str) -> None:
    assert schema_problem(text, {"$ref": "#/nowhere"})
    assert schema_problem(text, {"type": "object", "required": ["a"], "properties": {"a": {"enum": [1]}}})


def test_a_schema_is_never_fetched() -> None:
    assert "cannot be resolved" in schema_problem("{}", {"$ref": "https://127.0.0.1:9/schema"})


def test_requests_are_greedy_and_ask_for_what_the_kind_says() -> None:
    made = {kind: request(check(kind, **fields), "tiny", 256, [5, 6], [1, 2]) for kind, fields in KINDS.items()}

    assert {made[kind].path for kind in ("completion", "stop", "long-context", "unknown-model", "over-long")} == {COMPLETIONS}
    assert {made[kind].path for kind in ("chat", "streaming", "json", "tool-call")} == {CHAT}
    assert all(asked.body["temperature"] == 0 for asked in made.values())
    assert [kind for kind, asked in made.items() if asked.body["model"] != "tiny"] == ["unknown-model"]
    assert made["streaming"].body["stream_options"] == {"include_usage": True}
    assert made["stop"].body["stop"] == ["Lyon"]
    assert made["json"].body["response_format"]["json_schema"]["schema"] == SCHEMA
    assert made["tool-call"].body["tool_choice"] == {"type": "function", "function": {"name": "look_up"}}
    assert len(made["over-long"].body["prompt"]) == 257


KINDS: dict[str, dict[str, Any]] = {
    "completion": {},
    "chat": {},
    "streaming": {},
    "json": {"schema": SCHEMA},
    "tool-call": {"tool": TOOL},
    "stop": {"stop": ["Lyon"]},
    "long-context": {"share": 0.9},
    "unknown-model": {},
    "over-long": {},
}


@given(share=st.floats(0.05, 1), window=st.integers(64, 4096), prompt=st.lists(st.integers(0, 99), min_size=1, max_size=30))
def test_a_long_context_fills_its_share_and_ends_with_the_question(share: float, window: int, prompt: list[int]) -> None:
    asked = LongContextCheck(name="long", kind="long-context", prompt="x", max_tokens=8, share=share, expect=Expectation())

    body = request(asked, "tiny", window, [7, 8, 9], prompt).body

    assert len(body["prompt"]) == max(len(prompt), wanted_prompt_tokens(asked, window))
    assert body["prompt"][-len(prompt) :] == prompt
    assert len(body["prompt"]) + body["max_tokens"] <= max(window, len(prompt) + 8)


def test_load_prompts_are_seeded_different_and_of_one_length() -> None:
    def made(seed: int) -> list[list[int]]:
        asked = load_requests("tiny", range(100, 200), prompt_tokens=16, max_tokens=8, count=50, seed=seed)
        return [one.body["prompt"] for one in asked]

    assert made(1) == made(1) != made(2)
    assert {len(prompt) for prompt in made(1)} == {16}
    assert len({tuple(prompt) for prompt in made(1)}) == 50
