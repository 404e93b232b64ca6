"""What a model was seen to be: plain frozen data that the hub block returns and decisions are made of. No I/O here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class AttentionLayers:
    """Layers of a model that keep the same of each token that they saw.

    Attributes:
        layers: How many they are.
        values: Numbers that one layer keeps of one token, over all its heads.
        heads: KV heads that share `values` evenly; tensor parallelism divides them, and copies what it cannot divide.
        window: How many tokens a layer looks back; none for all of them.
    """

    layers: int
    values: int
    heads: int
    window: int | None = None


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What a model's `config.json` says of its shape.

    Attributes:
        architecture: The class that implements it, for example `LlamaForCausalLM`; empty if it names none.
        dtype: The type that it was trained in, for example `bfloat16`.
        quantisation: The method by which its weights were made smaller; none if they were not.
        attention_heads: Query heads of a layer; none if it does not say.
        attention: What its layers keep of each token; empty where that cannot be told from the file.
        state_values: Numbers that its linear-attention layers keep of one request, however long that is.
        max_context: The longest context that it was made for, in tokens, with its RoPE scaling; none if it does not say.
        guessing_layers: Layers beyond those that guess tokens ahead (multi-token prediction); 0 where it tells of none.
    """

    architecture: str
    dtype: str
    quantisation: str | None
    attention_heads: int | None
    attention: tuple[AttentionLayers, ...]
    state_values: int
    max_context: int | None
    guessing_layers: int = 0


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What a hub commit says of its model, read from its listing, its configuration and the headers of its weights.

    Attributes:
        config: The model's shape.
        stored: Type of the stored numbers, in safetensors' names (`BF16`, `F8_E4M3`, …) → how many there are.
        weights_bytes: Bytes of all tensors as they are stored.
        formats: Formats of weights that lie in the repository, by suffix without the dot.
        licences: Its licences, as in `HubCommit`.
        gated: Whether its terms had to be accepted.
        remote_code: What asks for code of the repository to be run: files, or `FILE (auto_map)`. Empty if nothing does.
        foreign_code: Repositories whose code its configuration asks for besides.
    """

    config: ModelConfig
    stored: Mapping[str, int]
    weights_bytes: int
    formats: tuple[str, ...]
    licences: tuple[str, ...]
    gated: bool
    remote_code: tuple[str, ...] = ()
    foreign_code: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """Stored numbers: the parameters, where weights are not packed by quantisation."""
        return sum(self.stored.values())

    @property
    def dtype(self) -> str:
        """The type of most stored numbers."""
        return max(self.stored, key=lambda name: self.stored[name], default="")
