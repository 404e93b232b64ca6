"""Which layers look at everything, which at a window, which keep a state: in `transformers`' words, under all the names that files have."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flows.fit.configuration import Configuration
from flows.fit.errors import Unknown, Unreadable

FULL, WINDOW, CHUNK, STATE, NOTHING = "full", "window", "chunk", "state", "nothing"

#: Values of `layer_types` in `transformers` 5.24 and before.
_NAMED = {
    "full_attention": FULL, "attention": FULL,
    "sliding_attention": WINDOW, "local_attention": WINDOW,
    "chunked_attention": CHUNK,
    "linear_attention": STATE, "mamba": STATE, "conv": STATE,
    "moe": NOTHING, "mlp": NOTHING,
}  # fmt: skip

#: Families whose layers vLLM builds without their `layer_types`: a window only counts where all layers have it (`create_engine_config`,
#: `vllm/engine/arg_utils.py`, and the families' files, which pass no window on).
_WITHOUT_TYPES = frozenset({
    "qwen2", "qwen2_moe", "qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text", "qwen3", "qwen3_moe", "qwen3_vl_text",
    "qwen3_vl_moe_text",
    "dots1", "deepseek_ocr2_text",
})  # fmt: skip

#: Families whose window counts only with `use_sliding_window`, as `transformers` says of them.
_SWITCHED = _WITHOUT_TYPES | {"qwen2_5_omni_text", "smollm3"}


def layer_count(text: Configuration) -> int:
    """How many layers the model has.

    Raises:
        Unreadable: The file does not say, or more than any model has.
    """
    count = text.need("num_hidden_layers")
    if count > 10_000:
        raise Unreadable(f"num_hidden_layers is {count:,}; no model has more than 10,000.")
    return count


def kinds(text: Configuration) -> list[str]:
    """The kind of each layer.

    Raises:
        Unknown: A word in `layer_types` is not known.
    """
    count = layer_count(text)
    window = text.number("sliding_window")
    # Families with code of their own, which say so themselves, take it over from Qwen 2 (MiMo, MiniCPM-o).
    switched = text.model_type in _SWITCHED or (not text.known_keys and text.states("use_sliding_window"))
    if switched and not text.flag("use_sliding_window"):
        window = None
    if text.model_type == "gpt_oss":  # by number, whatever its `layer_types` say (`gpt_oss.py`)
        return [WINDOW if index % 2 == 0 and window else FULL for index in range(count)]
    named = _named(text, count)
    if named is None:
        rule = RULES.get(text.model_type)
        found = rule(text, count) if rule is not None else [WINDOW if window else FULL] * count
    else:
        found = named
        if text.model_type in _WITHOUT_TYPES and set(named) == {FULL, WINDOW}:
            found = [FULL] * count
    if text.number("attention_chunk_size") is None:
        found = [FULL if kind == CHUNK else kind for kind in found]
    if WINDOW in found and window is None:
        found = [FULL if kind == WINDOW else kind for kind in found]
    shared = text.number("num_kv_shared_layers") or 0
    # The last layers use what the layers before them keep (`gemma3n.py`, `gemma4.py`).
    return [*found[: max(0, count - shared)], *[NOTHING] * min(shared, count)] if shared < count else found


def _named(text: Configuration, count: int) -> list[str] | None:
    for key in ("layer_types", "layers_block_type"):
        words = text.words(key)
        if words is None:
            continue
        if len(words) < count:
            raise Unreadable(f"{text.inside}{key} names {len(words)} layers of {count}.")
        found = []
        for word in words[:count]:
            if word not in _NAMED:
                raise Unknown(f"{text.inside}{key} has layers of the kind {word[:40]!r}, which is not known here", (key,))
            found.append(_NAMED[word])
        return found
    return None


def every(number: int, key: str = "", *, last: bool = False, kind: str = WINDOW) -> Callable[[Configuration, int], list[str]]:
    """A rule: every so many layers look at everything, the others at less.

    Args:
        number: How many, where the file does not say.
        key: Where it may say: a number, or a word such as `LLLG`.
        last: Whether the last layer looks at everything, too.
        kind: What the others are.
    """

    def rule(text: Configuration, count: int) -> list[str]:
        said = text.word(key) if key else ""
        period = len(said) if said else (text.number(key) if key else None) or number
        found = [kind if (index + 1) % period else FULL for index in range(count)]
        if last and found:
            found[-1] = FULL
        return found

    return rule


def _first_of(number: int) -> Callable[[Configuration, int], list[str]]:
    return lambda _, count: [WINDOW if index % number else FULL for index in range(count)]


def _switched(text: Configuration, count: int) -> list[str]:
    """Qwen2 and its like: windows from `max_window_layers` on, if all layers have them; vLLM refuses a mixture, and builds full layers."""
    first = text.number("max_window_layers") or 0
    windowed = text.flag("use_sliding_window") and text.number("sliding_window") is not None and first == 0
    return [WINDOW if windowed else FULL] * count


def _unrotated(text: Configuration, count: int) -> list[str]:
    """Llama 4: layers with RoPE look at chunks, every fourth has none (`llama4.py`)."""
    stated = text.numbers("no_rope_layers")
    if stated is not None and len(stated) < count:
        raise Unreadable(f"{text.inside}no_rope_layers names {len(stated)} layers of {count}.")
    period = text.number("no_rope_layer_interval") or 4
    rotated = stated or [int((index + 1) % period != 0) for index in range(count)]
    return [CHUNK if rotated[index] else FULL for index in range(count)]


def _smollm(text: Configuration, count: int) -> list[str]:
    stated, period = text.numbers("no_rope_layers"), text.number("no_rope_layer_interval") or 4
    rotated = stated if stated and len(stated) >= count else [int((index + 1) % period != 0) for index in range(count)]
    windowed = text.flag("use_sliding_window")
    return [WINDOW if windowed and not rotated[index] else FULL for index in range(count)]


def _dense_first(text: Configuration, count: int) -> list[str]:
    """Cohere 2 MoE: the dense layers at the beginning have a period of their own (`transformers`, `configuration_cohere2_moe.py`)."""
    dense = min(text.number("first_k_dense_replace") or 0, count)
    first, rest = text.number("prefix_dense_sliding_window_pattern") or 1, text.number("sliding_window_pattern") or 4
    prefix = [WINDOW if (index + 1) % first else FULL for index in range(dense)]
    return prefix + [WINDOW if (index + 1) % rest else FULL for index in range(count - dense)]


def _all_full(_: Configuration, count: int) -> list[str]:
    return [FULL] * count


#: What layers are where the file does not say, as `transformers` 5.24 fills it in (`configuration_*.py` of the family).
RULES: Mapping[str, Callable[[Configuration, int], list[str]]] = {
    "afmoe": every(4, "global_attn_every_n_layers"),
    "apertus": _all_full,
    "cohere2": every(4, "sliding_window_pattern"),
    "cohere2_moe": _dense_first,
    "cwm": _first_of(4),
    "exaone4": every(4, "sliding_window_pattern"),
    "exaone_moe": every(4, "sliding_window_pattern"),
    "gemma2": every(2),
    "gemma3": every(6, "sliding_window_pattern"),
    "gemma3_text": every(6, "sliding_window_pattern"),
    "gemma3n_text": every(5),
    "gemma4_text": every(6, last=True),
    "gemma4_unified_text": every(6, last=True),
    "diffusion_gemma_text": every(6, last=True),
    "granite_swa": _first_of(4),
    "granitemoe_swa": _first_of(4),
    "laguna": _all_full,
    "llama4_text": _unrotated,
    "mellum": _all_full,
    "minimax_m2": _all_full,
    "ministral": lambda text, count: [WINDOW if text.number("sliding_window") else FULL] * count,
    "olmo3": every(4),
    "rnj1": every(4, "sliding_window_pattern"),
    "smollm3": _smollm,
    "vaultgemma": every(2),
    **dict.fromkeys(_WITHOUT_TYPES, _switched),
}
