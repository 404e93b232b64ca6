"""Every number that decides something is finite, or the check is errored."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import psycopg
from pydantic import TypeAdapter

from blocks.endpoint import protocol
from blocks.endpoint.load import sample
from blocks.errors import EndpointRejected
from blocks.facts import Answer
from blocks.strict_json import NumberUnusable, loads
from flows.errors import SpecInvalid
from flows.fit.configuration import read_document
from flows.fit.errors import Unreadable
from flows.fit.model import read_model
from flows.fit.request import cost
from flows.fit.settings import Settings
from flows.fit.verdict import judge
from flows.metrics.exporter import Exporter
from flows.spec import Check, StabilityPolicy
from flows.spec.environment import LatencyPolicy
from flows.verification.answers import check_answer
from flows.verification.stability import check_cache
from tests.attack.case import attacks, refused
from tests.attack.shared import Shared
from tests.support.examples import LLAMA_31_8B
from tests.support.vllm_rows import rows

#: What no number of an answer may be, as somebody would write it into JSON.
ODD = ("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "9" * 400, "1" + "0" * 5000, "1e99999999999")

METRICS = (
    'vllm:generation_tokens_total{engine="0"} %s\nvllm:num_preemptions_total{engine="0"} %s\nvllm:kv_cache_usage_perc{engine="0"} %s\n'
)


def completion(usage: str = "2", logprob: str = "-0.5") -> bytes:
    told = f'{{"tokens": ["a"], "token_logprobs": [{logprob}]}}'
    choice = f'{{"text": " Paris.", "finish_reason": "stop", "logprobs": {told}}}'
    return f'{{"choices": [{choice}], "usage": {{"prompt_tokens": 3, "completion_tokens": {usage}, "total_tokens": 5}}}}'.encode()


def read(content: bytes) -> Answer:
    return protocol.answer(content, 0.1, streamed=False, endpoint="tiny:8000", path="/v1/completions")


@attacks("no number beyond floats and 64 bits, no NaN and no infinity is read from what a stranger wrote")
def odd_numbers() -> None:
    for number in ODD:
        refused(NumberUnusable, loads, f'{{"a": [{number}]}}')


@attacks("token counts that are none are refused with the number, in whole answers, streams and loads")
def token_counts() -> None:
    assert read(completion()).completion_tokens == 2
    for number in (*ODD, "-1", "1.5", "true", '"7"', "null", "[]"):
        refused(EndpointRejected, read, completion(usage=number))
        stream = b"data: " + completion(usage=number) + b"\n\ndata: [DONE]\n\n"
        refused(EndpointRejected, protocol.answer, stream, 0.1, streamed=True, endpoint="x", path="/")
        assert sample(200, 0.9, [(0.1, stream)], True).error, number
        refused(EndpointRejected, protocol.tokens, f'{{"tokens": [1, {number}]}}'.encode(), "x")


@attacks("log-probabilities that are none are refused")
def log_probabilities() -> None:
    for number in (*ODD, "-1e9", "5", "true", '"x"'):
        refused(EndpointRejected, read, completion(logprob=number))


@attacks("a figure of the engine's metrics that is NaN, infinite or negative is not taken for zero")
def engine_figures() -> None:
    assert protocol.metrics((METRICS % ("1", "0", "0.5")).encode(), "x").kv_cache_usage == 0.5
    for figure in ("NaN", "+Inf", "-Inf", "-0.1", "1e400", "-1"):
        for place in range(3):
            figures = ["1", "0", "0.5"]
            figures[place] = figure
            refused(EndpointRejected, protocol.metrics, (METRICS % tuple(figures)).encode(), "x")


@attacks("a KV cache that nobody saw, or whose use is no share, makes the check errored")
def cache_use() -> None:
    for peak in (math.nan, math.inf, -math.inf, -0.5, None):
        assert check_cache(peak, StabilityPolicy()).outcome == "errored", peak
    assert check_cache(0.1, StabilityPolicy(), "a look could not be read").outcome == "errored"


@attacks("a model's JSON answer with NaN, infinity, 1e400 or 10^400 passes no check, whatever its schema")
def answers_of_json() -> None:
    schemas = ({}, {"type": "object"}, {"properties": {"n": {"multipleOf": 0.01}}}, {"properties": {"n": {"minimum": 0, "maximum": 10}}})
    for schema in schemas:
        asked = {"name": "n", "kind": "json", "prompt": "n?", "max_tokens": 9, "expect": {}, "schema": schema}
        check = TypeAdapter(Check).validate_python(asked)
        for number in ODD:
            usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
            answer = Answer(status=200, seconds=0.1, text=f'{{"n": {number}}}', finish_reason="stop", **usage)  # type: ignore[arg-type]
            assert check_answer(check, answer).outcome == "errored", (number, schema)


@attacks("a limit in deployments/ is finite")
def limits() -> None:
    read_limits = TypeAdapter(LatencyPolicy).validate_python
    assert read_limits({"p50_seconds": 1.0})
    for number in (math.nan, math.inf, -math.inf, 0, -1, 10**400):
        try:
            read_limits({"p50_seconds": number})
        except ValueError:
            continue
        raise AssertionError(f"taken: p50_seconds {number!r:.20}")
    assert SpecInvalid  # what the reader of the files makes of it: tests/unit/spec


@attacks("no event of the record stops the exporter, whatever numbers it holds")
def figures_of_the_record(shared: Shared) -> None:
    dsn = shared.database()
    details = [
        {"prefetch_bytes": -1, "total_seconds": -1, "phases": {"verify": -1}},
        {"prefetch_bytes": True, "total_seconds": "nan", "phases": []},
    ]
    texts = [json.dumps(detail) for detail in details] + ['{"prefetch_bytes": 1e400, "total_seconds": 1' + "0" * 6000 + "}"]
    with psycopg.connect(dsn, autocommit=True) as sql:
        for text in texts:
            sql.execute("INSERT INTO slipway_events (occurred_at, kind, environment, detail) VALUES (now(), 'timed', 'here', %s)", (text,))
    from blocks.registry import RegistryClient

    with RegistryClient(dsn) as client:
        exporter = Exporter(client)
        exporter.catch_up()
        counted = exporter.metrics.get_sample_value("slipway_events_total", {"environment": "here", "kind": "timed"})
        fetched = exporter.metrics.get_sample_value("slipway_prefetch_bytes_total", {"environment": "here"})
    assert counted == len(texts), counted
    assert fetched in (0, None), fetched


#: What a key may hold that should hold something else.
NONSENSE: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2**31, 2**63, 10**400, -(10**400), 1.5, 1e308, float("nan"), float("inf"), float("-inf")),
    *(
        "",
        "32",
        "\x00\u202e",
        "x" * 10_000,
        [],
        [[]],
        [None] * 100,
        [-1],
        ["full_attention"],
        {},
        {"factor": float("nan")},
        {"a": {"b": []}},
    ),
)


def judged(document: dict[str, Any]) -> str:
    """What comes of a configuration: a sentence, or empty where it is taken; anything but that is an error."""
    model = read_model(json.dumps(document))
    if model.problem is not None:
        said = model.problem.message
        assert "\n" not in said, said[:700]
        assert len(said) < 600, said[:700]
        return said
    settings = Settings(max_model_len=4096)
    found = cost(model.known_shape(), settings, 4096)
    assert min(found.request_bytes(4096), found.block_bytes) >= 0, document
    judge(model, settings, max_model_len=4096, concurrency=2, gpu_bytes=80 * 2**30, weights_bytes=0)
    return ""


@attacks("a configuration that is no JSON object, too long or nested without end is one sentence")
def broken_configurations() -> None:
    for content in (b"", b"[]", b"null", b"{", b"[" * 10_000, b'{"a":' * 10_000, b"9" * 5000, b"\xff" * 100, b" " * (9 * 2**20)):
        said = refused(Unreadable, read_document, content, "config.json")
        assert said.startswith("config.json "), said


@attacks("nonsense under any key of a configuration is one sentence, or changes nothing: never a traceback")
def nonsense_in_configurations() -> None:
    for key in LLAMA_31_8B:
        for value in NONSENSE:
            judged({**LLAMA_31_8B, key: value})


@attacks("a key that may mean that layers keep something else is never read as keys and values in every layer")
def keys_that_nobody_knows() -> None:
    telling = ("spiral_window", "linear_attention_layers", "kv_groups", "ssm_kind", "shared_kv_layers", "compress_ratios_v9")
    for key in telling:
        said = judged({**LLAMA_31_8B, "model_type": "novel", key: [1, 2]})
        assert key in said, f"{key} was overlooked: {said}"


@attacks("ten thousand configurations that nobody would write end in numbers or in a sentence")
def generated_configurations(shared: Shared) -> None:
    del shared  # some seconds: with `make attack`, not with the suite
    dice, bases = random.Random(20), [row["config"] for row in rows()]
    keys = sorted({key for base in bases for key in (*base, *base.get("text_config", ()))})
    for _ in range(10_000):
        base = dict(dice.choice(bases))
        inner = dict(base["text_config"]) if "text_config" in base and dice.random() < 0.7 else base
        for _ in range(dice.randint(1, 4)):
            inner[dice.choice(keys)] = dice.choice([*NONSENSE, dice.randint(1, 256), dice.choice(bases).get(dice.choice(keys))])
        if inner is not base:
            base["text_config"] = inner
        judged(base)
