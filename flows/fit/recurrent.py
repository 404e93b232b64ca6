"""Models with states: Mamba, linear attention, short convolutions, alone or between layers of attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flows.fit.configuration import Configuration
from flows.fit.errors import Unknown, Unreadable
from flows.fit.heads import head_size, kv_heads
from flows.fit.kinds import FULL, NOTHING, STATE, every, kinds, layer_count
from flows.fit.latents import on_latent, size
from flows.fit.layers import Attention, Cache, Latent, State

#: Families without any attention.
WITHOUT_ATTENTION = frozenset({"mamba", "mamba2", "falcon_mamba"})

#: Characters of Nemotron-H's `hybrid_override_pattern` (`nemotron_h.py`).
_NEMOTRON = {"M": STATE, "*": FULL, "-": NOTHING, "E": NOTHING}


def _attention(text: Configuration) -> Cache:
    if on_latent(text):
        return Latent(size(text))
    heads, head = kv_heads(text), head_size(text)
    if heads is None or head is None:
        text.need("num_attention_heads")
        text.need("hidden_size")
    return Attention(heads or 0, head or 0, head or 0)


def _mixed(text: Configuration, found: list[str], state: State) -> list[tuple[Cache, ...]]:
    attention = _attention(text)
    caches: dict[str, tuple[Cache, ...]] = {FULL: (attention,), STATE: (state,), NOTHING: ()}
    for kind in found:
        if kind not in caches:
            raise Unknown(f"layer_types has a {kind} beside states, which is not known here", ("layer_types",))
    return [caches[kind] for kind in found]


def _stated(text: Configuration) -> bool:
    return text.states("layer_types") or text.states("layers_block_type")


def delta(text: Configuration) -> list[tuple[Cache, ...]]:
    """Gated delta nets between full attention: Qwen3-Next, Qwen3.5, OLMo-Hybrid (`qwen3_next.py`, `qwen3_5.py`, `olmo_hybrid.py`)."""
    count = layer_count(text)
    found = kinds(text) if _stated(text) else every(4, "full_attention_interval", kind=STATE)(text, count)
    key_heads, hidden = text.number("linear_num_key_heads"), text.number("hidden_size")
    if text.model_type == "olmo_hybrid":
        key_heads = key_heads or text.need("num_attention_heads")
        key_dim = text.number("linear_key_head_dim") or int(0.75 * (hidden or 0) / key_heads)
        value_heads, value_dim = text.number("linear_num_value_heads") or key_heads, text.number("linear_value_head_dim") or 2 * key_dim
    else:
        key_heads, key_dim = text.need("linear_num_key_heads"), text.need("linear_key_head_dim")
        value_heads, value_dim = text.need("linear_num_value_heads"), text.need("linear_value_head_dim")
    kernel = text.need("linear_conv_kernel_dim")
    state = State("delta", value_heads * value_dim, value_heads, value_dim, key_dim, key_heads, kernel, text.word("mamba_ssm_dtype"))
    if text.model_type == "olmo_hybrid" and not _stated(text) and FULL not in found:
        found[-1] = FULL
    return _mixed(text, found, state)


def kimi(text: Configuration) -> list[tuple[Cache, ...]]:
    """Kimi-Linear: delta attention between latents, by the numbers of the layers, which begin at 1 (`kimi_linear`,
    `vllm/models/kimi_k3/`)."""
    count, linear = layer_count(text), text.inner("linear_attn_config")
    if linear is None:
        return [(_attention(text),)] * count
    states = set(linear.numbers("kda_layers") or ())
    heads, head = linear.need("num_heads"), linear.need("head_dim")
    state = State("kda", heads * head, heads, head, head, heads, linear.number("short_conv_kernel_size") or 4, "float32")
    return _mixed(text, [STATE if index + 1 in states else FULL for index in range(count)], state)


def bailing(text: Configuration) -> list[tuple[Cache, ...]]:
    """Ling and Ring 2.5: lightning attention, every `layer_group_size` layers full attention on a latent (`bailing_moe_linear.py`)."""
    if text.number("short_conv_kernel_size") is not None:
        raise Unknown("what the third generation of Ling keeps of a request is not known here", ("short_conv_kernel_size",))
    count, group = layer_count(text), text.number("layer_group_size") or 1
    heads = text.need("num_attention_heads")
    head = text.number("head_dim") or text.need("hidden_size") // heads
    return _mixed(
        text, [FULL if (index + 1) % group == 0 else STATE for index in range(count)], State("lightning", heads * head, heads, head)
    )


def mamba(text: Configuration) -> list[tuple[Cache, ...]]:
    """Mamba alone (`mamba.py`)."""
    inner = text.number("intermediate_size") or (text.number("expand") or 2) * text.need("hidden_size")
    return [(State("mamba1", inner, state=text.need("state_size"), kernel=text.need("conv_kernel")),)] * layer_count(text)


def mamba2(text: Configuration) -> list[tuple[Cache, ...]]:
    """Mamba 2 alone (`mamba2.py`)."""
    inner = (text.number("expand") or 2) * text.need("hidden_size")
    state = State(
        "mamba2",
        inner,
        text.need("num_heads"),
        text.need("head_dim"),
        text.need("state_size"),
        text.need("n_groups"),
        text.need("conv_kernel"),
        checkpoints=1,
    )
    return [(state,)] * layer_count(text)


def jamba(text: Configuration) -> list[tuple[Cache, ...]]:
    """Jamba: Mamba, and full attention every so many layers (`jamba.py`)."""
    count = layer_count(text)
    inner = text.need("mamba_expand") * text.need("hidden_size")
    state = State("mamba1", inner, state=text.need("mamba_d_state"), kernel=text.need("mamba_d_conv"))
    period, offset = text.need("attn_layer_period"), text.number("attn_layer_offset") or 0
    found = kinds(text) if _stated(text) else [FULL if index % period == offset else STATE for index in range(count)]
    return _mixed(text, found, state)


def _mamba_named(text: Configuration, inner: int, precision: str = "") -> State:
    """Mamba 2 under the names of Granite and Falcon; vLLM sets one state aside while it reads a prompt (`mamba_mixer2.py`)."""
    heads = text.need("mamba_n_heads")
    head = inner // heads if text.value("mamba_d_head") == "auto" else text.number("mamba_d_head") or inner // heads
    groups, width, kernel = text.need("mamba_n_groups"), text.need("mamba_d_state"), text.need("mamba_d_conv")
    return State("mamba2", inner, heads, head, width, groups, kernel, precision, checkpoints=1)


def granite(text: Configuration) -> list[tuple[Cache, ...]]:
    """Granite 4: Mamba 2 and full attention by `layer_types` (`granitemoehybrid.py`)."""
    count = layer_count(text)
    found = kinds(text) if _stated(text) else [STATE] * count
    if STATE not in found:
        return [(_attention(text),) if kind == FULL else () for kind in found]
    return _mixed(text, found, _mamba_named(text, text.need("mamba_expand") * text.need("hidden_size")))


def falcon(text: Configuration) -> list[tuple[Cache, ...]]:
    """Falcon-H1: a state and full attention in each layer (`falcon_h1.py`)."""
    inner = text.number("mamba_d_ssm") or text.need("mamba_expand") * text.need("hidden_size")
    return [(_mamba_named(text, inner), _attention(text))] * layer_count(text)


def nemotron(text: Configuration) -> list[tuple[Cache, ...]]:
    """Nemotron-H: a pattern of states, attention and layers that keep nothing; states in 32 bits (`nemotron_h.py`, and
    `NemotronHForCausalLMConfig`, `vllm/model_executor/models/config.py`)."""
    pattern = text.value("hybrid_override_pattern")
    if isinstance(pattern, str) and pattern:
        if len(pattern) > 10_000 or not set(pattern) <= set(_NEMOTRON):
            raise Unknown(f"hybrid_override_pattern has other layers than {', '.join(_NEMOTRON)}", ("hybrid_override_pattern",))
        found = [_NEMOTRON[character] for character in pattern]
    elif _stated(text):
        found = _types_of(text)
    else:
        raise Unreadable("hybrid_override_pattern is missing: without it nobody can tell which layers keep a state.")
    heads, head = text.need("mamba_num_heads"), text.need("mamba_head_dim")
    precision = text.word("mamba_ssm_cache_dtype") or "float32"
    groups, width, kernel = text.need("n_groups"), text.need("ssm_state_size"), text.need("conv_kernel")
    return _mixed(text, found, State("mamba2", heads * head, heads, head, width, groups, kernel, precision, checkpoints=1))


def _types_of(text: Configuration) -> list[str]:
    """The layers' kinds where `num_hidden_layers` may be missing, as the list says how many there are."""
    words = text.words("layer_types") or text.words("layers_block_type") or []
    if len(words) > 10_000:
        raise Unreadable(f"layer_types has {len(words):,} entries; that is no model's.")
    return kinds(Configuration({**text.said, "num_hidden_layers": len(words)}, text.inside, text.model_type))


