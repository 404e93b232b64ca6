"""Check suites as `deployments/checks/NAME.yaml` describes them: what to ask the endpoint, and what must come back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from flows.spec.types import STRICT, DnsLabel

#: The file that describes suites to editors and validators, beside them; made by `flows.cli.schemas` and held equal by a test.
SCHEMA_FILE = "schema.json"

Text = Annotated[str, Field(min_length=1)]
Tokens = Annotated[int, Field(ge=1, le=4096)]
#: A JSON Schema (Draft 2020-12).
JsonSchema = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What must hold of an answer; what is not said is not checked.

    Of every answer with text it is checked besides that its usage adds up, that it holds no replacement character (U+FFFD) and that it
    does not end in an endless repetition.

    Attributes:
        status: The HTTP status; that of the kind (200, or that of the refusal) unless it is said.
        contains: Text that the answer holds; of a refusal, that its message holds.
        regex: A regular expression (Python's `re`) that matches somewhere in it.
        json_schema: A JSON Schema (Draft 2020-12) that the answer, read as JSON, satisfies.
        finish_reason: How it ended.
        min_tokens: Tokens that the answer has at least, by its own usage.
        may_repeat: Allows it to end in a repetition, for prompts that ask for one.
    """

    __pydantic_config__ = STRICT

    status: Annotated[int, Field(ge=100, le=599)] | None = None
    contains: Text | None = None
    regex: Text | None = None
    json_schema: JsonSchema | None = None
    finish_reason: Literal["stop", "length", "tool_calls"] | None = None
    min_tokens: Annotated[int, Field(ge=1)] = 1
    may_repeat: bool = False


@dataclass(frozen=True, kw_only=True)
class _Named:
    __pydantic_config__ = STRICT

    name: DnsLabel
    expect: Expectation = Expectation()


@dataclass(frozen=True, kw_only=True)
class _Prompted(_Named):
    prompt: Text
    max_tokens: Tokens = 32


@dataclass(frozen=True, kw_only=True)
class CompletionCheck(_Prompted):
    """A completion of the prompt."""

    kind: Literal["completion"]


@dataclass(frozen=True, kw_only=True)
class ChatCheck(_Prompted):
    """A chat completion of the prompt as the one user message."""

    kind: Literal["chat"]


@dataclass(frozen=True, kw_only=True)
class StreamingCheck(_Prompted):
    """The same as server-sent events: every event must be JSON, usage must come last, and the stream must end in `[DONE]`."""

    kind: Literal["streaming"]
    over: Literal["completion", "chat"] = "chat"


@dataclass(frozen=True, kw_only=True)
class JsonCheck(_Prompted):
    """A chat completion with `response_format: json_schema`; the answer must satisfy the schema."""

    kind: Literal["json"]
    schema: JsonSchema


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A function that the model may call; `parameters` is the JSON Schema of its arguments."""

    __pydantic_config__ = STRICT

    # What OpenAI's API allows as the name of a function.
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    parameters: JsonSchema
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class ToolCallCheck(_Prompted):
    """A chat completion that must call the tool, with arguments that satisfy its parameters.

    Attributes:
        tool: The tool that is offered.
        choice: `named` and `required` force a call; `auto` leaves it to the model. For all of them vLLM must be started with
            `--enable-auto-tool-choice` and `--tool-call-parser`.
    """

    kind: Literal["tool-call"]
    tool: Tool
    choice: Literal["named", "required", "auto"] = "named"


@dataclass(frozen=True, kw_only=True)
class StopCheck(_Prompted):
    """A completion that must end before one of the texts in `stop`, and hold none of them."""

    kind: Literal["stop"]
    # OpenAI's API takes four at most.
    stop: Annotated[tuple[Text, ...], Field(min_length=1, max_length=4)]


@dataclass(frozen=True, kw_only=True)
class LongContextCheck(_Prompted):
    """A completion of the prompt behind filler, so that question and answer together take up the share of the context window."""

    kind: Literal["long-context"]
    share: Annotated[float, Field(gt=0, le=1)] = 0.9


@dataclass(frozen=True, kw_only=True)
class UnknownModelCheck(_Named):
    """A request for a model that is not served; it must be refused with 404."""

    kind: Literal["unknown-model"]


@dataclass(frozen=True, kw_only=True)
class OverLongCheck(_Named):
    """A prompt one token longer than the context window; it must be refused with 400."""

    kind: Literal["over-long"]


Check = Annotated[
    CompletionCheck
    | ChatCheck
    | StreamingCheck
    | JsonCheck
    | ToolCallCheck
    | StopCheck
    | LongContextCheck
    | UnknownModelCheck
    | OverLongCheck,
    Field(discriminator="kind"),
]

GoldenPrompt = Annotated[CompletionCheck | ChatCheck | JsonCheck | ToolCallCheck, Field(discriminator="kind")]


@dataclass(frozen=True, kw_only=True)
class CheckSuite:
    """Checks that are asked together, in order, greedily (temperature 0).

    Attributes:
        name: Its name; also the file's name.
        checks: What is asked and judged.
        golden: Prompts whose answers are kept and compared with those of the release that is replaced; not judged by themselves.
    """

    __pydantic_config__ = STRICT

    name: DnsLabel
    checks: Annotated[tuple[Check, ...], Field(min_length=1)]
    golden: tuple[GoldenPrompt, ...] = ()
