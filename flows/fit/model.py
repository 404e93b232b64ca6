"""A model as its configuration describes it; read when it is asked for, and what is wrong with it is told then."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from flows.fit.configuration import Configuration
from flows.fit.context import default_context, longest_context
from flows.fit.errors import Unreadable
from flows.fit.layers import Shape
from flows.fit.reading import architecture, read_shape
from flows.fit.settings import Settings
from flows.fit.weights import Stored, gpu_weights_bytes, rope_bytes


@dataclass(frozen=True)
class ConfiguredModel:
    """What can be told of a model by its `config.json`.

    Attributes:
        document: The configuration.
    """

    document: Mapping[str, Any] = field(repr=False)

    @cached_property
    def _read(self) -> Shape | Unreadable:
        try:
            shape = read_shape(self.document)
            # What these read may be nonsense as well, and is told in the same place.
            longest_context(self.document)
            rope_bytes(Configuration(self.document).text(), 2)
            return shape
        except Unreadable as exc:
            return exc

    @property
    def shape(self) -> Shape | None:
        """What its layers keep; none if that cannot be told."""
        return self._read if isinstance(self._read, Shape) else None

    @property
    def problem(self) -> Unreadable | None:
        """Why it cannot be told; none if it can."""
        return self._read if isinstance(self._read, Unreadable) else None

    def known_shape(self) -> Shape:
        """What its layers keep.

        Raises:
            Unreadable: It cannot be told.
        """
        if isinstance(self._read, Unreadable):
            raise self._read
        return self._read

    @property
    def architecture(self) -> str:
        """The class that implements it; empty if none is named."""
        return architecture(self.document)

    def longest_context(self) -> int | None:
        """Tokens that it may be served with at the most; none if the file does not say, or says nonsense (`problem` tells of that)."""
        try:
            return longest_context(self.document)
        except Unreadable:
            return None

    def default_context(self) -> int:
        """The context that vLLM serves it with where nobody says."""
        return default_context(self.document)

    def weights_bytes(self, stored: Stored, settings: Settings) -> int:
        """What its weights take of the GPU that holds most.

        Raises:
            Unreadable: The configuration says nonsense.
        """
        return gpu_weights_bytes(stored, self.document, settings)

    @property
    def attention_heads(self) -> int | None:
        """Its query heads; none if the file does not say."""
        try:
            return Configuration(self.document).text().number("num_attention_heads")
        except Unreadable:
            return None

    def divides(self, parallel: int) -> bool:
        """Whether its heads can be shared evenly between so many GPUs, KV heads possibly as copies."""
        heads, shared = self.attention_heads, self.shape.kv_heads if self.shape is not None else frozenset()
        evenly = all(number % parallel == 0 or parallel % number == 0 for number in shared)
        return evenly and (heads is None or heads % parallel == 0)


@lru_cache(maxsize=64)
def read_model(configuration: str) -> ConfiguredModel:
    """The model that a configuration, as text, describes."""
    found = json.loads(configuration) if configuration else {}
    return ConfiguredModel(found if isinstance(found, dict) else {})


#: Parts of a configuration that are no configurations of their own.
_NOT_OF_A_MODEL = ("quantization_config", "compression_config")


def overridden(model: ConfiguredModel, overrides: Mapping[str, Any]) -> ConfiguredModel:
    """The model with other keys in its configuration, as `--hf-overrides` change it.

    A part that is a configuration of its own (`text_config`) is changed key by key, any other object is replaced as a whole
    (`ModelConfig._apply_dict_overrides`, `vllm/config/model.py`, 0.32.0).
    """
    found = dict(model.document)
    for key, value in overrides.items():
        inner = found.get(key) if key.endswith("_config") and key not in _NOT_OF_A_MODEL else None
        found[key] = _merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return ConfiguredModel(found) if overrides else model


def _merged(document: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(document)
    for key, value in overrides.items():
        inner = found.get(key)
        found[key] = _merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return found
