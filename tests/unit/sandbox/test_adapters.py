"""The stand-in engine's adapters: held to what a real engine said (`tests/bench/engine/adapters.py` records it)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.spec.load import ROOT
from sandbox.engine.adapters import Adapters, Limits
from sandbox.engine.network import Network, Shape
from sandbox.engine.refusals import RequestRefused
from sandbox.engine.weights import pack

RECORDED = [json.loads(line) for line in (ROOT / "tests/unit/adapters/engine.jsonl").read_text().splitlines()]
TRIED = {row["adapter"]: row for row in RECORDED if "adapter" in row}
#: The sandbox's heads read features, not hidden states.
OTHER_HERE = {"the head"}
CONFIG = {"vocab_size": 264, "hidden_size": 128, "intermediate_size": 320, "num_hidden_layers": 4, "num_attention_heads": 4}
CONFIG |= {"num_key_value_heads": 2, "head_dim": 32}
WINDOW = [1, 2, 3, 4, 5]


@pytest.fixture(scope="module")
def base() -> tuple[Network, dict[str, Any]]:
    rng, shape = np.random.default_rng(1), Shape.of(CONFIG)
    tensors = {name: rng.standard_normal(size).astype(np.float32) * 0.1 for name, size in shape.tensors().items()}
    return Network(shape, tensors), tensors


def served(base: tuple[Network, dict[str, Any]], **limits: int) -> Adapters:
    return Adapters(*base, CONFIG, Limits(**{"slots": 2, "kept": 4} | limits), ("tiny",))


def written(folder: Path, row: Mapping[str, Any], seed: int = 0) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(seed)
    (folder / "adapter_config.json").write_text(json.dumps(row["configuration"]))
    tensors = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in row["shapes"].items()}
    if tensors:
        (folder / "adapter_model.safetensors").write_bytes(pack(tensors, "float32"))
    return folder


def said(call: Any, body: Mapping[str, Any]) -> tuple[int, str | None, str]:
    try:
        return 200, None, call(body)
    except RequestRefused as refused:
        error = refused.body()["error"]
        return error["code"], error["type"], error["message"]


@pytest.mark.parametrize("name", [name for name in TRIED if name not in OTHER_HERE])
def test_it_says_to_each_adapter_what_a_real_engine_said(name: str, base: Any, tmp_path: Path) -> None:
    row = TRIED[name]

    status, kind, message = said(served(base).load, {"lora_name": "one", "lora_path": str(written(tmp_path / "one", row))})

    assert (status, kind) == (row["status"], row.get("type"))
    recorded = (row.get("message") or row["text"]).replace("FOLDER", "<path>")
    # The order of a set is nobody's, and which of two sizes is met first is the tensors'.
    for varies in ("expected target modules in", "The size of tensor", "Inits such as", "init_lora_weights='pissa'."):
        message, recorded = message.partition(varies)[0], recorded.partition(varies)[0]
    assert message == recorded


def test_its_routes_say_what_a_real_engine_s_say(base: Any, tmp_path: Path) -> None:
    adapters, place = served(base), written(tmp_path / "one", TRIED["plain"])
    for row in RECORDED:
        if "request" not in row or row["path"] == "/v1/completions":
            continue
        body = {key: value.replace("FOLDER", str(place)) if isinstance(value, str) else value for key, value in row["body"].items()}
        call = adapters.load if row["path"].endswith("/load_lora_adapter") else adapters.unload
        status, kind, message = said(call, body)
        assert (status, kind, message) == (row["status"], row.get("type"), (row.get("message") or row["text"]).replace("FOLDER", "<path>"))


def up(layers: range = range(4)) -> dict[str, Any]:
    names = [f"base_model.model.model.layers.{layer}.mlp.up_proj.lora_{of}.weight" for layer in layers for of in "AB"]
    return {**TRIED["plain"], "shapes": {name: (8, 128) if name.endswith("A.weight") else (320, 8) for name in names}}


def test_an_adapter_answers_otherwise_than_its_base_and_one_of_layers_that_are_not_there_does_not(base: Any, tmp_path: Path) -> None:
    adapters = served(base)
    for name, row in (("one", up()), ("deeper", up(range(4, 8)))):
        adapters.load({"lora_name": name, "lora_path": str(written(tmp_path / name, row))})

    plain, one, deeper = (adapters.network(name).logits(WINDOW) for name in ("tiny", "one", "deeper"))

    assert not np.allclose(plain, one)
    assert np.array_equal(plain, deeper)


def test_those_that_are_not_kept_are_read_again_when_they_are_asked(base: Any, tmp_path: Path) -> None:
    adapters = served(base, slots=1, kept=2)
    for number in range(4):
        adapters.load({"lora_name": f"n{number}", "lora_path": str(written(tmp_path / f"n{number}", up(), number))})

    answers = [adapters.network(f"n{number}").logits(WINDOW) for number in range(4)]

    assert list(adapters.paths) == ["n0", "n1", "n2", "n3"]
    assert all(not np.allclose(one, other) for one, other in pairwise(answers))
    assert np.array_equal(answers[0], adapters.network("n0").logits(WINDOW))
