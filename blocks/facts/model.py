"""What a model was seen to be: plain frozen data that the hub block returns and decisions are made of. No I/O here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What a model's `config.json` says.

    Attributes:
        architecture: The class that implements it, for example `LlamaForCausalLM`; empty if it names none.
        dtype: The type that it was trained in, for example `bfloat16`.
        quantisation: The method by which its weights were made smaller; none if they were not.
        configuration: The file itself, as JSON; empty of candidates that were read before it was kept.
    """

    architecture: str
    dtype: str
    quantisation: str | None
    configuration: str = ""


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
