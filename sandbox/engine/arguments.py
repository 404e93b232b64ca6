"""The arguments of `vllm serve` that the stand-in understands; any other is an error, as it is for vLLM."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.engine.adapters import RANKS, Limits

_FACTORS = {"": 1, "k": 1000, "m": 1_000_000, "K": 1024, "M": 1024**2}


@dataclass(frozen=True, kw_only=True)
class EngineArguments:
    """What the command line asked for.

    `tools` is whether tool calls are on, which takes both of their options; `adapters` is how many are served, none without
    `--enable-lora`; `loaded` are those that are loaded at the start, by name.
    """

    model: Path
    served_names: tuple[str, ...]
    host: str
    port: int
    max_model_len: int | None
    max_num_seqs: int
    load_format: str
    tensor_parallel_size: int
    chat_template: str | None
    trust_remote_code: bool
    seed: int
    shutdown_timeout_seconds: float
    tools: bool = False
    adapters: Limits | None = None
    loaded: tuple[tuple[str, str], ...] = ()


def parse(arguments: Sequence[str]) -> EngineArguments:
    """Read the command line; exits with code 2 and a usage line where it is wrong."""
    parser = argparse.ArgumentParser(prog="sandbox.engine", allow_abbrev=False, description="A stand-in for `vllm serve`.")
    parser.add_argument("model_tag", nargs="?", help="folder of the model")
    parser.add_argument("--model", help="the same, as an option")
    parser.add_argument("--served-model-name", nargs="+", default=[])
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--max-model-len", type=_tokens)
    parser.add_argument("--max-num-seqs", type=_positive, default=256)
    parser.add_argument("--load-format", choices=["auto", "safetensors", "mistral"], default="auto")
    parser.add_argument("--tensor-parallel-size", "-tp", type=_positive, default=1)
    parser.add_argument("--chat-template", help="a template, or the path of a file that holds one")
    parser.add_argument("--trust-remote-code", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shutdown-timeout", type=float, default=0.0)
    parser.add_argument("--enable-auto-tool-choice", action="store_true")
    parser.add_argument("--tool-call-parser")
    parser.add_argument("--enable-lora", action=argparse.BooleanOptionalAction)
    parser.add_argument("--max-lora-rank", type=int, choices=RANKS, default=16)
    parser.add_argument("--max-loras", type=_positive, default=1)
    parser.add_argument("--max-cpu-loras", type=_positive)
    parser.add_argument("--lora-modules", nargs="+", default=[], type=_named_path)
    _accept_without_effect(parser)
    # vLLM takes option names with underscores as well.
    named = parser.parse_args([_dashes(argument) for argument in arguments])
    folder = named.model_tag or named.model
    if not folder:
        parser.error("the folder of the model is missing")
    if named.enable_auto_tool_choice and not named.tool_call_parser:
        parser.error("--enable-auto-tool-choice requires --tool-call-parser")
    kept = named.max_cpu_loras or named.max_loras
    if kept < named.max_loras:
        parser.error(f"max_cpu_loras ({kept}) must be >= max_loras ({named.max_loras}).")
    return EngineArguments(
        model=Path(folder),
        served_names=tuple(named.served_model_name) or (str(folder),),
        host=named.host,
        port=named.port,
        max_model_len=named.max_model_len,
        max_num_seqs=named.max_num_seqs,
        load_format=named.load_format,
        tensor_parallel_size=named.tensor_parallel_size,
        chat_template=named.chat_template,
        trust_remote_code=named.trust_remote_code,
        seed=named.seed,
        shutdown_timeout_seconds=named.shutdown_timeout,
        tools=named.enable_auto_tool_choice,
        adapters=Limits(rank=named.max_lora_rank, slots=named.max_loras, kept=kept) if named.enable_lora else None,
        loaded=tuple(named.lora_modules),
    )


def _accept_without_effect(parser: argparse.ArgumentParser) -> None:
    """Add the options that only matter on a GPU, or to a log: checked for form, otherwise ignored."""
    parser.add_argument("--dtype", choices=["auto", "half", "float16", "bfloat16", "float", "float32"], default="auto")
    parser.add_argument("--gpu-memory-utilization", type=_share, default=0.9)
    parser.add_argument("--kv-cache-dtype", default="auto")
    parser.add_argument("--quantization", "-q")
    parser.add_argument("--speculative-config", type=json.loads)
    parser.add_argument("--max-num-batched-tokens", type=_tokens)
    parser.add_argument("--block-size", type=_positive)
    parser.add_argument("--pipeline-parallel-size", "-pp", type=_positive, default=1)
    parser.add_argument("--tokenizer")
    parser.add_argument("--revision")
    parser.add_argument("--config-format", default="auto")
    parser.add_argument("--tokenizer-mode", default="auto")
    parser.add_argument("--generation-config", default="auto")
    parser.add_argument("--uvicorn-log-level", default="info")
    for flag in ("--enforce-eager", "--enable-prefix-caching", "--async-scheduling", "--enable-log-requests"):
        parser.add_argument(flag, action=argparse.BooleanOptionalAction)
    for flag in ("--disable-log-stats", "--disable-uvicorn-access-log"):
        parser.add_argument(flag, action="store_true")


def _dashes(argument: str) -> str:
    name, separator, value = argument.partition("=")
    return name.replace("_", "-") + separator + value if name.startswith("--") else argument


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


def _tokens(text: str) -> int:
    """Read a count of tokens: `8192`, `8k` (8000) or `8K` (8192)."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmM]?)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text} is not a number of tokens")
    return _positive(str(int(float(match[1]) * _FACTORS[match[2]])))


def _named_path(text: str) -> tuple[str, str]:
    """Read `NAME=PATH`, or JSON with both."""
    if text.startswith("{"):
        document = json.loads(text)
        return str(document["name"]), str(document["path"])
    name, separator, path = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text} is not NAME=PATH")
    return name, path


def _share(text: str) -> float:
    number = float(text)
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share between 0 and 1")
    return number
