"""Memory is added up as vLLM would use it: known models to the byte, and the largest context that is named is the largest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.facts.model import AttentionLayers, ModelFacts
from blocks.hub.model_config import read_config
from flows.placement.fit import (
    BLOCK,
    RESERVE_BYTES,
    argument,
    divides,
    enough_parallel,
    judge_fit,
    loaded_bytes,
    request_bytes,
    token_bytes,
)
from flows.placement.memory import refuse_memory
from flows.placement.nodes import find_target
from flows.spec import EngineSettings, Speculative
from flows.text import GIB
from tests.support.examples import about, candidate, environment, model, node
from tests.unit.blocks.test_model_config import (
    DEEPSEEK_V3,
    GEMMA_3_27B,
    GPT_OSS_20B,
    LLAMA_31_8B,
    MIXTRAL_8X7B,
    QWEN_3_NEXT_80B,
    QWEN_25_7B,
)

H100 = 81_559 * 2**20


def engine(max_model_len: int = 8192, **changes: Any) -> EngineSettings:
    return EngineSettings(max_model_len=max_model_len, **changes)


def of(document: dict[str, Any], **changes: Any) -> ModelFacts:
    return replace(about(), config=read_config(document), **changes)


class TestKvCache:
    @pytest.mark.parametrize(
        ("document", "size"),
        [
            (LLAMA_31_8B, 131_072),
            (DEEPSEEK_V3, 70_272),
            (QWEN_25_7B, 57_344),
            (MIXTRAL_8X7B, 131_072),
            (GEMMA_3_27B, 10 * 2 * 16 * 128 * 2),
            (QWEN_3_NEXT_80B, 12 * 2 * 2 * 256 * 2),
        ],
        ids=["llama", "deepseek", "qwen", "mixtral", "gemma", "qwen-next"],
    )
    def test_a_token_of_a_known_model(self, document: dict[str, Any], size: int) -> None:
        assert token_bytes(of(document), engine()) == size

    def test_a_request_takes_whole_blocks(self) -> None:
        assert request_bytes(about(), engine(), 1) == request_bytes(about(), engine(), 16) == 16 * 131_072
        assert request_bytes(about(), engine(), 17) == 32 * 131_072

    def test_tokens_that_are_guessed_have_their_place(self) -> None:
        guessing = engine(speculative=Speculative(method="ngram", tokens=5))

        assert request_bytes(about(), guessing, 11) == 16 * 131_072
        assert request_bytes(about(), guessing, 12) == 32 * 131_072

    def test_layers_that_guess_keep_what_the_others_keep(self) -> None:
        deepseek = of({**DEEPSEEK_V3, "num_nextn_predict_layers": 1})
        guessing = engine(speculative=Speculative(method="mtp", tokens=1))

        assert token_bytes(deepseek, guessing) == 70_272 * 62 // 61
        assert request_bytes(deepseek, guessing, 1599) == 1600 * 70_272 * 62 // 61
        assert token_bytes(deepseek, engine()) == 70_272

    @pytest.mark.parametrize(("parallel", "share"), [(1, 1), (2, 2), (8, 8), (16, 8)])
    def test_heads_are_shared_between_gpus_until_each_has_one(self, parallel: int, share: int) -> None:
        assert request_bytes(about(), engine(tensor_parallel_size=parallel), 1600) == 1600 * 131_072 // share

    def test_latents_are_on_every_gpu(self) -> None:
        deepseek = of(DEEPSEEK_V3)

        assert request_bytes(deepseek, engine(tensor_parallel_size=8), 1600) == 1600 * 70_272

    def test_a_window_keeps_itself_and_one_batch(self) -> None:
        per_layer = 2 * 16 * 128 * 2
        long = request_bytes(of(GEMMA_3_27B), engine(), 131_072)

        # 10 layers keep everything, and 52 with a window are filled up to 60 = 6 groups of 10
        assert long == 10 * per_layer * 131_072 + 60 * per_layer * (1023 + 8192 + 1 + 16)
        narrow = engine(extra_args=("--max-num-batched-tokens", "2048"))
        assert request_bytes(of(GEMMA_3_27B), narrow, 131_072) == 10 * per_layer * 131_072 + 60 * per_layer * (1023 + 2048 + 1 + 16)
        # as many of either kind need no filling
        half = 2 * 8 * 64 * 2
        assert request_bytes(of(GPT_OSS_20B), engine(), 131_072) == 12 * half * 131_072 + 12 * half * (8320 + 16)

    def test_a_short_request_never_fills_its_window(self) -> None:
        assert request_bytes(of(GEMMA_3_27B), engine(), 160) == 2 * 16 * 128 * 2 * (10 * 160 + 60 * 176)

    @pytest.mark.parametrize(
        ("settings", "factor"),
        [
            (engine(extra_args=("--kv-cache-dtype", "fp8")), 0.5),
            (engine(extra_args=("--kv_cache_dtype=fp8_e5m2",)), 0.5),
            (engine(extra_args=("--kv-cache-dtype", "auto")), 1),
            (engine(dtype="float32"), 2),
            (engine(dtype="float32", extra_args=("--kv-cache-dtype=fp8",)), 0.5),
        ],
    )
    def test_its_type_counts(self, settings: EngineSettings, factor: float) -> None:
        assert token_bytes(about(), settings) == 131_072 * factor

    @pytest.mark.parametrize(
        ("arguments", "found"),
        [
            ((), None),
            (("--other", "--max-num-seqs", "8"), "8"),
            (("--max_num_seqs=8",), "8"),
            (("--max-num-seqs", "8", "--max-num-seqs=16"), "16"),
            (("--max-num-seqs",), None),
        ],
    )
    def test_arguments_are_read_as_vllm_does(self, arguments: tuple[str, ...], found: str | None) -> None:
        assert argument(arguments, "max-num-seqs") == found


class TestWeights:
    @pytest.mark.parametrize(
        ("stored", "dtype", "size"),
        [
            ({"BF16": 100}, "auto", 200),
            ({"F32": 100}, "auto", 200),
            ({"BF16": 100}, "float32", 400),
            ({"BF16": 100, "I32": 10}, "auto", 240),
        ],
    )
    def test_they_are_loaded_in_the_engines_type(self, stored: dict[str, int], dtype: Any, size: int) -> None:
        bits = {"BF16": 16, "F32": 32, "I32": 32}
        facts = about(stored=stored, weights_bytes=sum(count * bits[kind] // 8 for kind, count in stored.items()))

        assert loaded_bytes(facts, engine(dtype=dtype)) == size

    def test_quantised_ones_stay_as_they_are(self) -> None:
        facts = about(stored={"F8_E4M3": 90, "F32": 10}, weights_bytes=130, quantisation="fp8")

        assert loaded_bytes(facts, engine()) == 130


class TestFit:
    def test_llama_on_an_h100(self) -> None:
        fit = judge_fit(about(), engine(8192), 4, H100)

        assert fit.weights_bytes == 16_060_522_496
        assert fit.kv_bytes == 4 * 8192 * 131_072 == 4 * GIB
        assert fit.usable_bytes == int(H100 * 0.9)
        assert fit.fits
        # (76,967,688,601 - 16,060,522,496 - 2 GiB) / 4 requests / 131,072 bytes = 112,076 tokens, in blocks of 16
        assert fit.largest_context == 112_064

    def test_the_models_own_limit_is_never_passed(self) -> None:
        assert judge_fit(about(max_context=4096), engine(4096), 1, H100).largest_context == 4096

    def test_weights_alone_may_be_too_much(self) -> None:
        fit = judge_fit(about(), engine(16), 1, 16 * GIB)

        assert not fit.fits
        assert fit.largest_context == 0

    def test_a_stated_size_of_tokens_counts_instead_of_the_configuration(self) -> None:
        strange = about(attention=())

        assert judge_fit(strange, engine(8192), 2, H100, 1000).kv_bytes == 2 * 8192 * 1000

    def test_more_gpus_may_do(self) -> None:
        seventy = about(
            stored={"BF16": 70_553_706_496},
            weights_bytes=141_107_412_992,
            attention_heads=64,
            attention=(AttentionLayers(layers=80, values=2 * 8 * 128, heads=8),),
        )

        assert enough_parallel(seventy, engine(32_768), 1, H100, None) == 4
        assert enough_parallel(seventy, engine(131_072), 1_000, H100, None) is None

    @pytest.mark.parametrize(
        ("heads", "kv_heads", "parallel", "possible"),
        [(32, 8, 4, True), (32, 8, 16, True), (32, 8, 3, False), (28, 4, 8, False), (24, 6, 4, False), (None, 8, 8, True)],
    )
    def test_heads_must_be_shared_evenly(self, heads: int | None, kv_heads: int, parallel: int, possible: bool) -> None:
        facts = about(attention_heads=heads, attention=(AttentionLayers(layers=2, values=256 * kv_heads, heads=kv_heads),))

        assert divides(facts, parallel) is possible


GROUPS = st.builds(
    lambda layers, heads, head_dim, window: AttentionLayers(layers=layers, values=2 * heads * head_dim, heads=heads, window=window),
    layers=st.integers(1, 100),
    heads=st.sampled_from([1, 2, 4, 8, 16, 128]),
    head_dim=st.sampled_from([64, 128, 256]),
    window=st.none() | st.sampled_from([128, 1024, 4096]),
)


@given(
    full=GROUPS.map(lambda group: replace(group, window=None)),
    others=st.lists(GROUPS, max_size=1),
    numbers=st.integers(10**6, 2 * 10**11),
    state=st.sampled_from([0, 20_000_000]),
    parallel=st.sampled_from([1, 2, 4, 8]),
    utilization=st.floats(0.3, 1.0),
    concurrency=st.integers(1, 64),
    gpu_gib=st.integers(8, 192),
    max_model_len=st.integers(16, 10**6),
)
def test_the_largest_context_fits_and_one_block_more_does_not(
    full: AttentionLayers,
    others: list[AttentionLayers],
    numbers: int,
    state: int,
    parallel: int,
    utilization: float,
    concurrency: int,
    gpu_gib: int,
    max_model_len: int,
) -> None:
    facts = about(stored={"BF16": numbers}, weights_bytes=2 * numbers, attention=(full, *others), state_values=state, max_context=None)
    settings = engine(max_model_len, tensor_parallel_size=parallel, gpu_memory_utilization=utilization)

    def judged(tokens: int) -> bool:
        return judge_fit(facts, replace(settings, max_model_len=tokens), concurrency, gpu_gib * GIB).fits

    fit = judge_fit(facts, settings, concurrency, gpu_gib * GIB)

    assert fit.largest_context % BLOCK == 0
    assert fit.largest_context == 0 or judged(fit.largest_context)
    assert not judged(fit.largest_context + BLOCK)
    assert fit.fits == (max_model_len <= fit.largest_context)
    assert fit.fits == (fit.weights_bytes + RESERVE_BYTES + fit.kv_bytes <= fit.usable_bytes)


class TestRefusals:
    def refusals(self, facts: ModelFacts, settings: EngineSettings, gpus: int = 8, **wanted: Any) -> list[str]:
        target = find_target(candidate(about=facts, engine=settings), environment(), [node(gpus=gpus)])
        assert target.gpu_bytes is not None
        named = model(engine=settings, **wanted)
        judged = (
            judge_fit(facts, settings, named.concurrency, target.gpu_bytes, named.kv_bytes_per_token) if facts.config.attention else None
        )
        return [refusal.message for refusal in refuse_memory(named, facts, settings, target, judged)]

    def test_what_fits_is_not_refused(self) -> None:
        assert self.refusals(about(), engine(8192)) == []

    def test_too_long_a_context_is_refused_with_the_numbers_and_the_one_that_fits(self) -> None:
        (message,) = self.refusals(about(), engine(131_072), concurrency=4)

        assert message == (
            "tiny-llama does not fit one NVIDIA-H100-80GB-HBM3 of gpu-1: 15.0 GiB of weights, 64.0 GiB of KV cache for 4 request(s) of "
            "131,072 tokens and 2.0 GiB of reserve make 81.0 GiB, but vLLM may take 71.7 GiB of 79.6 GiB (gpu_memory_utilization 0.9); "
            "the largest max_model_len that fits is 112064; tensor_parallel_size 2 would do for 131,072."
        )

    def test_more_gpus_are_only_proposed_where_a_node_has_them(self) -> None:
        (message,) = self.refusals(about(), engine(131_072), gpus=1, concurrency=4)

        assert "tensor_parallel_size" not in message

    def test_no_context_fits_where_weights_alone_are_too_much(self) -> None:
        (message,) = self.refusals(about(stored={"BF16": 10**12}, weights_bytes=2 * 10**12), engine(16))

        assert message.endswith("no context fits.")

    def test_guessing_by_layers_that_are_not_there_is_refused(self) -> None:
        guessing = engine(speculative=Speculative(method="mtp"))
        able = replace(about(), config=replace(about().config, guessing_layers=1))

        (message,) = self.refusals(about(), guessing)

        assert "tells of no layers that guess tokens (num_nextn_predict_layers): use ngram" in message
        assert self.refusals(able, guessing) == []

    def test_a_longer_context_than_the_models_own_is_refused(self) -> None:
        (message,) = self.refusals(about(), engine(131_073))

        assert "made for 131,072 tokens at the most: set 131072 or less" in message

    def test_heads_that_cannot_be_shared_are_refused_with_what_would_do(self) -> None:
        (message,) = self.refusals(about(), engine(tensor_parallel_size=3))

        assert "is 3, which does not divide its 32 attention heads and 8 KV heads: use one of 1, 2, 4, 8, 16." in message

    def test_an_unknown_kv_cache_must_be_stated(self) -> None:
        (message,) = self.refusals(about(attention=()), engine())

        assert "(LlamaForCausalLM) does not tell what its KV cache takes: state kv_bytes_per_token" in message
        assert self.refusals(about(attention=()), engine(), kv_bytes_per_token=131_072) == []
