"""Memory is added up as vLLM would use it, and the largest context that is named is the largest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.fit.configuration import Configuration
from flows.fit.model import ConfiguredModel, overridden
from flows.fit.request import cost
from flows.fit.settings import Settings
from flows.fit.verdict import RESERVE_BYTES, STEP, Stated, judge
from flows.fit.weights import Stored, gpu_weights_bytes, loaded_bytes, rope_bytes
from flows.text import GIB
from tests.support.examples import LLAMA_31_8B
from tests.support.vllm_rows import rows

H100 = 81_559 * 2**20
LLAMA = ConfiguredModel(LLAMA_31_8B)
NUMBERS = 8_030_261_248


def named(name: str) -> dict[str, Any]:
    document: dict[str, Any] = next(row["config"] for row in rows() if row["model"].startswith(name))
    return document


def test_llama_on_an_h100() -> None:
    fit = judge(LLAMA, Settings(), max_model_len=8192, concurrency=4, gpu_bytes=H100, weights_bytes=2 * NUMBERS)

    assert fit.kv_bytes == 4 * 8192 * 131_072 + 16 * 131_072  # and the null block
    assert fit.usable_bytes == int(H100 * 0.9)
    assert fit.fits
    # (76,967,688,601 - 16,060,522,496 - 2 GiB - 2 MiB) / 4 requests / 131,072 bytes = 112,072 tokens, in blocks of 16
    assert fit.largest_context == 112_064


def test_the_models_own_limit_is_never_passed_unless_it_is_lifted() -> None:
    short = ConfiguredModel({**LLAMA_31_8B, "max_position_embeddings": 4096})

    def largest(**changes: Any) -> int:
        settings = Settings(**changes)
        return judge(short, settings, max_model_len=4096, concurrency=1, gpu_bytes=H100, weights_bytes=0).largest_context

    assert largest() == 4096
    assert largest(allow_long=True) > 400_000


def test_weights_alone_may_be_too_much() -> None:
    fit = judge(LLAMA, Settings(), max_model_len=16, concurrency=1, gpu_bytes=16 * GIB, weights_bytes=2 * NUMBERS)

    assert (fit.fits, fit.largest_context) == (False, 0)


def test_what_is_stated_counts_instead_of_the_configuration() -> None:
    strange = ConfiguredModel({"model_type": "novel", "state_kind": 3})

    stated = Stated(per_token=1000, per_request=7)
    fit = judge(strange, Settings(), max_model_len=8192, concurrency=2, gpu_bytes=H100, weights_bytes=0, stated=stated)

    assert fit.kv_bytes == 2 * (8192 * 1000 + 7)


def test_a_stage_of_a_pipeline_holds_its_layers() -> None:
    whole = judge(LLAMA, Settings(), max_model_len=8192, concurrency=4, gpu_bytes=H100, weights_bytes=0)
    half = judge(LLAMA, Settings(pipeline_parallel=2), max_model_len=8192, concurrency=4, gpu_bytes=H100, weights_bytes=0)

    assert half.kv_bytes * 2 == whole.kv_bytes


def test_overrides_change_what_is_judged() -> None:
    yarn = {"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 131_072}}

    longer = overridden(LLAMA, {**yarn, "max_position_embeddings": 524_288})

    # In 0.32 YaRN's factor is not multiplied: the override must say the length itself.
    assert (overridden(LLAMA, yarn).longest_context(), longer.longest_context()) == (131_072, 524_288)
    nested = ConfiguredModel({"text_config": LLAMA_31_8B})
    assert overridden(nested, {"text_config": {"num_key_value_heads": 4}}).known_shape().kv_heads == {4}
    scaled = ConfiguredModel({"rope_parameters": {"rope_type": "linear", "factor": 4}, "text_config": {"rope_parameters": {"factor": 4}}})
    changed = overridden(scaled, {"rope_parameters": {"rope_type": "default"}, "text_config": {"rope_parameters": {"rope_type": "yarn"}}})
    assert changed.document["rope_parameters"] == {"rope_type": "default"}, "replaced as a whole"
    assert changed.document["text_config"] == {"rope_parameters": {"factor": 4, "rope_type": "yarn"}}, "key by key"


@pytest.mark.parametrize(
    ("change", "parallel", "possible"),
    [
        ({}, 4, True),
        ({}, 16, True),
        ({}, 3, False),
        ({"num_attention_heads": 28, "num_key_value_heads": 4, "head_dim": 128}, 8, False),
        ({"num_attention_heads": 24, "num_key_value_heads": 6, "head_dim": 128}, 4, False),
    ],
)
def test_heads_must_be_shared_evenly(change: dict[str, Any], parallel: int, possible: bool) -> None:
    assert ConfiguredModel({**LLAMA_31_8B, **change}).divides(parallel) is possible


class TestWeights:
    @pytest.mark.parametrize(
        ("numbers", "dtype", "size"),
        [
            ({"BF16": 100}, "auto", 200),
            ({"F32": 100}, "auto", 200),
            ({"BF16": 100}, "float32", 400),
            ({"BF16": 100, "I32": 10}, "auto", 240),
        ],
    )
    def test_they_are_loaded_in_the_engines_type(self, numbers: dict[str, int], dtype: str, size: int) -> None:
        bits = {"BF16": 16, "F32": 32, "I32": 32}
        stored = Stored(numbers=numbers, size_bytes=sum(count * bits[kind] // 8 for kind, count in numbers.items()))

        assert loaded_bytes(stored, LLAMA_31_8B, Settings(dtype=dtype)) == size

    def test_quantised_ones_stay_as_they_are(self) -> None:
        stored = Stored(numbers={"F8_E4M3": 90, "F32": 10}, size_bytes=130)

        assert loaded_bytes(stored, {**LLAMA_31_8B, "quantization_config": {"quant_method": "fp8"}}, Settings()) == 130

    def test_what_vllm_allocates_beside_them_is_counted(self) -> None:
        """Held against the bytes of vLLM's modules in the rows that have them: tables of RoPE, padded vocabularies."""
        wrong = {}
        for row in rows():
            told = row.get("weights")
            # LongCat's was built in 8 bits; LLaVA's module leaves a layer of its vision tower out.
            if not told or row["model"].startswith(("LongCat", "LLaVA")):
                continue
            stored = Stored(numbers={"BF16": told["parameters"]}, size_bytes=2 * told["parameters"])
            share = gpu_weights_bytes(stored, row["config"], Settings()) / told["vllm_bytes"]
            if not 0.98 < share < 1.002:
                wrong[row["model"]] = share
        assert wrong == {}

    def test_tables_of_rope_are_on_every_gpu(self) -> None:
        scout = Configuration(named("Llama-4-Scout")).text()
        gemma = Configuration(named("Gemma-3-4B")).text()

        assert rope_bytes(scout, 2) == 10_485_760 * 128 * 2  # 2.5 GiB
        assert rope_bytes(gemma, 2) == (8 + 1) * 131_072 * 256 * 2  # linear by 8 for all, and one more for windows
        stored = Stored(numbers={"BF16": 8 * 10**9}, size_bytes=16 * 10**9)
        one, eight = (gpu_weights_bytes(stored, named("Llama-4-Scout"), Settings(tensor_parallel=gpus)) for gpus in (1, 8))
        assert one - eight == pytest.approx(14 * 10**9, rel=1e-3)

    def test_experts_of_mxfp4_are_padded(self) -> None:
        """gpt-oss-120b: 60.8 GiB as stored, 65.9 by vLLM's parameters."""
        experts = round(56.7 * GIB)
        stored = Stored(numbers={"U8": experts, "BF16": round(2.05 * GIB)}, size_bytes=experts + round(4.1 * GIB))

        assert gpu_weights_bytes(stored, named("gpt-oss-120b"), Settings()) / GIB == pytest.approx(65.9, abs=0.1)


