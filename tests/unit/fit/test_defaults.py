"""The table of what `transformers` fills in is what its generator writes; the generator is held to configurations that are made up."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from flows.fit.understood import TELLING
from flows.spec.load import ROOT
from tests.support.transformers_defaults import KEPT, table, written

TEXT = (ROOT / "flows" / "fit" / "transformers.json").read_text(encoding="utf-8")
TYPES = json.loads(TEXT)["types"]


class _Configuration:
    """As far as the generator asks configurations of `transformers` 5."""

    attribute_map: ClassVar[dict[str, str]] = {}
    sub_configs: ClassVar[dict[str, Any]] = {}

    def to_dict(self) -> dict[str, Any]:
        return vars(self)


@dataclass
class _Text(_Configuration):
    model_type: ClassVar[str] = "some_text"
    attribute_map: ClassVar[dict[str, str]] = {"num_hidden_layers": "n_layer"}
    vocab_size: int = 1000
    n_layer: int = 12
    head_dim: int | None = None
    sliding_window: int | None = 512
    first_k_dense_replace: int = 0
    use_sliding_window: bool = False
    no_rope_layers: list[int] = field(default_factory=lambda: [1, 0])
    intermediate_size: int | list[int] = 4096
    dropout: float = 0.5

    def __post_init__(self) -> None:
        self.head_dim, self.sliding_window, self.intermediate_size = 64, None, [4096] * self.n_layer


@dataclass
class _Vision(_Configuration):
    model_type: ClassVar[str] = "some_vision"
    num_hidden_layers: int = 6


@dataclass
class _Both(_Configuration):
    sub_configs: ClassVar[dict[str, Any]] = {"text_config": _Text, "vision_config": _Vision, "any_config": SimpleNamespace}
    vocab_size: int = 7
    num_hidden_layers: int = 7


@dataclass
class _Unmakeable(_Configuration):
    def __post_init__(self) -> None:
        raise OSError("the hub")


def test_a_type_has_its_own_defaults_other_names_and_telling_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    published = {"some": _Both, "unmakeable": _Unmakeable}
    monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace(__version__="0.0"))
    monkeypatch.setitem(sys.modules, "transformers.models.auto.configuration_auto", SimpleNamespace(CONFIG_MAPPING=published))

    assert table()["types"] == {
        "some": {"inner": {"text_config": "some_text"}},
        "some_text": {
            "defaults": {"vocab_size": 1000, "num_hidden_layers": 12, "first_k_dense_replace": 0, "intermediate_size": 4096},
            "names": {"num_hidden_layers": ["n_layer"]},
            "keys": ["no_rope_layers", "sliding_window", "use_sliding_window"],
        },
    }


def test_the_defaults_are_what_is_written_of_a_release() -> None:
    assert f"{written(json.loads(TEXT))}\n" == TEXT
    assert sorted(TYPES) == list(TYPES)
    assert {
        key for told in TYPES.values() for key in (*told.get("defaults", ()), *told.get("names", ())) if not KEPT.fullmatch(key)
    } == set()
    assert {key for told in TYPES.values() for key in told.get("keys", ()) if not TELLING.search(key)} == set()
