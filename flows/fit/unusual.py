"""Models whose layers keep keys and values, but not the same in each, or not once a layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flows.fit.configuration import Configuration
from flows.fit.errors import Unknown, Unreadable
from flows.fit.heads import head_size, kv_heads
from flows.fit.kinds import FULL, NOTHING, WINDOW, kinds, layer_count
from flows.fit.layers import Attention, Cache, Cross, Latent
from flows.fit.plain import plain

#: Families where an encoder comes first.
WITH_ENCODER = frozenset({"whisper"})


def _heads(text: Configuration) -> tuple[int, int]:
    heads, head = kv_heads(text), head_size(text)
    if heads is None or head is None:
        text.need("num_attention_heads")
        text.need("hidden_size")
    return heads or 0, head or 0


def gemma4(text: Configuration) -> list[tuple[Cache, ...]]:
    """Gemma 4: full layers have heads of another size and, with `attention_k_eq_v`, of another number (`gemma4.py`; `transformers`,
    `configuration_gemma4.py`)."""
    if text.states("per_layer_config"):
        return plain(text)
    heads, head = _heads(text)
    alike = text.flag("attention_k_eq_v") or "attention_k_eq_v" not in text.known_keys
    wide_heads = (text.number("num_global_key_value_heads") if alike else None) or heads
    wide = text.number("global_head_dim") or (512 if "global_head_dim" not in text.said else head)
    window = text.number("sliding_window")
    count = layer_count(text)
    found = kinds(text)
    if text.states("layer_types") and count and found[-1] == WINDOW:
        found[-1] = FULL
    caches: dict[str, tuple[Cache, ...]] = {
        FULL: (Attention(wide_heads, wide, wide),),
        WINDOW: (Attention(heads, head, head, window=window),),
        NOTHING: (),
    }
    return [caches.get(kind, ()) for kind in found]


def mimo(text: Configuration) -> list[tuple[Cache, ...]]:
    """MiMo-V2: windows with heads of their own, keys and values of two sizes (`mimo_v2.py`)."""
    count, pattern = layer_count(text), text.numbers("hybrid_layer_pattern")
    if pattern is None:
        found = kinds(text) if text.states("layer_types") else [FULL if i == 0 or (i + 1) % 6 == 0 else WINDOW for i in range(count)]
    elif len(pattern) < count:
        raise Unreadable(f"hybrid_layer_pattern names {len(pattern)} layers of {count}.")
    else:
        found = [WINDOW if windowed == 1 else FULL for windowed in pattern[:count]]
    heads, head = _heads(text)
    value = text.number("v_head_dim") or head
    near_head = text.number("swa_head_dim") or head
    near = Attention(
        text.number("swa_num_key_value_heads") or heads,
        near_head,
        text.number("swa_v_head_dim") or (value if near_head == head else near_head),
        window=text.number("sliding_window_size", "sliding_window"),
    )
    if near.window is None and WINDOW in found:
        raise Unreadable("sliding_window_size is missing: without it nobody can tell what a window keeps.")
    return [(near,) if kind == WINDOW else (Attention(heads, head, value),) for kind in found]


def step(text: Configuration) -> list[tuple[Cache, ...]]:
    """Step 3.5: every other layer has a window where the file does not say which (`step3p5.py`)."""
    count, window = layer_count(text), text.number("sliding_window")
    found = kinds(text) if text.states("layer_types") else [FULL if index % 2 or window is None else WINDOW for index in range(count)]
    heads, head = _heads(text)
    return [(Attention(heads, head, head, window=window if kind == WINDOW else None),) for kind in found]


def searched(text: Configuration) -> list[tuple[Cache, ...]]:
    """Models of a search for architectures (Nemotron-NAS, DeciLM): `block_configs` has each layer's heads, or none (`nemotron_nas.py`)."""
    count, blocks = layer_count(text), text.objects("block_configs")
    if not blocks:
        return plain(text)
    if len(blocks) < count:
        raise Unreadable(f"block_configs names {len(blocks)} layers of {count}.")
    heads, head = text.need("num_attention_heads"), _heads(text)[1]
    found: list[tuple[Cache, ...]] = []
    for index, block in enumerate(blocks[:count]):
        attention = block.inner("attention")
        if attention is None:
            raise Unknown(f"block_configs[{index}] has no attention", ("block_configs",))
        if attention.flag("no_op") or attention.flag("replace_with_linear"):
            found.append(())
            continue
        own = attention.number("num_key_value_heads") or heads // min(heads, attention.need("n_heads_in_group"))
        found.append((Attention(own, head, head),))
    return found


