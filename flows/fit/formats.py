"""How many bytes the numbers of a KV cache take, for every `--kv-cache-dtype` of vLLM 0.32.0.

The sources: `CacheDType` (`vllm/config/cache.py`), `STR_DTYPE_TO_TORCH_DTYPE` and `nvfp4_kv_cache_full_dim` (`vllm/utils/torch_utils.py`),
and what the kernels make of it: `customize_spec` of `triton_attn.py`, `flashinfer.py`, `turboquant_attn.py` and `ultraquant_attn.py`
(`vllm/v1/attention/backends/`), `TurboQuantConfig` (`vllm/model_executor/layers/quantization/turboquant/config.py`), and for latents
`_canonicalize_sparse_mla_kv_cache_dtype` (`vllm/model_executor/layers/attention/mla_attention.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

#: Every value that vLLM takes, with the bytes of one stored number; packed ones are worked out below.
CACHE_DTYPES = {
    "float16": 2, "bfloat16": 2,
    "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1, "fp8_inc": 1, "fp8_ds_mla": 1, "nvfp4_ds_mla": 1,
    "turboquant_k8v4": 1, "turboquant_4bit_nc": 1, "turboquant_k3v4_nc": 1, "turboquant_3bit_nc": 1, "ultraquant_4bit": 1,
    "int4_per_token_head": 1, "int8_per_token_head": 1, "fp8_per_token_head": 1,
    "nvfp4": 1, "nvfp4_4over6": 1,
}  # fmt: skip

#: Bits of a key and of a value, by TurboQuant's preset.
_TURBO = {"turboquant_k8v4": (8, 4), "turboquant_4bit_nc": (4, 4), "turboquant_k3v4_nc": (3, 4), "turboquant_3bit_nc": (3, 3)}

#: Bytes of a token's latent in the two formats of DeepSeek's kernels: numbers, scales and RoPE part are one row.
_DEEPSEEK_ROWS = {"fp8_ds_mla": 656, "nvfp4_ds_mla": 352}


@dataclass(frozen=True, slots=True)
class Format:
    """A type of KV cache.

    Attributes:
        name: vLLM's name of it; `auto` for the engine's own type.
        bytes: Bytes of one number, where numbers are not packed.
    """

    name: str
    bytes: int

    @property
    def quantised(self) -> bool:
        """Whether it is smaller than the engine's type."""
        return self.name not in ("auto", "float16", "bfloat16", "float32")

    def head_bytes(self, key: int, value: int) -> int:
        """Bytes of one token's key and value of one head."""
        if self.name.endswith("_per_token_head"):  # a scale of 32 bits for each
            halved = 2 if self.name.startswith("int4") else 1
            return key // halved + value // halved + 8
        if self.name.startswith("nvfp4") and self.name != "nvfp4_ds_mla":  # 4 bits, and a scale of 8 for each 16
            return (key // 2 + key // 16) + (value // 2 + value // 16)
        if self.name in _TURBO:
            bits, value_bits = _TURBO[self.name]
            keys = key if bits == 8 else -(-key * bits // 8) + 2
            total = keys + -(-key * value_bits // 8) + 4
            return total + total % 2
        if self.name == "ultraquant_4bit":  # 4 bits, and a scale of 8 for each 32
            return 2 * (key // 2 + -(-key // 32))
        return (key + value) * self.bytes

    def latent_bytes(self, size: int, *, sparse: bool) -> int:
        """Bytes of one token's latent; sparse kernels keep 8 bits as DeepSeek's rows."""
        if self.name in _DEEPSEEK_ROWS:
            return _DEEPSEEK_ROWS[self.name]
        if sparse and self.quantised:
            return _DEEPSEEK_ROWS["fp8_ds_mla"]
        return size * self.bytes


def cache_format(asked: str, dtype: str) -> Format:
    """The type that `--kv-cache-dtype` asks for, in an engine of this type."""
    if asked == "auto" or asked not in CACHE_DTYPES:
        return Format("auto", 4 if dtype == "float32" else 2)
    if asked in ("float16", "bfloat16"):
        return Format("auto", 2)
    return Format(asked, CACHE_DTYPES[asked])
