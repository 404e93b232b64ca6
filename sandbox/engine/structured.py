"""Reads `response_format`, `tools` and `tool_choice`, and makes tool calls of what was generated."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.engine.grammar import Grammar, SchemaUnsupported, tool_calls
from sandbox.engine.refusals import RequestRefused


@dataclass(frozen=True, kw_only=True)
class Structure:
    """What the text of a chat completion must be.

    Attributes:
        grammar: The grammar that constrains decoding; None leaves it free.
        tool: The tool whose arguments the text is, where one was named.
        calls: Whether the text is a list of calls (`tool_choice: required`).
    """

    grammar: Grammar | None = None
    tool: str | None = None
    calls: bool = False


#: Text that may be anything.
FREE = Structure()


def structure(body: Mapping[str, Any], *, tools_on: bool) -> Structure:
    """Read what a chat request says of structure.

    Args:
        body: The request.
        tools_on: Whether the engine was started with `--enable-auto-tool-choice` and `--tool-call-parser`. vLLM 0.32.0 refuses every tool
            choice but `none` without them, and the parser alone is not enough.

    Raises:
        RequestRefused: It is malformed, or asks for what the stand-in does not emulate.
    """
    tools = _tools(body.get("tools") or [])
    # Of which `_tools` has found that they are functions with names.
    strict = {str(tool["function"]["name"]) for tool in body.get("tools") or [] if tool["function"].get("strict") is True}
    choice = body.get("tool_choice", "auto" if tools else "none")
    try:
        if choice == "none" or (not tools and choice in (None, "auto")):
            return _formatted(body.get("response_format") or {"type": "text"})
        if not tools:
            raise RequestRefused("When using `tool_choice`, `tools` must be set.", param="tool_choice")
        name = _name(choice)
        if not tools_on and choice == "auto":
            raise RequestRefused('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set', param="tools")
        if not tools_on:
            shown = '"required"' if choice == "required" else f'function "{name}"'
            raise RequestRefused(f"tool_choice={shown} requires --tool-call-parser to be set", param="tools")
        if choice == "auto":
            raise RequestRefused("the stand-in engine does not leave tool calls to the model (auto)", param="tool_choice")
        if body.get("stream"):
            raise RequestRefused("the stand-in engine does not stream tool calls", param="stream")
        if choice == "required":
            if any(tool not in strict for tool in tools):
                raise RequestRefused("the stand-in engine forces calls of strict tools only", param="tools")
            return Structure(grammar=tool_calls(tools), calls=True)
        if name not in tools:
            raise RequestRefused("The tool specified in `tool_choice` does not match any of the specified `tools`", param="tool_choice")
        # Without `strict` vLLM 0.32.0 leaves the arguments to the model.
        return Structure(grammar=Grammar.of(tools[name]) if name in strict else None, tool=name)
    except SchemaUnsupported as exc:
        raise RequestRefused(f"the stand-in engine's grammar: {exc}") from exc


def _name(choice: object) -> str:
    """Return the tool that a choice names; what names none is no tool's name."""
    function = choice.get("function") if isinstance(choice, dict) else None
    return str(function.get("name", "")) if isinstance(function, dict) else ""


def _tools(given: object) -> dict[str, object]:
    try:
        return {str(tool["function"]["name"]): tool["function"].get("parameters") for tool in given}  # type: ignore[attr-defined]
    except (TypeError, KeyError, AttributeError) as exc:
        raise RequestRefused("tools must be a list of functions with names", param="tools") from exc


def _formatted(given: object) -> Structure:
    if given == {"type": "text"}:
        return FREE
    if not isinstance(given, dict) or given.get("type") != "json_schema" or not isinstance(given.get("json_schema"), dict):
        raise RequestRefused("the stand-in engine supports the response_format text and json_schema", param="response_format")
    return Structure(grammar=Grammar.of(given["json_schema"].get("schema")))


def message(structure: Structure, text: str, finish_reason: str | None) -> tuple[dict[str, Any], str | None]:
    """Return the message that a text is, and its finish reason: `tool_calls` for a required call, `stop` for a named one."""
    calls: list[dict[str, Any]] = []
    # A named tool binds the text to its parameters: the text is the arguments.
    if structure.tool is not None:
        calls = [_call(structure.tool, text)]
    elif structure.calls and finish_reason == "stop":
        calls = [_call(call["name"], json.dumps(call["parameters"])) for call in json.loads(text)]
        finish_reason = "tool_calls"
    return {"role": "assistant", "content": "" if calls else text, "refusal": None, "tool_calls": calls}, finish_reason


def _call(name: str, arguments: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-tool-{uuid.uuid4().hex}", "type": "function", "function": {"name": name, "arguments": arguments}}
