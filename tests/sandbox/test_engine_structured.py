"""Structured output and tool calls of the stand-in engine: the grammar, and what the routes make of it."""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from sandbox.engine.arguments import parse
from sandbox.engine.core import EngineCore
from sandbox.engine.faults import FaultsView
from sandbox.engine.grammar import Grammar, SchemaUnsupported, tool_calls
from sandbox.engine.loading import load
from sandbox.engine.metrics import Metrics
from sandbox.engine.server import EngineServer
from sandbox.models import make_model

CAPITAL = {
    "type": "object",
    "properties": {"country": {"type": "string"}, "capital": {"type": "string"}},
    "required": ["country", "capital"],
    "additionalProperties": False,
}
ASK = "Give the capital of France as JSON."
ANSWER = {"country": "France", "capital": "Paris"}


def schemas() -> st.SearchStrategy[dict[str, Any]]:
    leaves = st.sampled_from(
        [{"type": kind} for kind in ("string", "integer", "number", "boolean", "null")]
        + [{"enum": ["a", 1, None, "b"]}, {"const": [1, "x"]}]
    )

    def grown(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
        objects = st.dictionaries(st.sampled_from(["a", "b", "é"]), inner, max_size=3).map(
            lambda properties: {"type": "object", "properties": properties, "required": sorted(properties), "additionalProperties": False}
        )
        return objects | inner.map(lambda items: {"type": "array", "items": items})

    return st.recursive(leaves, grown, max_leaves=5)


@settings(max_examples=60)
@given(schema=schemas(), seed=st.integers(0, 1000))
def test_every_way_through_a_grammar_satisfies_its_schema(schema: dict[str, Any], seed: int) -> None:
    draw, grammar, text = random.Random(seed), Grammar.of(schema), bytearray()
    while not grammar.complete or (grammar.next_bytes() and len(text) < 200 and draw.random() < 0.8):
        byte = draw.choice(sorted(grammar.next_bytes()))
        text.append(byte)
        grammar = grammar.after(byte)

    jsonschema.validate(json.loads(text), schema, jsonschema.Draft202012Validator)


def test_what_is_no_text_of_the_grammar_leads_nowhere() -> None:
    grammar = Grammar.of(CAPITAL)
    for byte in b'{"country": "F':
        grammar = grammar.after(byte)

    assert not grammar.complete
    assert grammar.after(ord("\n")).next_bytes() == frozenset()
    assert not grammar.after(ord("\n")).complete


@pytest.mark.parametrize(
    "schema", [{"type": "string", "pattern": "a+"}, {"anyOf": []}, {"$ref": "#"}, {"type": "thing"}, "no schema", {"type": "array"}, {}]
)
def test_a_schema_beyond_the_grammar_is_refused(schema: object) -> None:
    with pytest.raises(SchemaUnsupported):
        Grammar.of(schema)
    with pytest.raises(SchemaUnsupported):
        tool_calls({"f": schema})


@pytest.fixture(scope="module")
def http(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    folder = tmp_path_factory.mktemp("model")
    for name, content in make_model().items():
        (folder / name).write_bytes(content)
    tools = [] if getattr(request, "param", "on") == "off" else ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
    arguments = parse([str(folder), "--served-model-name", "tiny", *tools])
    core = EngineCore(load(arguments), Metrics("tiny"), FaultsView(("tiny",)), max_num_seqs=4, seed=0)
    return TestClient(EngineServer(core, arguments).app())


def chat(http: TestClient, **fields: Any) -> Any:
    body = {"model": "tiny", "messages": [{"role": "user", "content": ASK}], "temperature": 0, "max_tokens": 96}
    return http.post("/v1/chat/completions", json={**body, **fields})


def function(name: str = "note", parameters: object = CAPITAL, *, strict: bool = True) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters, "strict": strict}}


def test_json_mode_constrains_the_weights_and_does_not_replace_them(http: TestClient) -> None:
    def ask(schema: object) -> Any:
        made = chat(http, response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}})
        return json.loads(made.json()["choices"][0]["message"]["content"])

    assert ask(CAPITAL) == ANSWER
    # another schema, and the same weights must say something else
    assert ask({"enum": ["Rome", "Oslo"]}) in ("Rome", "Oslo")
    assert isinstance(ask({"type": "object", "properties": {"sure": {"type": "boolean"}}, "required": ["sure"]})["sure"], bool)


def test_a_named_tool_gets_arguments_and_ends_with_stop(http: TestClient) -> None:
    choice = chat(http, tools=[function()], tool_choice={"type": "function", "function": {"name": "note"}}).json()["choices"][0]

    (call,) = choice["message"]["tool_calls"]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("note", ANSWER)
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", "stop")


def test_a_named_tool_that_is_not_strict_gets_whatever_the_model_says(http: TestClient) -> None:
    named = {"type": "function", "function": {"name": "note"}}
    choice = chat(http, tools=[function(parameters={"enum": ["a"]}, strict=False)], tool_choice=named).json()["choices"][0]

    assert choice["message"]["tool_calls"][0]["function"]["arguments"] != '"a"'


def test_a_required_call_names_its_tool_and_ends_with_tool_calls(http: TestClient) -> None:
    choice = chat(http, tools=[function(parameters={"enum": ["a"]})], tool_choice="required").json()["choices"][0]

    (call,) = choice["message"]["tool_calls"]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("note", "a")
    assert choice["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"tools": [function()]}, "does not leave tool calls to the model"),
        ({"tools": [function()], "tool_choice": "auto"}, "does not leave tool calls to the model"),
        ({"tool_choice": "required"}, "`tools` must be set"),
        ({"tools": [function()], "tool_choice": {"type": "function", "function": {"name": "other"}}}, "does not match any"),
        ({"tools": [{"type": "function"}], "tool_choice": "required"}, "functions with names"),
        ({"tools": [function()], "tool_choice": "required", "stream": True}, "does not stream"),
        ({"response_format": {"type": "json_object"}}, "text and json_schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {"anyOf": []}}}}, "'anyOf' is not supported"),
    ],
)
def test_what_is_not_played_is_refused(http: TestClient, fields: dict[str, Any], says: str) -> None:
    refused = chat(http, **fields)

    assert refused.status_code == 400
    assert says in refused.json()["error"]["message"]


def test_no_structure_is_free_text(http: TestClient) -> None:
    for fields in (
        {},
        {"tools": [], "tool_choice": "none"},
        {"tools": [function()], "tool_choice": "none"},
        {"response_format": {"type": "text"}},
    ):
        assert chat(http, **fields).json()["choices"][0]["message"]["content"] == '{"country": "France", "capital": "Paris"}'


NAMED = {"type": "function", "function": {"name": "note"}}


@pytest.mark.parametrize("http", ["off"], indirect=True)
@pytest.mark.parametrize(
    ("choice", "says"),
    [
        (NAMED, 'tool_choice=function "note" requires --tool-call-parser to be set'),
        ("required", 'tool_choice="required" requires --tool-call-parser to be set'),
        ("auto", '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'),
    ],
)
def test_without_its_options_every_tool_call_is_refused_as_vllm_does(http: TestClient, choice: object, says: str) -> None:
    refused = chat(http, tools=[function()], tool_choice=choice)

    assert (refused.status_code, refused.json()["error"]["message"]) == (400, says)
