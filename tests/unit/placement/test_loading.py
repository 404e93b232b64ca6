"""What vLLM cannot load is told before a GPU is touched. Sizes are those of the published `config.json` files."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.placement.loading import Shards, cannot_load, loads

QWEN3_30B = {
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "num_experts": 128,
    "num_attention_heads": 32,
    "head_dim": 128,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}
DEEPSEEK_V3 = {
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "first_k_dense_replace": 3,
    "num_attention_heads": 128,
    "v_head_dim": 128,
}
LLAMA_8B = {"hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32}
QWEN2_72B = {"hidden_size": 8192, "intermediate_size": 29568, "num_attention_heads": 64}
FP8 = {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic"}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}


def compressed(**weights: Any) -> dict[str, Any]:
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": weights}}, "ignore": ["lm_head"]}


@pytest.mark.parametrize(
    ("shape", "quantised", "parallel", "says"),
    [
        (QWEN3_30B, FP8, 4, "the 768 rows of its experts' down projection make 192 for each of 4 GPU(s), no whole"),
        (QWEN3_30B, FP8, 8, "make 96 for each of 8 GPU(s), no whole quantisation blocks (fp8) of 128"),
        (QWEN3_30B, compressed(strategy="group", group_size=128), 4, "no whole groups or blocks (compressed-tensors) of 128"),
        (QWEN3_30B, compressed(strategy="block", block_structure=[128, 128]), 4, "no whole groups or blocks"),
        (QWEN2_72B, FP8, 2, "the 29,568 rows of its MLP's down projection make 14,784 for each of 2 GPU(s)"),
        (QWEN2_72B, AWQ, 8, "make 3,696 for each of 8 GPU(s), no whole groups (awq) of 128"),
        (QWEN2_72B, GPTQ, 4, "groups (gptq) of 128"),
        ({"text_config": QWEN2_72B}, AWQ, 4, "no whole groups (awq) of 128"),
        ({**LLAMA_8B, "intermediate_size": 14337}, {}, 2, "the 14,337 rows of its MLP's down projection cannot be shared evenly between 2"),
        ({**DEEPSEEK_V3, "n_shared_experts": 0, "moe_intermediate_size": 1408}, FP8, 4, "experts' down projection"),
        (
            {**QWEN3_30B, "shared_expert_intermediate_size": 768, "moe_intermediate_size": 2560},
            FP8,
            4,
            "its shared experts' down projection",
        ),
        ({**LLAMA_8B, "num_attention_heads": 30, "head_dim": 100}, AWQ, 2, "its attention's output make 1,500"),
    ],
)
def test_rows_that_do_not_divide_are_named(shape: dict[str, Any], quantised: dict[str, Any], parallel: int, says: str) -> None:
    why = cannot_load({**shape, "quantization_config": quantised}, Shards(tensor_parallel=parallel))

    assert why is not None
    assert says in why


@pytest.mark.parametrize(
    ("shape", "quantised", "parallel"),
    [
        (QWEN3_30B, FP8, 1),
        (QWEN3_30B, FP8, 2),
        (QWEN3_30B, {}, 8),
        (QWEN3_30B, GPTQ, 4),  # groups of experts are split to 64
        (DEEPSEEK_V3, FP8, 8),
        (DEEPSEEK_V3, FP8, 16),
        (LLAMA_8B, FP8, 8),
        (LLAMA_8B, AWQ, 8),
        (LLAMA_8B, compressed(strategy="channel"), 8),
        (LLAMA_8B, compressed(strategy="tensor"), 8),
        (LLAMA_8B, {**GPTQ, "group_size": -1, "desc_act": True}, 2),
        (QWEN2_72B, FP8, 1),
        (QWEN2_72B, {**FP8, "modules_to_not_convert": ["model.layers.0.mlp.down_proj"]}, 4),
        (QWEN2_72B, {**AWQ, "group_size": 32}, 4),
        (
            {"hidden_size": 2880, "intermediate_size": 2880, "num_local_experts": 128, "num_attention_heads": 64, "head_dim": 64},
            {"quant_method": "mxfp4"},
            8,
        ),
    ],
)
def test_what_loads_passes(shape: dict[str, Any], quantised: dict[str, Any], parallel: int) -> None:
    assert cannot_load({**shape, "quantization_config": quantised}, Shards(tensor_parallel=parallel)) is None


def test_experts_that_stay_whole_are_not_divided() -> None:
    assert loads({**QWEN3_30B, "quantization_config": FP8}, Shards(tensor_parallel=8, expert_parallel=True))


@pytest.mark.parametrize(
    ("left_out", "divided"),
    [
        # As Qwen publishes it: routers and norms stay, experts are quantised.
        (["lm_head", "model.layers.0.input_layernorm", "model.layers.0.mlp.gate", "model.layers.0.post_attention_layernorm"], False),
        (["re:.*mlp.gate$", "lm_head"], False),
        (["re:.*experts.*"], True),
        (["model.layers.0.mlp"], True),
        (["re:.*mlp.experts.*.(gate|up|down)_proj$"], True),
        ([None, 3, {"a": 1}], False),
    ],
)
def test_what_a_checkpoint_leaves_as_it_was_is_told_by_its_name(left_out: list[Any], divided: bool) -> None:
    experts = {**QWEN3_30B, "quantization_config": {**FP8, "modules_to_not_convert": left_out}}

    assert loads(experts, Shards(tensor_parallel=4)) is divided


def test_copies_of_the_engine_share_experts_and_nothing_else() -> None:
    experts = {**QWEN3_30B, "quantization_config": FP8}

    why = cannot_load(experts, Shards(tensor_parallel=1, copies=4))

    assert why is not None
    assert "make 192 for each of 4 GPU(s)" in why
    assert loads(experts, Shards(tensor_parallel=1, copies=4, expert_parallel=True))
    assert loads({**LLAMA_8B, "quantization_config": FP8}, Shards(tensor_parallel=1, copies=4))


def test_experts_cannot_be_shared_where_there_are_none() -> None:
    assert cannot_load(LLAMA_8B, Shards(tensor_parallel=2, expert_parallel=True)) is not None


@pytest.mark.parametrize(
    ("quantised", "shards", "says"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, Shards(tensor_parallel=1), "quantised by 'bitsandbytes'"),
        ({"quant_method": "aqlm"}, Shards(tensor_parallel=1), "quantised by 'aqlm'"),
        ({"quant_method": "x" * 10_000}, Shards(tensor_parallel=1), "quantised by 'xxx"),
        ({}, Shards(tensor_parallel=1, quantization="bitsandbytes"), "quantised by 'bitsandbytes'"),
        ({}, Shards(tensor_parallel=1, quantization="fp8"), "set engine.quantization to fp8_per_tensor"),
        ({**GPTQ, "desc_act": True}, Shards(tensor_parallel=1), "desc_act: true"),
        ({**GPTQ, "dynamic": {"+:.*": {"desc_act": True}}}, Shards(tensor_parallel=1), "desc_act: true"),
        ({"quant_method": "fbgemm_fp8"}, Shards(tensor_parallel=1), "--allow-deprecated-quantization"),
    ],
)
def test_methods_that_are_gone_are_named(quantised: dict[str, Any], shards: Shards, says: str) -> None:
    why = cannot_load({**LLAMA_8B, "quantization_config": quantised}, shards)

    assert why is not None
    assert says in why
    assert len(why) < 200


def test_a_deprecated_method_may_be_allowed() -> None:
    assert loads({**LLAMA_8B, "quantization_config": {"quant_method": "fbgemm_fp8"}}, Shards(tensor_parallel=1, deprecated=True))
    assert loads({**LLAMA_8B, "quantization_config": {**GPTQ, "dynamic": {"-:.*": {"desc_act": True}}}}, Shards(tensor_parallel=1))
    assert loads(LLAMA_8B, Shards(tensor_parallel=2, quantization="fp8_per_tensor"))


_ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-4, 300)
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["fp8", "gptq", "awq", "compressed-tensors"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*QWEN3_30B, *FP8, *GPTQ, "config_groups", "weights", "dynamic", "ignore", "strategy"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)


@given(shape=st.dictionaries(st.sampled_from([*QWEN3_30B, "text_config", "thinker_config"]), _ANYTHING, max_size=5), quantised=_ANYTHING)
def test_no_configuration_makes_a_traceback(shape: dict[str, Any], quantised: Any) -> None:
    cannot_load({**shape, "quantization_config": quantised}, Shards(tensor_parallel=4))


def test_states_beside_attention_are_kept_apart() -> None:
    layers = {"num_hidden_layers": 2, "layer_types": ["mamba", "attention"], "num_key_value_heads": 8, "max_position_embeddings": 4096}
    mamba = {"mamba_expand": 2, "mamba_n_heads": 128, "mamba_d_head": 64, "mamba_d_state": 128, "mamba_n_groups": 1, "mamba_d_conv": 4}
    granite = {**LLAMA_8B, **layers, **mamba, "model_type": "granitemoehybrid", "architectures": ["GraniteMoeHybridForCausalLM"]}

    assert cannot_load(granite, Shards(tensor_parallel=1)) is None
    assert "states beside attention" in str(cannot_load(granite, Shards(tensor_parallel=1, hybrid_manager=False)))
    assert cannot_load(LLAMA_8B, Shards(tensor_parallel=1, hybrid_manager=False)) is None


@pytest.mark.parametrize(("tokens", "loads"), [(16, True), (48, True), (256, True), (17, False), (1, False), (8, False)])
def test_attention_takes_whole_blocks(tokens: int, loads: bool) -> None:
    why = cannot_load(LLAMA_8B, Shards(tensor_parallel=1, block_size=tokens))

    assert (why is None) == loads
    assert loads or f"--block-size is {tokens}" in str(why)
