"""From a configuration to the caches of its layers: which architecture keeps what, as vLLM 0.32.0 builds it.

Each rule names the file of `vllm/model_executor/models/` (or `vllm/models/`) that it is of. What a file says that no rule knows is never
read as "all heads, all layers full": `Unknown` names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flows.fit import latents, recurrent, unusual
from flows.fit.configuration import Configuration
from flows.fit.errors import Unknown
from flows.fit.heads import attention_heads, head_size, kv_heads
from flows.fit.layers import Cache, Shape
from flows.fit.plain import plain
from flows.fit.precision import cache_type, published_type

#: Families whose layers keep something else than keys and values by head, by `model_type`.
SPECIAL: Mapping[str, Callable[[Configuration], list[tuple[Cache, ...]]]] = {**latents.FAMILIES, **recurrent.FAMILIES, **unusual.FAMILIES}

#: Files without a `model_type`, only with code of their own (`_ARCHITECTURE_TO_MODEL_TYPE`, `vllm/transformers_utils/config.py`).
_ARCHITECTURES = {"LongcatFlashForCausalLM": "longcat_flash", "LongcatFlashNgramForCausalLM": "longcat_flash"}

#: Families with caches that nobody has taught this program yet.
UNTAUGHT = frozenset({
    "axk2", "bamba", "deepseek_v41", "dots3_note", "glm5_next", "glm5_next_text", "inkling", "inkling_text", "inkling_mm_model",
    "inkling_model", "minimax", "mistral4", "mllama_text_model", "muse_glimmer", "muse_glimmer_text", "nemotron_h_puzzle", "qwen4_exp",
    "qwen4_exp_text", "recurrent_gemma", "unlimited_ocr", "unlimited-ocr", "xlstm", "zamba",
})  # fmt: skip


def read_shape(document: Mapping[str, Any]) -> Shape:
    """The model that a configuration describes.

    Raises:
        Unreadable: It says nonsense, or lacks what a model must have.
        Unknown: It says something that may change what layers keep, and that is not known here.
    """
    outer = Configuration(document, model_type=_ARCHITECTURES.get(architecture(document), ""))
    text = outer.text()
    family = text.model_type
    if family in UNTAUGHT or outer.model_type in UNTAUGHT:
        raise Unknown(f"what {architecture(document) or family} keeps of a request is not known here", (family,))
    layers = SPECIAL.get(family, plain)(text)
    caches = [cache for found in layers for cache in found]
    return Shape(
        layers=tuple(layers),
        heads=1 if latents.on_latent(text) else kv_heads(text) or 0,
        head=latents.size(text) if latents.on_latent(text) else head_size(text) or 0,
        attention_heads=attention_heads(text),
        latent=latents.on_latent(text),
        dtype=published_type(outer, text),
        cache=cache_type(outer, text, latent=latents.on_latent(text)),
        states_only=family in recurrent.WITHOUT_ATTENTION,
        encoder=family in unusual.WITH_ENCODER,
        kernel_block=latents.kernel_block(text, caches),
        packed=family == "deepseek_v4",
        guessing=text.number("num_nextn_predict_layers", "mtp_num_hidden_layers") or 0,
    )


def architecture(document: Mapping[str, Any]) -> str:
    """The class that implements the model; empty if the file names none."""
    named = document.get("architectures")
    return named[0][:80] if isinstance(named, list) and named and isinstance(named[0], str) else ""
