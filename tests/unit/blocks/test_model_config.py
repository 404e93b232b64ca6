"""What published configurations say of their models; and nothing that anybody writes there breaks the reader."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import HubRejected
from blocks.facts.model import AttentionLayers
from blocks.hub.json_objects import read_json_object
from blocks.hub.model_config import asks_for_code, read_config

#: Values of the published `config.json` of each model, as far as they matter here.
LLAMA_31_8B = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "max_position_embeddings": 131072, "torch_dtype": "bfloat16",
    "rope_scaling": {"factor": 8.0, "rope_type": "llama3", "original_max_position_embeddings": 8192},
}  # fmt: skip
DEEPSEEK_V3 = {
    "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "hidden_size": 7168, "num_hidden_layers": 61,
    "num_attention_heads": 128, "num_key_value_heads": 128, "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128,
    "max_position_embeddings": 163840, "torch_dtype": "bfloat16", "quantization_config": {"quant_method": "fp8"},
    "rope_scaling": {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096},
}  # fmt: skip
QWEN_25_7B = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28,
    "num_key_value_heads": 4, "max_position_embeddings": 32768, "sliding_window": 131072, "use_sliding_window": False,
}  # fmt: skip
MIXTRAL_8X7B = {
    "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "hidden_size": 4096, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 32768, "sliding_window": None,
}  # fmt: skip
GEMMA_3_27B = {
    "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "torch_dtype": "bfloat16",
    "text_config": {
        "model_type": "gemma3_text", "hidden_size": 5376, "num_hidden_layers": 62, "num_attention_heads": 32, "num_key_value_heads": 16,
        "head_dim": 128, "sliding_window": 1024, "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
    },
}  # fmt: skip
GEMMA_3_4B = {
    "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3",
    "text_config": {"model_type": "gemma3_text", "hidden_size": 2560, "num_hidden_layers": 34, "sliding_window": 1024},
}  # fmt: skip
QWEN_3_NEXT_80B = {
    "architectures": ["Qwen3NextForCausalLM"], "model_type": "qwen3_next", "hidden_size": 2048, "num_hidden_layers": 48,
    "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 256, "full_attention_interval": 4, "max_position_embeddings": 262144,
    "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128, "linear_num_key_heads": 16, "linear_num_value_heads": 32,
    "linear_value_head_dim": 128,
}  # fmt: skip
GPT_OSS_20B = {
    "architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "hidden_size": 2880, "num_hidden_layers": 24,
    "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64, "sliding_window": 128, "max_position_embeddings": 131072,
    "layer_types": ["sliding_attention", "full_attention"] * 12, "quantization_config": {"quant_method": "mxfp4"},
    "rope_scaling": {"rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 4096},
}  # fmt: skip
FALCON_7B = {"model_type": "falcon", "hidden_size": 4544, "num_hidden_layers": 32, "num_attention_heads": 71, "multi_query": True}
GPT_2 = {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024}
MINICPM_3 = {
    "model_type": "minicpm3", "hidden_size": 2560, "num_hidden_layers": 62, "num_attention_heads": 40, "num_key_value_heads": 40,
    "kv_lora_rank": 256, "qk_nope_head_dim": 64, "qk_rope_head_dim": 32,
}  # fmt: skip


def full(layers: int, kv_heads: int, head_dim: int) -> AttentionLayers:
    return AttentionLayers(layers=layers, values=2 * kv_heads * head_dim, heads=kv_heads)


def windowed(layers: int, kv_heads: int, head_dim: int, window: int) -> AttentionLayers:
    return AttentionLayers(layers=layers, values=2 * kv_heads * head_dim, heads=kv_heads, window=window)


@pytest.mark.parametrize(
    ("document", "attention", "max_context"),
    [
        (LLAMA_31_8B, (full(32, 8, 128),), 131072),
        (DEEPSEEK_V3, (AttentionLayers(layers=61, values=576, heads=1),), 163840),
        (QWEN_25_7B, (full(28, 4, 128),), 32768),
        (MIXTRAL_8X7B, (full(32, 8, 128),), 32768),
        (GEMMA_3_27B, (full(10, 16, 128), windowed(52, 16, 128, 1024)), 131072),
        (GEMMA_3_4B, (full(5, 4, 256), windowed(29, 4, 256, 1024)), 131072),
        (QWEN_3_NEXT_80B, (full(12, 2, 256),), 262144),
        (GPT_OSS_20B, (full(12, 8, 64), windowed(12, 8, 64, 128)), 131072),
        (FALCON_7B, (full(32, 1, 64),), None),
        (GPT_2, (full(12, 12, 64),), 1024),
        (MINICPM_3, (full(62, 40, 96),), None),
    ],
    ids=["llama", "deepseek", "qwen2.5", "mixtral", "gemma-27b", "gemma-4b", "qwen3-next", "gpt-oss", "falcon", "gpt-2", "minicpm3"],
)
def test_a_published_configuration_is_understood(
    document: dict[str, Any], attention: tuple[AttentionLayers, ...], max_context: int | None
) -> None:
    config = read_config(document)

    assert config.attention == attention
    assert config.max_context == max_context


@pytest.mark.parametrize(
    ("said", "layers"),
    [({"num_nextn_predict_layers": 1}, 1), ({"mtp_num_hidden_layers": 2}, 2), ({"num_nextn_predict_layers": 0}, 0), ({}, 0)],
)
def test_layers_that_guess_ahead_are_none_of_the_others(said: dict[str, Any], layers: int) -> None:
    config = read_config({**DEEPSEEK_V3, **said})

    assert config.guessing_layers == layers
    assert config.attention == read_config(DEEPSEEK_V3).attention


def test_linear_attention_keeps_a_state_and_no_tokens() -> None:
    state = 32 * 128 * 128 + (2 * 16 * 128 + 32 * 128) * 3

    assert read_config(QWEN_3_NEXT_80B).state_values == 36 * state


def test_type_and_quantisation_are_named() -> None:
    assert (read_config(LLAMA_31_8B).dtype, read_config(LLAMA_31_8B).quantisation) == ("bfloat16", None)
    assert read_config(DEEPSEEK_V3).quantisation == "fp8"
    assert read_config({"dtype": "torch.float16"}).dtype == "float16"


@pytest.mark.parametrize(
    ("change", "longest"),
    [
        ({}, 32768),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}}, 131072),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, 65536),
        ({"rope_scaling": {"rope_type": "longrope", "factor": 32.0}}, 32768),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": "a lot"}}, 32768),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": float("nan")}}, 32768),
        ({"max_seq_len": 4096}, 4096),
        ({"model_max_length": 65536}, 65536),
        ({"max_position_embeddings": None}, None),
        ({"max_position_embeddings": -5}, None),
        ({"max_position_embeddings": True}, None),
    ],
)
def test_the_longest_context_follows_vllm(change: dict[str, Any], longest: int | None) -> None:
    assert read_config({**QWEN_25_7B, **change}).max_context == longest


@pytest.mark.parametrize(
    "change",
    [
        {"num_hidden_layers": None},
        {"num_attention_heads": "many"},
        {"num_hidden_layers": 10**9},
        {"layer_types": ["full_attention"] * 3},
        {"layer_types": ["full_attention"] * 27 + ["wormhole"]},
        {"layer_types": ["sliding_attention"] * 28, "sliding_window": None},
        {"layer_types": ["linear_attention"] * 28},
        {"mamba_d_state": 128},
    ],
)
def test_what_cannot_be_told_is_not_guessed(change: dict[str, Any]) -> None:
    assert read_config({**QWEN_25_7B, **change}).attention == ()


@pytest.mark.parametrize(
    ("document", "asks", "elsewhere"),
    [
        ({}, False, ()),
        ({"auto_map": None}, False, ()),
        ({"auto_map": {"AutoModel": "modeling.Model"}}, True, ()),
        ({"auto_map": {"AutoTokenizer": ["tokenization.Slow", None]}}, True, ()),
        ({"auto_map": {"AutoModel": "other/repository--modeling.Model"}}, True, ("other/repository",)),
        ({"auto_map": "modeling.Model"}, True, ()),
    ],
)
def test_remote_code_is_seen(document: dict[str, Any], asks: bool, elsewhere: tuple[str, ...]) -> None:
    assert asks_for_code(document) == (asks, elsewhere)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
ANYTHING = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4))
KEYS = sorted({key for document in (LLAMA_31_8B, DEEPSEEK_V3, QWEN_3_NEXT_80B, GPT_OSS_20B, GEMMA_3_27B) for key in document})


@given(
    change=st.dictionaries(st.sampled_from([*KEYS, "auto_map", "rope_parameters"]), ANYTHING, max_size=6),
    base=st.sampled_from([{}, LLAMA_31_8B]),
)
def test_no_configuration_breaks_the_reader(change: dict[str, Any], base: dict[str, Any]) -> None:
    document = {**base, **change}

    config = read_config(document)
    asks_for_code(document)

    assert all(group.layers > 0 and group.values >= group.heads > 0 for group in config.attention)
    assert config.max_context is None or config.max_context > 0


@given(
    content=st.binary(max_size=60) | ANYTHING.map(lambda value: json.dumps(value).encode()) | st.just(b"[" * 100_000) | st.just(b"9" * 9999)
)
def test_what_is_no_json_object_is_one_sentence(content: bytes) -> None:
    said = ""
    try:
        assert isinstance(read_json_object(content, "config.json of o/n"), dict)
    except HubRejected as exc:
        said = exc.message
    assert said in (
        "",
        "config.json of o/n is not JSON: use another revision.",
        "config.json of o/n holds no JSON object: use another revision.",
    )
