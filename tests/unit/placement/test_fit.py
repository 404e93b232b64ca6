"""Engine settings that the model or the GPUs' memory do not allow are refused, with the numbers and what would do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from blocks.facts.model import ModelFacts
from flows.fit.settings import Settings
from flows.placement.fit import enough_parallel, judge_fit, settings_of
from flows.placement.memory import refuse_memory
from flows.placement.nodes import find_target
from flows.spec import EngineSettings, Speculative
from tests.support.examples import LLAMA_31_8B, about, candidate, environment, model, node

H100 = 81_559 * 2**20


def engine(max_model_len: int = 8192, **changes: Any) -> EngineSettings:
    return EngineSettings(max_model_len=max_model_len, **changes)


def changed(**changes: Any) -> ModelFacts:
    return about({**LLAMA_31_8B, **changes})


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), Settings(max_model_len=8192)),
        (("--kv-cache-dtype", "fp8"), Settings(max_model_len=8192, kv_cache_dtype="fp8")),
        (("--no-async-scheduling",), Settings(max_model_len=8192, asynchronous=False)),
        (("--disable-hybrid-kv-cache-manager",), Settings(max_model_len=8192, hybrid_manager=False)),
        (("--max-num-batched-tokens=2k", "--block-size", "32"), Settings(max_model_len=8192, batched_tokens=2000, block_size=32)),
        (("--pipeline-parallel-size", "2"), Settings(max_model_len=8192, pipeline_parallel=2)),
        (("--no-enable-prefix-caching",), Settings(max_model_len=8192, prefix_caching=False)),
    ],
)
def test_the_engines_arguments_are_part_of_what_is_judged(arguments: tuple[str, ...], expected: Settings) -> None:
    assert settings_of(engine(extra_args=arguments)) == expected


def test_tokens_that_are_guessed_are_told_on() -> None:
    guessing = settings_of(engine(speculative=Speculative(method="mtp", tokens=3)))

    assert (guessing.guessing, guessing.guessed_tokens) == ("mtp", 3)


def test_more_gpus_may_do() -> None:
    seventy = about(
        {**LLAMA_31_8B, "num_hidden_layers": 80, "hidden_size": 8192, "num_attention_heads": 64},
        stored={"BF16": 70_553_706_496},
        weights_bytes=141_107_412_992,
    )

    assert enough_parallel(seventy, engine(32_768), model(), H100) == 4
    assert enough_parallel(seventy, engine(131_072), model(concurrency=1_000), H100) is None


class TestRefusals:
    def refusals(self, facts: ModelFacts, settings: EngineSettings, gpus: int = 8, **wanted: Any) -> list[str]:
        target = find_target(candidate(about=facts, engine=settings), environment(), [node(gpus=gpus)])
        assert target.gpu_bytes is not None
        named = model(engine=settings, **wanted)
        judged = judge_fit(facts, settings, named, target.gpu_bytes, target.gpu)
        return [refusal.message for refusal in refuse_memory(named, facts, settings, target, judged)]

    def test_what_fits_is_not_refused(self) -> None:
        assert self.refusals(about(), engine(8192)) == []

    def test_too_long_a_context_is_refused_with_the_numbers_and_the_one_that_fits(self) -> None:
        (message,) = self.refusals(about(), engine(131_072), concurrency=4)

        assert message == (
            "tiny-llama does not fit one NVIDIA-H100-80GB-HBM3 of gpu-1: 15.0 GiB of weights, 64.0 GiB of KV cache for 4 request(s) of "
            "131,072 tokens and 2.0 GiB of reserve make 81.0 GiB, but vLLM may take 71.7 GiB of 79.6 GiB (gpu_memory_utilization 0.9); "
            "the largest max_model_len that fits is 112000; tensor_parallel_size 2 would do for 131,072."
        )

    def test_more_gpus_are_only_proposed_where_a_node_has_them(self) -> None:
        (message,) = self.refusals(about(), engine(131_072), gpus=1, concurrency=4)

        assert "tensor_parallel_size" not in message

    def test_no_context_fits_where_weights_alone_are_too_much(self) -> None:
        (message,) = self.refusals(about(stored={"BF16": 10**12}, weights_bytes=2 * 10**12), engine(16))

        assert message.endswith("no context fits.")

    def test_guessing_by_layers_that_are_not_there_is_refused(self) -> None:
        guessing = engine(speculative=Speculative(method="mtp"))
        able = changed(num_nextn_predict_layers=1)

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
        novel = changed(model_type="novel", spiral_window=7)

        (message,) = self.refusals(novel, engine())

        assert "(LlamaForCausalLM) does not tell what its KV cache takes: what spiral_window may change of what layers keep" in message
        assert "State kv_bytes_per_token" in message
        assert "kv_bytes_per_request" in message
        assert self.refusals(novel, engine(), kv_bytes_per_token=131_072) == []
        assert self.refusals(novel, engine(), kv_bytes_per_request=2**30) == []
        assert "does not fit" in self.refusals(novel, engine(), kv_bytes_per_request=2**40)[0]

    def test_nonsense_is_refused_whatever_is_stated(self) -> None:
        (message,) = self.refusals(changed(hidden_size=-1), engine(), kv_bytes_per_token=1)

        assert "cannot be served: hidden_size is -1; it must be a whole number" in message

    def test_a_candidate_whose_configuration_was_not_kept_is_released_anew(self) -> None:
        (message,) = self.refusals(replace(about(), config=replace(about().config, configuration="")), engine())

        assert message == "This candidate of tiny-llama was made before its configuration was kept: start a new release of it."
