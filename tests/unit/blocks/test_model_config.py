"""What a configuration says of its model; and nothing that anybody writes there breaks the reader."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import HubRejected
from blocks.hub.json_objects import read_json_object
from blocks.hub.model_config import asks_for_code, read_config, read_params


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ({}, ("", "", None)),
        ({"architectures": ["LlamaForCausalLM"], "torch_dtype": "bfloat16"}, ("LlamaForCausalLM", "bfloat16", None)),
        ({"dtype": "torch.float16", "quantization_config": {"quant_method": "fp8"}}, ("", "float16", "fp8")),
        ({"text_config": {"dtype": "float32", "quantization_config": {"quant_method": "awq"}}}, ("", "float32", "awq")),
        ({"architectures": [7], "torch_dtype": 16, "compression_config": {"bits": 4}}, ("", "", "unnamed")),
    ],
)
def test_architecture_type_and_quantisation_are_named(document: dict[str, Any], named: tuple[str, str, str | None]) -> None:
    config = read_config(document)

    assert (config.architecture, config.dtype, config.quantisation) == named


def test_the_configuration_is_kept_but_for_what_only_makes_it_long() -> None:
    document = {"hidden_size": 4096, "id2label": {str(index): "label" for index in range(1000)}}

    assert json.loads(read_config(document).configuration) == {"hidden_size": 4096}


def test_mistrals_own_configuration_is_read_under_its_names() -> None:
    said = json.loads(read_params({"dim": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8, "sliding_window": 4096}).configuration)

    assert (said["model_type"], said["hidden_size"], said["num_hidden_layers"]) == ("mistral", 4096, 32)
    assert (said["num_attention_heads"], said["num_key_value_heads"], said["sliding_window"]) == (32, 8, 4096)
    large = read_params({"moe": {"num_experts": 128, "num_shared_experts": 1}, "kv_lora_rank": 512})
    assert (large.architecture, json.loads(large.configuration)["model_type"]) == ("MistralLarge3ForCausalLM", "deepseek_v3")


def test_quantisation_beside_the_configuration_is_part_of_it() -> None:
    beside = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}

    config = read_config({"model_type": "llama"}, beside)

    assert config.quantisation == "modelopt"
    assert json.loads(config.configuration)["quantization_config"] == {"quant_method": "modelopt", **beside}
    own = read_config({"quantization_config": {"quant_method": "fp8"}}, beside)
    assert own.quantisation == "fp8"


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
KEYS = ["architectures", "dtype", "torch_dtype", "quantization_config", "compression_config", "text_config", "auto_map", "id2label"]


@given(st.dictionaries(st.sampled_from(KEYS), ANYTHING))
def test_no_configuration_breaks_the_reader(document: dict[str, Any]) -> None:
    config = read_config(document)
    asks_for_code(document)

    assert isinstance(json.loads(config.configuration), dict)


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
