"""The arithmetic of the sandbox's small models: random features of the last bytes and a linear read-out.

The tensors carry Llama's names and the configuration carries Llama's keys, so that planners and memory estimates read them like a
real model; the arithmetic is much smaller. Layer `k` projects the embedding of the token `k` places back, the sum goes through
`tanh`, and the head reads the next token out of that. Not emulated: attention, normalisation, positions beyond the window.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

EMBEDDING = "model.embed_tokens.weight"
NORM = "model.norm.bias"
HEAD = "lm_head.weight"
HEAD_BIAS = "lm_head.bias"


def layer_name(layer: int) -> str:
    """Return the name of the tensor of one layer; layer 0 sees the latest token."""
    return f"model.layers.{layer}.mlp.up_proj.weight"


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes that `config.json` states: `window` is the number of layers, `features` the intermediate size."""

    vocabulary: int
    hidden: int
    features: int
    window: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shape:
        """Read the sizes from a model's configuration.

        Raises:
            KeyError: The configuration lacks one of them.
        """
        return cls(
            vocabulary=int(config["vocab_size"]),
            hidden=int(config["hidden_size"]),
            features=int(config["intermediate_size"]),
            window=int(config["num_hidden_layers"]),
        )

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Return the name and shape of every tensor that the model must have."""
        layers: dict[str, tuple[int, ...]] = {layer_name(layer): (self.features, self.hidden) for layer in range(self.window)}
        return {
            EMBEDDING: (self.vocabulary, self.hidden),
            **layers,
            NORM: (self.features,),
            HEAD: (self.vocabulary, self.features),
            HEAD_BIAS: (self.vocabulary,),
        }


class Network:
    """A loaded model that answers with log-probabilities.

    Args:
        shape: The sizes; every tensor must have the shape that `shape.tensors()` gives it.
        tensors: The weights as float32.
    """

    def __init__(self, shape: Shape, tensors: Mapping[str, Floats]) -> None:
        self.shape = shape
        # One more row of zeros stands for "before the beginning".
        self._embedding = np.vstack([tensors[EMBEDDING], np.zeros((1, shape.hidden), np.float32)])
        self._projection = np.ascontiguousarray(np.hstack([tensors[layer_name(layer)] for layer in range(shape.window)]).T)
        self._offset = tensors[NORM]
        self._head = np.ascontiguousarray(tensors[HEAD].T)
        self._head_bias = tensors[HEAD_BIAS]

    def window(self, tokens: Sequence[int]) -> list[int]:
        """Return the last tokens, the latest first, padded with "before the beginning"."""
        recent = list(tokens[-self.shape.window :])[::-1]
        return recent + [self.shape.vocabulary] * (self.shape.window - len(recent))

    def activations(self, windows: Sequence[Sequence[int]]) -> Floats:
        """Return the features of each window, shape (windows, features)."""
        embedded = self._embedding[np.asarray(windows)].reshape(len(windows), -1)
        activations: Floats = np.tanh(embedded @ self._projection + self._offset)
        return activations

    def logits(self, tokens: Sequence[int]) -> Floats:
        """Return the logits of the token that follows, shape (vocabulary,)."""
        logits: Floats = self.activations([self.window(tokens)])[0] @ self._head + self._head_bias
        return logits

    def prompt_logits(self, tokens: Sequence[int]) -> Floats:
        """Return the logits that precede each token but the first, shape (tokens - 1, vocabulary)."""
        windows = [self.window(tokens[:end]) for end in range(1, len(tokens))]
        if not windows:
            return np.zeros((0, self.shape.vocabulary), np.float32)
        logits: Floats = self.activations(windows) @ self._head + self._head_bias
        return logits


def log_softmax(logits: Floats) -> Floats:
    """Return natural-log probabilities over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result
