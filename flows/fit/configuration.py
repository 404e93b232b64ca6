"""`config.json`, read with care: whoever wrote it is not trusted, and `transformers` fills in what it leaves out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from flows.fit.errors import Unreadable

#: Largest configuration that is read; real ones have kilobytes.
MOST_BYTES = 8 * 2**20

#: Larger numbers than any model has: they are nonsense, and sums with them would be too.
_MOST = 2**40

#: Where files with more than text keep the part about the language model, outermost first. `transformers` knows `text_config` and
#: `thinker_config` (Omni); vLLM's own configurations (`vllm/transformers_utils/configs/`, 0.32.0) the others.
INNER = ("thinker_config", "text_config", "llm_config", "language_config", "language_model_config", "lm_config")

#: Names that configurations before `transformers` 5 have for the same; what the `model_type` says itself comes from its data.
_NAMES = {
    "num_hidden_layers": ("num_layers", "n_layer", "n_layers"),
    "num_attention_heads": ("n_head", "n_heads", "num_heads"),
    "hidden_size": ("n_embd", "d_model"),
}


def read_document(content: bytes, name: str) -> dict[str, Any]:
    """The JSON object that a configuration holds.

    Args:
        content: The file.
        name: What to call it in errors.

    Raises:
        Unreadable: It is too large, no JSON, or no object.
    """
    if len(content) > MOST_BYTES:
        raise Unreadable(f"{name} has {len(content):,} bytes; a configuration has {MOST_BYTES:,} at most.")
    try:
        document = json.loads(content)
    # RecursionError: brackets that are nested a thousand deep are JSON, too. ValueError: also numbers of more than 4,300 digits.
    except (ValueError, RecursionError) as exc:
        raise Unreadable(f"{name} is not JSON.") from exc
    if not isinstance(document, dict):
        raise Unreadable(f"{name} holds no JSON object.")
    return document


@cache
def _published() -> Mapping[str, Mapping[str, Any]]:
    document: dict[str, Mapping[str, Any]] = json.loads(files("flows.fit").joinpath("transformers.json").read_text(encoding="utf-8"))[
        "types"
    ]
    return document


class Configuration:
    """A mapping of a configuration, with the defaults of its `model_type`.

    A getter raises `Unreadable` where the file says nonsense: a sentence that names the key and what it should be.
    """

    def __init__(self, said: Mapping[str, Any], inside: str = "", model_type: str = "") -> None:
        named = said.get("model_type")
        #: What the file itself says.
        self.said = said
        #: Where in the file that is, with a dot behind it.
        self.inside = inside
        #: The `model_type`, as the file or the one around it says.
        self.model_type = named[:80] if isinstance(named, str) and named else model_type
        published = _published().get(self.model_type, {})
        self._defaults: Mapping[str, Any] = published.get("defaults", {})
        self._aliases: Mapping[str, Sequence[str]] = published.get("names", {})
        #: Keys that this `model_type` is published with.
        self.known_keys: frozenset[str] = frozenset(published.get("keys", ()))

    def text(self) -> Configuration:
        """The part about the language model; itself where there is no other."""
        for name in INNER:
            inner = self.said.get(name)
            if isinstance(inner, dict) and inner:
                kinds: Mapping[str, str] = _published().get(self.model_type, {}).get("inner", {})
                found = Configuration(inner, f"{self.inside}{name}.", kinds.get(name, "")).text()
                if found.states("num_hidden_layers") or not self.states("num_hidden_layers"):
                    return found
        kinds = _published().get(self.model_type, {}).get("inner", {})
        for name in INNER:
            # A file of a model with more than text that leaves its text part out, or lays it flat.
            if name in kinds and name not in self.said:
                return (
                    Configuration(self.said, self.inside, kinds[name])
                    if self.states("num_hidden_layers")
                    else Configuration({}, self.inside, kinds[name])
                )
        return self

    def states(self, key: str) -> bool:
        """Whether the file itself says it."""
        return any(self.said.get(name) is not None for name in self._keys(key))

    def value(self, key: str) -> Any:
        """What the file says under this key or another name of it, else the default; none for nothing."""
        for name in self._keys(key):
            if self.said.get(name) is not None:
                return self.said[name]
        # `null` in a file means nothing, too, and not the default.
        return None if any(name in self.said for name in self._keys(key)) else self._defaults.get(key)

    def number(self, *keys: str) -> int | None:
        """The first of these that is there: a whole number from 1 on; 0 counts as nothing."""
        for key in keys:
            value = self.value(key)
            if value is not None and value != 0:
                return self._whole(key, value)
        return None

    def need(self, *keys: str) -> int:
        """The same, of what a model must have.

        Raises:
            Unreadable: It is not there.
        """
        found = self.number(*keys)
        if found is None:
            raise Unreadable(f"{self.inside}{keys[0]} is missing: without it nobody can tell what the model takes.")
        return found

    def flag(self, key: str) -> bool:
        """Whether it is there and true."""
        value = self.value(key)
        if value is not None and not isinstance(value, (bool, int)):
            raise Unreadable(f"{self.inside}{key} is {_shown(value)}; it must be true or false.")
        return bool(value)

    def word(self, key: str) -> str:
        """A word; empty if there is none."""
        value = self.value(key)
        # Cut, as it is shown in messages and may be as long as its author likes.
        return value[:80] if isinstance(value, str) else ""

    def numbers(self, key: str, most: int = 100_000) -> list[int] | None:
        """A list of whole numbers from 0 on; none if there is none."""
        return [self._whole(f"{key}[{index}]", item, least=0) for index, item in enumerate(self._listed(key, most))] or None

    def words(self, key: str, most: int = 100_000) -> list[str] | None:
        """A list of words; none if there is none."""
        found = self._listed(key, most)
        for index, item in enumerate(found):
            if not isinstance(item, str):
                raise Unreadable(f"{self.inside}{key}[{index}] is {_shown(item)}; it must be a word.")
        return found or None

    def inner(self, key: str) -> Configuration | None:
        """An object under this key; none if there is none."""
        value = self.value(key)
        if value is not None and not isinstance(value, dict):
            raise Unreadable(f"{self.inside}{key} is {_shown(value)}; it must be an object.")
        return Configuration(value, f"{self.inside}{key}.") if value else None

    def objects(self, key: str, most: int = 100_000) -> list[Configuration]:
        """The objects of a list under this key."""
        found = []
        for index, item in enumerate(self._listed(key, most)):
            if not isinstance(item, dict):
                raise Unreadable(f"{self.inside}{key}[{index}] is {_shown(item)}; it must be an object.")
            found.append(Configuration(item, f"{self.inside}{key}[{index}]."))
        return found

    def _listed(self, key: str, most: int) -> list[Any]:
        value = self.value(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise Unreadable(f"{self.inside}{key} is {_shown(value)}; it must be a list.")
        if len(value) > most:
            raise Unreadable(f"{self.inside}{key} has {len(value):,} entries; that is no model's.")
        return value

    def _keys(self, key: str) -> Iterator[str]:
        yield key
        yield from self._aliases.get(key, ())
        yield from _NAMES.get(key, ())

    def _whole(self, key: str, value: Any, least: int = 1) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        # Not isinstance: `true` is an int to Python.
        if type(value) is not int or not least <= value < _MOST:
            raise Unreadable(f"{self.inside}{key} is {_shown(value)}; it must be a whole number of at least {least} and below 2^40.")
        return value


def _shown(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**18:
        return "a number of more than 18 digits"
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
