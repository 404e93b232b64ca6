"""What `adapter_config.json` says, as PEFT writes it. Whoever wrote it is not trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from flows.errors import Refusal
from flows.text import listed

#: Initial weights that are no part of the base afterwards: such an adapter is a plain one (`PEFTHelper._init_is_supported`).
_PLAIN_BEGINNINGS = frozenset({"gaussian", "eva", "orthogonal", "mica", "lora_ga"})

#: What PEFT knows beside plain LoRA and vLLM 0.32.0 refuses by name (`vllm/lora/peft_helper.py`): the key, and what it is called.
_UNKNOWN_KINDS = (
    ("use_dora", "DoRA (use_dora)"),
    ("lora_bias", "biases of its own (lora_bias)"),
    ("alora_invocation_tokens", "activated LoRA (alora_invocation_tokens)"),
    ("layer_replication", "layers that are there twice (layer_replication)"),
    ("use_bdlora", "block-diagonal LoRA (use_bdlora)"),
    ("use_qalora", "QALoRA (use_qalora)"),
)

#: What is shown of a stranger's text.
_MOST_SHOWN = 120


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """What an adapter says of itself.

    Attributes:
        rank: Its rank, `r`.
        ranks: Ranks of single modules, by the ends of their names (`rank_pattern`).
        base: The base that it was made for, as its author called it; empty if it does not say.
    """

    rank: int
    ranks: Mapping[str, int]
    base: str

    @property
    def largest_rank(self) -> int:
        """The largest rank of any module."""
        return max((self.rank, *self.ranks.values()))


def read_configuration(document: Mapping[str, Any], repository: str) -> tuple[AdapterConfig | None, list[Refusal]]:
    """What the file says, and everything in it that no engine can serve.

    Args:
        document: The file.
        repository: Whose it is, for messages.

    Returns:
        The configuration, none if it has no usable rank; and the refusals.
    """
    refusals = [Refusal(f"{repository} is no adapter that can be served: {why}.") for why in _problems(document)]
    rank = document.get("r")
    if not _is_rank(rank):
        return None, refusals
    ranks = document.get("rank_pattern") or {}
    base = document.get("base_model_name_or_path")
    known = {key: value for key, value in ranks.items() if _is_rank(value)} if isinstance(ranks, dict) else {}
    return AdapterConfig(rank=rank, ranks=known, base=base[:_MOST_SHOWN] if isinstance(base, str) else ""), refusals


def _problems(document: Mapping[str, Any]) -> list[str]:
    found = []
    kind = document.get("peft_type")
    # vLLM loads other kinds as if they were LoRA where the tensors' names allow it.
    if kind != "LORA":
        found.append(f"its adapter_config.json says peft_type {_shown(kind)}, and only LORA is known")
    missing = [key for key in ("r", "lora_alpha", "target_modules") if document.get(key) is None]
    if missing:
        found.append(f"its adapter_config.json lacks {listed(missing)}")
    if "r" not in missing and not _is_rank(document["r"]):
        found.append(f"its rank r is {_shown(document['r'])}, which is no positive whole number")
    ranks = document.get("rank_pattern") or {}
    if not isinstance(ranks, dict) or not all(map(_is_rank, ranks.values())):
        found.append("its rank_pattern gives a rank that is no positive whole number")
    found += [f"it uses {name}, which vLLM does not" for key, name in _UNKNOWN_KINDS if document.get(key)]
    if document.get("bias", "none") != "none":
        found.append(f"it has trained biases (bias: {_shown(document['bias'])}), which vLLM does not apply")
    whole = document.get("modules_to_save")
    if whole:
        names = [str(name)[:_MOST_SHOWN] for name in whole] if isinstance(whole, list) else [_shown(whole)]
        found.append(f"it replaces whole modules ({listed(names)} in modules_to_save), which vLLM does for no language model")
    beginning = document.get("init_lora_weights", True)
    if isinstance(beginning, str) and beginning.lower() not in _PLAIN_BEGINNINGS:
        found.append(
            f"it was begun by {_shown(beginning)} (init_lora_weights), which changes the base's weights, too: convert it to a plain adapter"
        )
    return found


def _is_rank(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 65_536


def _shown(value: object) -> str:
    return repr(value)[:_MOST_SHOWN]