def zamba(text: Configuration) -> list[tuple[Cache, ...]]:
    """Zamba 2: a state in each layer, and in some of them attention twice as wide as the model (`zamba2.py`)."""
    hidden, heads = text.need("hidden_size"), text.need("num_attention_heads")
    inner = text.need("mamba_expand") * hidden
    mamba_heads = text.need("n_mamba_heads")
    state = State(
        "mamba2",
        inner,
        mamba_heads,
        inner // mamba_heads,
        text.need("mamba_d_state"),
        text.need("mamba_ngroups"),
        text.need("mamba_d_conv"),
        checkpoints=1,
    )
    head = 2 * hidden // heads
    words = text.words("layers_block_type") or text.words("layer_types")
    both = {index for index, word in enumerate(words or ()) if word == "hybrid"} | set(text.numbers("hybrid_layer_ids") or ())
    if not both:
        raise Unreadable("hybrid_layer_ids is missing: without it nobody can tell which layers have attention.")
    return [(state, Attention(heads, head, head)) if index in both else (state,) for index in range(layer_count(text))]


def convolution(text: Configuration) -> list[tuple[Cache, ...]]:
    """LFM2: short convolutions and full attention (`lfm2.py`, `lfm2_moe.py`)."""
    count, full = layer_count(text), text.numbers("full_attn_idxs")
    found = kinds(text) if _stated(text) else [FULL if full is None or index in full else STATE for index in range(count)]
    width = (text.number("conv_dim") if text.model_type == "lfm2" else None) or text.need("hidden_size")
    return _mixed(text, found, State("convolution", width, kernel=text.number("conv_L_cache") or 3))


FAMILIES: Mapping[str, Callable[[Configuration], list[tuple[Cache, ...]]]] = {
    "bailing_hybrid": bailing,
    "falcon_h1": falcon,
    "falcon_mamba": mamba,
    "granitemoehybrid": granite,
    "jamba": jamba,
    "kimi_linear": kimi,
    "lfm2": convolution,
    "lfm2_moe": convolution,
    "mamba": mamba,
    "mamba2": mamba2,
    "nemotron_h": nemotron,
    "olmo_hybrid": delta,
    "qwen3_5": delta,
    "qwen3_5_moe": delta,
    "qwen3_5_moe_text": delta,
    "qwen3_5_text": delta,
    "qwen3_next": delta,
    "zamba2": zamba,
}