@given(
    name=st.sampled_from([row["config"] for row in rows()]),
    weights=st.integers(0, 10**11),
    parallel=st.sampled_from([1, 2, 4, 8]),
    utilization=st.floats(0.3, 1.0),
    concurrency=st.integers(1, 64),
    gpu_gib=st.integers(8, 192),
    max_model_len=st.integers(16, 10**6),
)
def test_the_largest_context_fits_and_one_step_more_does_not(
    name: dict[str, Any], weights: int, parallel: int, utilization: float, concurrency: int, gpu_gib: int, max_model_len: int
) -> None:
    model = ConfiguredModel(name)
    if model.known_shape().states_only or model.known_shape().encoder:
        return  # takes the same however long it is
    settings = Settings(tensor_parallel=parallel, gpu_memory_utilization=utilization, allow_long=True)

    def judged(tokens: int) -> bool:
        return judge(model, settings, max_model_len=tokens, concurrency=concurrency, gpu_bytes=gpu_gib * GIB, weights_bytes=weights).fits

    fit = judge(model, settings, max_model_len=max_model_len, concurrency=concurrency, gpu_bytes=gpu_gib * GIB, weights_bytes=weights)

    assert fit.largest_context % STEP == 0
    assert fit.largest_context == 0 or judged(fit.largest_context)
    assert fit.largest_context == 2**31 or not judged(fit.largest_context + STEP)
    assert fit.fits == (weights + RESERVE_BYTES + fit.kv_bytes <= fit.usable_bytes)
    assert replace(fit, max_model_len=1).needed_bytes == fit.needed_bytes


def test_a_stated_size_of_the_cache_counts_in_place_of_the_share() -> None:
    """`--kv-cache-memory-bytes`: vLLM 0.32 holds the request against it, however much the GPU has beside it."""

    def fits(gib: int, tokens: int) -> bool:
        settings = Settings(kv_memory_bytes=gib * GIB)
        return judge(LLAMA, settings, max_model_len=tokens, concurrency=1, gpu_bytes=H100, weights_bytes=2 * NUMBERS).fits

    assert not fits(1, 32_768)
    assert fits(5, 32_768)
    assert not fits(200, 1_000_000)


def test_prompts_that_are_not_cut_are_in_flight_as_a_whole() -> None:
    gemma = ConfiguredModel(named("Gemma-3-27B"))

    def taken(settings: Settings) -> int:
        fit = judge(gemma, settings, max_model_len=131_072, concurrency=1, gpu_bytes=H100, weights_bytes=0)
        return fit.kv_bytes

    assert taken(Settings(chunked_prefill=False)) > 3 * taken(Settings())
    assert taken(Settings(chunked_prefill=False, batched_tokens=8192)) == taken(Settings())


def test_states_alone_cache_prefixes_only_if_they_are_told_to() -> None:
    """`MambaModelConfig` (vLLM 0.32): `align` keeps two states, and Mamba 2 a third while it reads a prompt."""
    shape = ConfiguredModel(named("Mamba2")).known_shape()

    def blocks(prefix_caching: bool | None) -> int:
        return cost(shape, Settings(prefix_caching=prefix_caching), 4096).blocks(4096)

    assert (blocks(None), blocks(False), blocks(True)) == (1, 1, 3)
