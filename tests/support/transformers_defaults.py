"""Prints what configurations of a `transformers` release have where a file leaves it out: `flows/fit/transformers.json`.

From the repository's root, in an environment that has `transformers` (it needs neither torch nor what the project depends on, and no hub is
asked): `python -m tests.support.transformers_defaults > flows/fit/transformers.json`.

A `model_type` is there if it is a language model or holds one, with up to four things:

- `defaults`: as far as memory goes by them;
- `names`: a key that `flows.fit` may ask for, and under which key files of the type have it;
- `keys`: those that the type is published with and that look as if they told of layers;
- `inner`: the type of the text part within it.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from flows.fit.configuration import INNER
from flows.fit.understood import TELLING

#: Keys whose defaults are kept: layers, heads, windows, latents, states and the context. Another one that `flows.fit` is to know goes here.
KEPT = re.compile("|".join((
    # the shape, under the names that families have for it
    "num_hidden_layers", "num_layers", "decoder_layers", "hidden_size", "d_model", "intermediate_size", "vocab_size", "tie_word_embeddings",
    "num_attention_heads", "decoder_attention_heads", "num_heads", "head_dim", "hidden_size_per_head", "num_nextn_predict_layers",
    "mtp_num_hidden_layers",
    # KV heads
    "num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query", "multi_query_attention", "multi_query_group_num",
    "num_attention_groups", "attn_config", "new_decoder_architecture", "global_head_dim", "num_global_key_value_heads", "attention_k_eq_v",
    "num_kv_shared_layers",
    # the context
    "max_position_embeddings", "original_max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length",
    "max_target_positions", "max_sequence_length", "max_seq_length", "seq_len", "rotary_dim", "rotary_pct", "partial_rotary_factor",
    # windows and chunks
    "sliding_window", "use_sliding_window", "max_window_layers", "sliding_window_pattern", "prefix_dense_sliding_window_pattern",
    "attention_chunk_size", "no_rope_layer_interval", "no_rope_layers", "global_attn_every_n_layers", "first_k_dense_replace", "swa_.*",
    # latents
    "kv_lora_rank", "q_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim", "index_topk", "index_head_dim", "index_n_heads",
    "index_topk_freq", "index_topk_pattern", "index_skip_topk_offset",
    # states
    "linear_.*", "mamba_.*", "n_mamba_heads", "state_size", "ssm_state_size", "conv_kernel", "short_conv_kernel_size", "conv_L_cache",
    "conv_dim", "expand", "n_groups", "full_attn_idxs", "attn_layer_period", "attn_layer_offset", "layer_group_size", "hybrid_layer_ids",
)))  # fmt: skip

#: Types that only code beside a checkpoint has, and those whose configuration they copy.
_COPIES = {"kimi_k2": "deepseek_v3", "RefinedWeb": "falcon", "RefinedWebModel": "falcon", "glm4_moe_lite_mtp": "glm4_moe_lite"}

#: Longest default that is an object, in characters of JSON: longer ones are whole configurations.
_LONGEST = 200


def table() -> dict[str, Any]:
    """The release that is installed, and what its types of language models have, by name."""
    release = importlib.import_module("transformers").__version__
    published = importlib.import_module("transformers.models.auto.configuration_auto").CONFIG_MAPPING
    types: dict[str, dict[str, Any]] = {}
    for name in published:
        kind = published[name]
        parts = [part for _, part in _parts(kind)]
        parts += [inner for part in parts for _, inner in _parts(part)]
        types |= {name: _described(kind)}
        types |= {part.model_type: _described(part) for part in parts if part.model_type not in types}
    types = {name: found for name, found in types.items() if found}
    types |= {copy: types[of] for copy, of in _COPIES.items() if of in types and copy not in types}
    return {
        "source": f"transformers {release}, configuration_*.py: what a configuration of each model_type has where a file leaves it out; "
        "its other names of the same; its keys that may tell of layers; the types of what is nested",
        "types": {name: _told(types[name]) for name in sorted(types) if _is_language(types[name])},
    }


def written(document: Mapping[str, Any]) -> str:
    """The file: JSON with a type a line, so that a change of release can be read."""
    rows = ",\n".join(f" {json.dumps(name)}: {json.dumps(told, sort_keys=True)}" for name, told in document["types"].items())
    return f'{{"source": {json.dumps(document["source"])},\n "types": {{\n{rows}\n}}}}'


def _parts(kind: Any) -> Iterator[tuple[str, Any]]:
    """The configurations within one of this class: key and class; not `AutoConfig`, which may be any."""
    for key, part in kind.sub_configs.items():
        if getattr(part, "model_type", ""):
            yield key, part


def _described(kind: Any) -> dict[str, Any]:
    """What the class of a configuration says; nothing if none can be made without arguments."""
    try:
        made = kind().to_dict()
    except Exception:  # noqa: BLE001  # whatever a type raises that needs parts, a hub or a library: it is no language model by itself
        return {}
    own = {field.name: _default(field) for field in dataclasses.fields(kind)}
    aliases = {alias: key for alias, key in kind.attribute_map.items() if KEPT.fullmatch(alias)}
    # Only what a configuration still has when it is made: some unset their own defaults. What they make of them is no default.
    kept = [key for key in made if key in own and KEPT.fullmatch(key) and made[key] is not None and made[key] is not False]
    defaults = {key: own[key] for key in kept}
    defaults |= {alias: own[key] for alias, key in aliases.items() if key in own}
    return {
        "defaults": {key: value for key, value in defaults.items() if _is_told(value)},
        "names": {alias: [key] for alias, key in aliases.items()},
        "keys": sorted(key for key in made if TELLING.search(key)),
        # `decoder`: no rule reads it, but what has one holds a language model and has no defaults of its own.
        "inner": {key: part.model_type for key, part in _parts(kind) if key in (*INNER, "decoder")},
    }


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def _is_told(value: Any) -> bool:
    """Whether a default says something, in few words; lists are by layer and hold for one size of a model only."""
    if isinstance(value, dict):
        return len(json.dumps(value)) <= _LONGEST
    return isinstance(value, (int, float, str)) and value is not False


def _is_language(found: Mapping[str, Any]) -> bool:
    layers = ("num_hidden_layers", "num_layers", "decoder_layers")
    return bool(found["inner"]) or ("vocab_size" in found["defaults"] and any(key in found["defaults"] for key in layers))


def _told(found: Mapping[str, Any]) -> dict[str, Any]:
    """What is there; of a type with a text part, the part has the rest."""
    return {key: value for key, value in found.items() if value and (not found["inner"] or key in ("inner", "keys"))}


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"  # some types would ask the hub for the configuration of a part
    logging.disable(logging.CRITICAL)
    print(written(table()))