def interleaved(text: Configuration) -> list[tuple[Cache, ...]]:
    """openPangu: windows in turn by `interleaved_sliding_window` (`openpangu.py`)."""
    heads, head = _heads(text)
    stated = text.value("interleaved_sliding_window")
    windows = (
        text.numbers("interleaved_sliding_window") if isinstance(stated, list) else [text.number("interleaved_sliding_window") or 0]
    ) or [0]
    return [(Attention(heads, head, head, window=windows[index % len(windows)] or None),) for index in range(layer_count(text))]


def looped(text: Configuration) -> list[tuple[Cache, ...]]:
    """IQuest-LoopCoder: each layer runs several times, with a cache of its own, and a window from the second time on
    (`iquest_loopcoder.py`)."""
    heads, head = _heads(text)
    times, window = text.number("loop_num") or 2, text.number("loop_window_size") or 64
    if times > 100:
        raise Unreadable(f"loop_num is {times}; no model runs its layers more than 100 times.")
    again = Attention(heads, head, head, window=window)
    return [(Attention(heads, head, head), *[again] * (times - 1))] * layer_count(text)


def recurring(text: Configuration) -> list[tuple[Cache, ...]]:
    """HRM-Text: two stacks that run in turn, one of them several times, and each run has a cache of its own (`hrm_text.py`). Older files
    give the layers of one stack as `num_hidden_layers` (`transformers`, `configuration_hrm_text.py`)."""
    heads, head = _heads(text)
    runs = (text.number("H_cycles") or 2) * ((text.number("L_cycles") or 3) + 1)
    count = (text.number("num_layers_per_stack") or layer_count(text)) * runs
    if count > 10_000:
        raise Unreadable(f"H_cycles and L_cycles run {count:,} layers; no model has more than 10,000.")
    return [(Attention(heads, head, head),)] * count


def patterned(text: Configuration) -> list[tuple[Cache, ...]]:
    """PLaMo 3: windows but in every so many layers, or as `interleaved_sliding_window` has them (`plamo3.py`)."""
    heads, head = _heads(text)
    listed = text.value("interleaved_sliding_window")
    if isinstance(listed, list):
        stated = Configuration({"interleaved_sliding_window": [value or 0 for value in listed]}, text.inside)
        windows = stated.numbers("interleaved_sliding_window") or []
        if len(windows) < layer_count(text):
            raise Unreadable(f"interleaved_sliding_window names {len(windows)} layers of {layer_count(text)}.")
        return [(Attention(heads, head, head, window=size or None),) for size in windows[: layer_count(text)]]
    window, every = text.number("window_size") or text.number("sliding_window"), text.number("sliding_window_pattern") or 8
    if window is None:
        raise Unreadable("window_size is missing: without it nobody can tell what a window keeps.")
    return [(Attention(heads, head, head, window=window if (index + 1) % every else None),) for index in range(layer_count(text))]


def sparse(text: Configuration) -> list[tuple[Cache, ...]]:
    """MiniMax-M3: an index of 16 bits beside the keys and values of sparse layers (`vllm/models/minimax_m3/`)."""
    heads, head = _heads(text)
    config = text.inner("sparse_attention_config")
    chosen = (config.numbers("sparse_attention_freq") if config is not None else None) or []
    index = Latent(2 * config.need("sparse_index_dim"), index=True) if config is not None and chosen else None
    attention = Attention(heads, head, head)
    return [
        (attention, index) if index is not None and place < len(chosen) and chosen[place] else (attention,)
        for place in range(layer_count(text))
    ]


def encoded(text: Configuration) -> list[tuple[Cache, ...]]:
    """Whisper: a decoder's own keys and values, and those of the encoder's output (`whisper.py`)."""
    heads = text.need("decoder_attention_heads")
    head = text.need("hidden_size") // heads
    count = text.need("decoder_layers")
    if count > 10_000:
        raise Unreadable(f"decoder_layers is {count:,}; no model has more than 10,000.")
    return [(Attention(heads, head, head), Cross(heads, head))] * count


FAMILIES: Mapping[str, Callable[[Configuration], list[tuple[Cache, ...]]]] = {
    "PanguEmbedded": interleaved,
    "deci": searched,
    "diffusion_gemma_text": gemma4,
    "gemma4_text": gemma4,
    "gemma4_unified_text": gemma4,
    "hrm_text": recurring,
    "iquestloopcoder": looped,
    "mimo_v2": mimo,
    "mimo_v2_flash": mimo,
    "minimax_m3": sparse,
    "minimax_m3_vl_text": sparse,
    "nemotron-nas": searched,
    "pangu_embedded": interleaved,
    "plamo3": patterned,
    "step3p5": step,
    "whisper": encoded,
}
