"""Configurations are read under all their names, and what is not understood is said, never taken for something else."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.fit.configuration import read_document
from flows.fit.errors import Unknown, Unreadable
from flows.fit.kinds import RULES
from flows.fit.layers import Attention, Latent, State
from flows.fit.model import ConfiguredModel, read_model
from flows.fit.reading import SPECIAL, UNTAUGHT, read_shape
from flows.fit.request import cost
from flows.fit.settings import Settings
from tests.support.examples import LLAMA_31_8B
from tests.support.vllm_rows import rows


def changed(**changes: Any) -> dict[str, Any]:
    return {**LLAMA_31_8B, **changes}


def kept(document: dict[str, Any]) -> list[Any]:
    """The caches of all layers, each once."""
    found: list[Any] = []
    for caches in read_shape(document).layers:
        found += [cache for cache in caches if cache not in found]
    return found


@pytest.mark.parametrize(
    ("change", "heads"),
    [
        ({"num_key_value_heads": None}, 32),
        ({"num_key_value_heads": None, "multi_query_group_num": 2}, 2),
        ({"num_key_value_heads": None, "num_kv_heads": 4}, 4),
        ({"num_key_value_heads": None, "num_attention_groups": 8}, 8),
        ({"model_type": "chatglm", "num_key_value_heads": None, "multi_query_attention": True, "multi_query_group_num": 2}, 2),
        ({"model_type": "chatglm", "multi_query_attention": False, "multi_query_group_num": 2}, 32),
        ({"model_type": "dbrx", "attn_config": {"kv_n_heads": 8}}, 8),
        ({"model_type": "falcon", "multi_query": True, "num_kv_heads": 71}, 1),
        ({"model_type": "falcon", "multi_query": True, "new_decoder_architecture": True, "num_kv_heads": 8}, 8),
        ({"model_type": "gpt_bigcode", "multi_query": True, "num_key_value_heads": None}, 1),
        ({"model_type": "step3_text", "num_attention_groups": 1}, 1),
    ],
)
def test_kv_heads_have_many_names(change: dict[str, Any], heads: int) -> None:
    assert [cache.heads for cache in kept(changed(**change))] == [heads]


@pytest.mark.parametrize("place", ["text_config", "llm_config", "language_config"])
def test_the_text_model_is_found_wherever_it_is_nested(place: str) -> None:
    assert kept({"architectures": ["SomeForConditionalGeneration"], place: LLAMA_31_8B}) == [Attention(8, 128, 128)]
    assert kept({"model_type": "qwen2_5_omni", "thinker_config": {"text_config": LLAMA_31_8B}}) == [Attention(8, 128, 128)]


def test_what_a_file_leaves_out_is_what_transformers_fills_in() -> None:
    llava = read_shape({"model_type": "llava", "text_config": {"model_type": "llama", "vocab_size": 32064}})
    assert (len(llava.layers), llava.layers[0]) == (32, (Attention(32, 128, 128),))
    gemma = read_shape({"model_type": "gemma3", "text_config": {"model_type": "gemma3_text", "num_hidden_layers": 12}})
    assert [bool(caches[0].window) for caches in gemma.layers] == [True] * 5 + [False] + [True] * 5 + [False]  # type: ignore[union-attr]


def test_layers_that_differ_are_read_one_by_one() -> None:
    searched = changed(
        model_type="nemotron-nas",
        num_hidden_layers=3,
        block_configs=[{"attention": {"n_heads_in_group": 4}}, {"attention": {"no_op": True}}, {"attention": {"n_heads_in_group": 8}}],
    )
    assert [tuple(cache.heads for cache in caches) for caches in read_shape(searched).layers] == [(8,), (), (4,)]  # type: ignore[union-attr]

    kimi = read_shape({
        "model_type": "kimi_linear", "num_hidden_layers": 4, "num_attention_heads": 32, "hidden_size": 2304, "kv_lora_rank": 512,
        "qk_rope_head_dim": 64, "linear_attn_config": {"kda_layers": [1, 2, 3], "full_attn_layers": [4], "num_heads": 32, "head_dim": 128},
    })  # fmt: skip
    assert [type(caches[0]) for caches in kimi.layers] == [State, State, State, Latent]
    assert kimi.layers[3] == (Latent(576),)


def test_indexes_are_only_where_a_layer_has_its_own() -> None:
    glm = next(row["config"] for row in rows() if row["model"].startswith("GLM-5"))
    every = read_shape({**glm, "num_hidden_layers": 8})
    fourth = read_shape({**glm, "num_hidden_layers": 8, "index_topk_freq": 4})
    stated = read_shape({**glm, "num_hidden_layers": 4, "index_topk_pattern": "FSSF"})

    assert [len(caches) for caches in every.layers] == [2] * 8
    assert [len(caches) for caches in fourth.layers] == [2, 2, 1, 1, 1, 2, 1, 1]
    assert [len(caches) for caches in stated.layers] == [2, 1, 1, 2]


@pytest.mark.parametrize("family", ["qwen2_5_omni_text", "mimo"])
def test_a_window_that_is_switched_off_is_none(family: str) -> None:
    assert kept(changed(model_type=family, sliding_window=4096, use_sliding_window=False)) == [Attention(8, 128, 128)]


def test_stacks_that_run_several_times_keep_what_each_run_needs() -> None:
    older = read_shape({"model_type": "hrm_text", "num_hidden_layers": 8})
    newer = read_shape({"model_type": "hrm_text", "num_hidden_layers": 64, "num_layers_per_stack": 8, "H_cycles": 2, "L_cycles": 3})

    assert older.layers == newer.layers == ((Attention(12, 128, 128),),) * 64


def test_plamo_3_has_windows_but_in_every_eighth_layer() -> None:
    found = read_shape(changed(model_type="plamo3", window_size=2048, num_hidden_layers=16))

    assert [caches[0].window for caches in found.layers] == ([2048] * 7 + [None]) * 2  # type: ignore[union-attr]
    stated = read_shape(changed(model_type="plamo3", interleaved_sliding_window=[None, 512], num_hidden_layers=2))
    assert [caches[0].window for caches in stated.layers] == [None, 512]  # type: ignore[union-attr]


def test_the_sizes_of_a_latent_that_is_switched_off_mean_nothing() -> None:
    assert kept(changed(kv_lora_rank=512, use_mla=False)) == [Attention(8, 128, 128)]


def test_a_latent_does_not_follow_the_scheme_of_compressed_tensors() -> None:
    """`MLAAttention` of vLLM 0.32 reads none; `Attention` does."""
    scheme = {"quantization_config": {"quant_method": "compressed-tensors", "kv_cache_scheme": {"num_bits": 8, "type": "float"}}}
    latent = next(row["config"] for row in rows() if row["model"].startswith("DeepSeek-V2-Lite"))

    assert read_shape(changed(**scheme)).cache == "fp8"
    assert read_shape({**latent, **scheme}).cache == "auto"


def test_hy_v4_names_the_layers_with_an_index() -> None:
    sparse = {"model_type": "hy_v4", "num_hidden_layers": 6, "layer_types": ["deepseek_sparse_attention"] * 5 + ["full_attention"]}
    found, stated = read_shape(sparse), read_shape({**sparse, "indexer_types": ["full", "shared"] * 3})
    dense = read_shape({"model_type": "hy_v4", "num_hidden_layers": 2})

    assert [len(caches) for caches in found.layers] == [2, 2, 1, 1, 1, 1]
    assert [len(caches) for caches in stated.layers] == [2, 1, 2, 1, 2, 1]
    assert dense.layers == ((Latent(576),),) * 2


def test_deepseek_v4_is_windows_latents_compressors_and_indexes() -> None:
    """By `vllm/models/deepseek_v4/` (0.32.0): 584 bytes a row, pages that are multiples of 576, blocks of 256 tokens."""
    document = {
        "architectures": ["DeepseekV4ForCausalLM"], "model_type": "deepseek_v4", "num_hidden_layers": 5, "num_attention_heads": 64,
        "num_key_value_heads": 1, "head_dim": 512, "qk_rope_head_dim": 64, "hidden_size": 4096, "max_position_embeddings": 1_048_576,
        "sliding_window": 128, "compress_ratios": [0, 4, 128, 4, 128], "index_head_dim": 128, "index_topk": 512,
    }  # fmt: skip
    shape = read_shape(document)

    assert [len(caches) for caches in shape.layers] == [1, 5, 3, 5, 3]
    found = cost(shape, Settings(), 131_072, 80 * 2**30)
    # A block holds the widest group: two layers of latents for 4 tokens with their indexes, and two for 128.
    assert found.block_bytes == 2 * (37_440 + 8_640 + 1_728)


class TestUnknown:
    @pytest.mark.parametrize(
        "change",
        [
            {"model_type": "novel", "linear_attention_every": 4},
            {"model_type": "novel", "kv_group_count": 4},
            {"model_type": "novel", "swa_layers": [0, 2]},
            {"model_type": "novel", "cross_layer_kv_sharing": True},
            {"model_type": "novel", "compress_ratios": [4, 4]},
            {"model_type": "novel", "ssm_cfg": {"d_state": 16}},
            {"cla_share_factor": 2, "use_cla": True},
            {"model_type": "bailing_moe_linear", "layer_group_size": 4},
            {"model_type": "deci", "num_key_value_heads_per_layer": [4, 4, 2, 1]},
        ],
    )
    def test_a_key_that_may_mean_that_layers_differ_is_named(self, change: dict[str, Any]) -> None:
        with pytest.raises(Unknown) as caught:
            read_shape(changed(**change))

        key = next(key for key in change if key not in ("model_type", "use_cla"))
        assert key in caught.value.message
        assert any(key in named for named in caught.value.keys)

    def test_kinds_of_layers_that_nobody_knows_are_named(self) -> None:
        with pytest.raises(Unknown, match="layer_types has layers of the kind 'spiral_attention'"):
            read_shape(changed(layer_types=["full_attention", "spiral_attention"] * 16))

    def test_families_that_nobody_taught_are_named(self) -> None:
        with pytest.raises(Unknown, match="what DeepseekV41ForCausalLM keeps of a request is not known here"):
            read_shape(changed(model_type="deepseek_v41", architectures=["DeepseekV41ForCausalLM"]))

    @pytest.mark.parametrize("family", ["bamba", "mllama_text_model", "recurrent_gemma", "xlstm", "zamba"])
    def test_families_of_transformers_that_keep_more_than_heads_are_never_read_as_heads(self, family: str) -> None:
        with pytest.raises(Unknown):
            read_shape(changed(model_type=family))

    def test_what_says_nothing_is_no_reason(self) -> None:
        silent = changed(
            model_type="novel", sliding_window=None, ssm_cfg={}, cla_share_factor=2, use_cla=False, window_layers=[], mamba=False
        )
        assert kept(silent) == [Attention(8, 128, 128)]


class TestNonsense:
    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"num_hidden_layers": -3}, "num_hidden_layers is -3; it must be a whole number of at least 1 and below 2^40."),
            ({"num_hidden_layers": "32"}, 'num_hidden_layers is "32"; it must be a whole number of at least 1 and below 2^40.'),
            ({"num_hidden_layers": 10**400}, "num_hidden_layers is a number of more than 18 digits; it must be"),
            ({"num_hidden_layers": 20_000}, "num_hidden_layers is 20,000; no model has more than 10,000."),
            ({"num_hidden_layers": True}, "num_hidden_layers is true; it must be"),
            ({"hidden_size": float("nan"), "head_dim": None}, "hidden_size is NaN; it must be"),
            ({"num_attention_heads": [32]}, "num_attention_heads is a list; it must be"),
            ({"num_hidden_layers": None}, "num_hidden_layers is missing"),
            ({"layer_types": ["full_attention"]}, "layer_types names 1 layers of 32."),
            ({"layer_types": "full_attention"}, 'layer_types is "full_attention"; it must be a list.'),
            ({"rope_scaling": {"rope_type": "linear", "factor": float("inf")}}, "rope_scaling.factor of RoPE must be a number above 0"),
            ({"rope_scaling": {"rope_type": "linear", "factor": 10**400}}, "rope_scaling.factor of RoPE must be a number above 0"),
            ({"partial_rotary_factor": -1}, "partial_rotary_factor is -1; it must be above 0 and at most 1."),
        ],
    )
    def test_it_is_one_sentence_that_names_the_key(self, change: dict[str, Any], said: str) -> None:
        problem = ConfiguredModel(changed(**change)).problem

        assert problem is not None
        assert said in problem.message

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"[" * 10_000, "config.json is not JSON."),
            (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "config.json is not JSON."),
            (b"9" * 5000, "config.json is not JSON."),
            (b"\xff\xfe\x00", "config.json is not JSON."),
            (b"[]", "config.json holds no JSON object."),
            (b" " * 30_000_000, "config.json has 30,000,000 bytes; a configuration has 8,388,608 at most."),
        ],
        ids=["brackets", "objects", "digits", "bytes", "list", "long"],
    )
    def test_a_file_that_is_none_is_one_sentence(self, content: bytes, said: str) -> None:
        with pytest.raises(Unreadable) as caught:
            read_document(content, "config.json")
        assert caught.value.message == said


SCALARS = st.none() | st.booleans() | st.integers() | st.integers(1, 64) | st.floats() | st.text(max_size=12)
ANYTHING = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4))
BASES = [row["config"] for row in rows()]
KEYS = sorted({key for base in BASES for key in (*base, *base.get("text_config", ()))} | {"auto_map", "rope_parameters", "block_configs"})


@given(base=st.sampled_from(BASES), change=st.dictionaries(st.sampled_from(KEYS), ANYTHING, max_size=4), nested=st.booleans())
def test_no_configuration_breaks_the_reader(base: dict[str, Any], change: dict[str, Any], nested: bool) -> None:
    inner = {**base["text_config"], **change} if nested and "text_config" in base else None
    model = read_model(json.dumps({**base, **change} if inner is None else {**base, "text_config": inner}))

    if model.problem is None:
        found = cost(model.known_shape(), Settings(tensor_parallel=random.Random(len(change)).choice([1, 2, 8])), 4096)
        assert found.request_bytes(4096) >= 0
        assert found.gpu_bytes(4096, 2) >= 0
    else:
        assert "\n" not in model.problem.message
        assert len(model.problem.message) < 500


def test_the_docs_name_every_family_that_is_known_and_every_one_that_is_not() -> None:
    page = (Path(__file__).parents[3] / "docs" / "fit.md").read_text(encoding="utf-8")
    known = {name.removesuffix("_text") for name in (*SPECIAL, *RULES)}
    # Kinds of Qwen's are named by their likes, other names of the same by the first.
    likes = ("qwen2_", "qwen3_", "dots1", "deepseek_ocr2", "gemma4_unified", "diffusion_gemma", "minimax_", "PanguEmbedded")
    named = {name.removesuffix("_text") for name in re.findall(r"`([A-Za-z0-9_-]+)`", page)}

    assert {name for name in known if not name.startswith(likes)} - named == set()
    assert {name.removesuffix("_text") for name in UNTAUGHT if not name.startswith(("inkling_", "unlimited-"))} - named == set()
