"""How many KV heads a layer has and how large they are, under all the names that public configurations have for it."""

from __future__ import annotations

from flows.fit.configuration import Configuration
from flows.fit.errors import Unknown

#: Every name that vLLM reads (`get_total_num_kv_heads`, `vllm/transformers_utils/model_arch_config_convertor.py`, 0.32.0), in its order.
KV_HEADS = ("n_head_kv", "num_kv_heads", "num_key_value_heads", "multi_query_group_num", "num_attention_groups")


def attention_heads(text: Configuration) -> int | None:
    """Query heads of a layer; none if the file does not say."""
    return text.number("num_attention_heads", "decoder_attention_heads")


def kv_heads(text: Configuration) -> int | None:
    """KV heads of a layer; none if the file says neither these nor query heads.

    Falcon's `multi_query` means one, whatever number stands beside it, but for its new decoders (`FalconModelArchConfigConvertor`), as
    does that of GPT-BigCode (`transformers`); ChatGLM's `multi_query_attention: false` means all (`chatglm.py`), and DBRX and MPT keep
    the number in `attn_config` (`DbrxModelArchConfigConvertor`).
    """
    family = text.model_type
    if family in ("falcon", "RefinedWeb", "RefinedWebModel") and text.flag("multi_query") and not text.flag("new_decoder_architecture"):
        return 1
    if family in ("falcon", "RefinedWeb", "RefinedWebModel") and not text.flag("new_decoder_architecture"):
        return attention_heads(text)
    if family == "gpt_bigcode":
        return 1 if text.flag("multi_query") else attention_heads(text)
    if family == "chatglm" and not text.flag("multi_query_attention"):
        return attention_heads(text)
    if family == "step3_text":  # `step3_text.py` takes one, whatever the file says
        return 1
    inner = text.inner("attn_config")
    if inner is not None and inner.number("kv_n_heads"):
        return inner.number("kv_n_heads")
    return text.number(*KV_HEADS) or attention_heads(text)


def head_size(text: Configuration) -> int | None:
    """Numbers of a head, as `get_head_size` (`model_arch_config_convertor.py`, 0.32.0) reads it; none if the file does not say.

    Raises:
        Unknown: Heads do not divide the hidden size, and the file gives no size.
    """
    stated = text.number("head_dim", "hidden_size_per_head")
    if stated is not None:
        return stated
    hidden, heads = text.number("hidden_size"), attention_heads(text)
    if hidden is None or heads is None:
        return None
    if hidden < heads:
        raise Unknown(f"hidden_size {hidden} is less than {heads} attention heads", ("head_dim",))
    return hidden // heads
