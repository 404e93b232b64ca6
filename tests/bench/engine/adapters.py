"""Records what a real engine says to adapters: `tests/unit/adapters/engine.jsonl`, to which the rules and the stand-in are held.

    make engine
    python -m tests.bench.engine.adapters

Each line: an adapter's configuration and shapes, the engine's answer to loading it, and whether it answers otherwise than the base then.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from sandbox.engine.weights import pack
from sandbox.models import make_model
from tests.bench.engine.model import CONFIG, LAYERS
from tests.bench.engine.serve import MODEL, engine

RECORD = Path(__file__).parents[2] / "unit" / "adapters" / "engine.jsonl"
RANK, SLOTS, KEPT = 16, 2, 64
_HIDDEN, _INNER, _KEYS, _VOCABULARY = 128, 320, 64, 264
#: Inputs and outputs of the base's layers.
_LAYERS: Mapping[str, tuple[str, int, int]] = {
    "q_proj": ("self_attn", _HIDDEN, _HIDDEN),
    "k_proj": ("self_attn", _HIDDEN, _KEYS),
    "v_proj": ("self_attn", _HIDDEN, _KEYS),
    "o_proj": ("self_attn", _HIDDEN, _HIDDEN),
    "gate_proj": ("mlp", _HIDDEN, _INNER),
    "up_proj": ("mlp", _HIDDEN, _INNER),
    "down_proj": ("mlp", _INNER, _HIDDEN),
    "c_attn": ("self_attn", _HIDDEN, _HIDDEN),
}
_EMBEDDING = "base_model.model.model.embed_tokens"
_HEAD = "base_model.model.lm_head"
Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """An adapter to be tried.

    Attributes:
        rank: Of its matrices.
        modules: What it changes, in each of `layers`.
        layers: The layers.
        wide: How many times wider than the base it was made for.
        says: What its configuration says otherwise; None leaves a key out.
        more: Further tensors.
        without: Tensors whose names hold this are left out.
        named: What its tensors are called.
        spread: Of its numbers; 0 changes nothing.
        file: Where the tensors lie; empty for nowhere.
    """

    rank: int = 8
    modules: Sequence[str] = ("q_proj", "v_proj")
    layers: Sequence[int] = tuple(range(LAYERS))
    wide: int = 1
    says: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Shape] = field(default_factory=dict)
    without: str = ""
    named: Callable[[str], str] = str
    spread: float = 0.3
    file: str = "adapter_model.safetensors"

    def configuration(self) -> dict[str, Any]:
        """What PEFT would write, and what was asked for."""
        plain = {"peft_type": "LORA", "base_model_name_or_path": "example/base", "r": self.rank, "lora_alpha": 16, "bias": "none"}
        whole = {**plain, "target_modules": list(self.modules), "task_type": "CAUSAL_LM", **self.says}
        return {key: value for key, value in whole.items() if value is not None}

    def shapes(self) -> dict[str, Shape]:
        """Its tensors."""
        found: dict[str, Shape] = {}
        for layer in self.layers:
            for module in self.modules:
                part, inputs, outputs = _LAYERS[module]
                at = f"base_model.model.model.layers.{layer}.{part}.{module}"
                found[f"{at}.lora_A.weight"] = (self.rank, inputs * self.wide)
                found[f"{at}.lora_B.weight"] = (outputs * self.wide, self.rank)
        found |= self.more
        return {self.named(name): shape for name, shape in found.items() if not self.without or self.without not in name}


def _plain(name: str) -> str:
    return name.removeprefix("base_model.model.")


def _by_default(name: str) -> str:
    return name.replace("lora_A.weight", "lora_A.default.weight").replace("lora_B.weight", "lora_B.default.weight")


_PAIR_OF_HEAD = {f"{_HEAD}.lora_A.weight": (8, _HIDDEN), f"{_HEAD}.lora_B.weight": (_VOCABULARY, 8)}
_PAIR_OF_EMBEDDING = {f"{_EMBEDDING}.lora_embedding_A": (8, _VOCABULARY), f"{_EMBEDDING}.lora_embedding_B": (_HIDDEN, 8)}
ADAPTERS: Mapping[str, Adapter] = {
    "plain": Adapter(),
    "every module": Adapter(modules=tuple(name for name in _LAYERS if name != "c_attn")),
    "rank 5": Adapter(rank=5),
    "rank-stabilised": Adapter(says={"use_rslora": True}),
    "names without their beginning": Adapter(named=_plain),
    "targets by a word": Adapter(says={"target_modules": "all-linear"}),
    "ranks by module": Adapter(says={"rank_pattern": {"q_proj": 8}}),
    "the head": Adapter(more=_PAIR_OF_HEAD),
    "the embedding": Adapter(more=_PAIR_OF_EMBEDDING),
    "the last layers alone": Adapter(layers=(2, 3)),
    "changes nothing": Adapter(spread=0.0),
    "rank 32": Adapter(rank=32),
    "a module of rank 32": Adapter(says={"rank_pattern": {"q_proj": 32}}),
    "DoRA": Adapter(says={"use_dora": True}),
    "biases of LoRA": Adapter(says={"lora_bias": True}),
    "biases": Adapter(says={"bias": "all"}),
    "whole modules": Adapter(says={"modules_to_save": ["lm_head"]}, more={f"{_HEAD}.weight": (_VOCABULARY, _HIDDEN)}),
    "begun by PiSSA": Adapter(says={"init_lora_weights": "pissa"}),
    "begun by a normal distribution": Adapter(says={"init_lora_weights": "gaussian"}),
    "activated": Adapter(says={"alora_invocation_tokens": [1, 2]}),
    "layers twice": Adapter(says={"layer_replication": [[0, 2], [1, 4]]}),
    "QALoRA": Adapter(says={"use_qalora": True}),
    "no rank": Adapter(says={"r": None}),
    "no alpha": Adapter(says={"lora_alpha": None}),
    "no targets": Adapter(says={"target_modules": None}),
    "rank 0": Adapter(says={"r": 0}),
    "another rank than its matrices": Adapter(says={"r": 4}),
    "another kind": Adapter(says={"peft_type": "IA3"}),
    "a wider base": Adapter(wide=2),
    "a deeper base": Adapter(layers=tuple(range(LAYERS, 2 * LAYERS))),
    "a base twice as deep": Adapter(layers=tuple(range(2 * LAYERS))),
    "modules of another family": Adapter(modules=("q_proj", "c_attn")),
    "half of a pair": Adapter(without="layers.1.self_attn.q_proj.lora_B"),
    "a layer is missing": Adapter(without="layers.1."),
    "a module of a layer is missing": Adapter(without="layers.2.self_attn.v_proj"),
    "a vocabulary that grew": Adapter(more={f"{_EMBEDDING}.weight": (_VOCABULARY + 6, _HIDDEN)}),
    "an embedding of another vocabulary": Adapter(
        more={f"{_EMBEDDING}.lora_embedding_A": (8, _VOCABULARY + 6), f"{_EMBEDDING}.lora_embedding_B": (_HIDDEN, 8)}
    ),
    "the head of a vocabulary that grew": Adapter(more={f"{_HEAD}.weight": (_VOCABULARY + 6, _HIDDEN)}),
    "names with an adapter's": Adapter(named=_by_default),
    "no tensors": Adapter(file=""),
}


def main() -> None:
    """Start the engine, try each, and write down what it says."""
    os.environ["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
    arguments = ("--enable-lora", "--max-lora-rank", str(RANK), "--max-loras", str(SLOTS), "--max-cpu-loras", str(KEPT), "--enforce-eager")
    with tempfile.TemporaryDirectory() as home:
        base = Path(home, "base")
        _make_base(base)
        with (
            engine(base, *arguments, "--dtype", "float32") as running,
            httpx.Client(base_url=f"http://{running.address}", timeout=300) as http,
        ):
            rows = [_tried(http, Path(home, "adapters"), name, adapter) for name, adapter in ADAPTERS.items()]
            rows += list(_routes(http, Path(home, "adapters")))
    RECORD.write_text("".join(json.dumps(row, sort_keys=True) + "\n" for row in rows))


def _make_base(folder: Path) -> None:
    rng = np.random.default_rng(1)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    for name, content in make_model().items():
        if name.startswith("tokenizer") or name.endswith(".jinja"):
            (folder / name).write_bytes(content)
    tensors = {
        name: rng.standard_normal(shape) * (0.5 if "embed" in name or "head" in name else 0.1) for name, shape in base_shapes().items()
    }
    tensors |= {name: np.ones(shape) for name, shape in base_shapes().items() if len(shape) == 1}
    (folder / "model.safetensors").write_bytes(pack({name: tensor.astype(np.float32) for name, tensor in tensors.items()}, "float32"))


def base_shapes() -> dict[str, Shape]:
    """The tensors of the base that they are tried on."""
    found: dict[str, Shape] = {"model.embed_tokens.weight": (_VOCABULARY, _HIDDEN), "lm_head.weight": (_VOCABULARY, _HIDDEN)}
    found["model.norm.weight"] = (_HIDDEN,)
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        found |= {f"{at}.{norm}.weight": (_HIDDEN,) for norm in ("input_layernorm", "post_attention_layernorm")}
        found |= {f"{at}.{part}.{name}.weight": (outputs, inputs) for name, (part, inputs, outputs) in _LAYERS.items() if name != "c_attn"}
    return found


def _made(folder: Path, name: str, adapter: Adapter) -> Path:
    place = folder / re.sub(r"\W", "-", name)
    place.mkdir(parents=True)
    (place / "adapter_config.json").write_text(json.dumps(adapter.configuration()))
    rng = np.random.default_rng(len(name))
    tensors = {tensor: (adapter.spread * rng.standard_normal(shape)).astype(np.float32) for tensor, shape in adapter.shapes().items()}
    if adapter.file:
        (place / adapter.file).write_bytes(pack(tensors, "float32"))
    return place


def _tried(http: httpx.Client, folder: Path, name: str, adapter: Adapter) -> dict[str, Any]:
    place = _made(folder, name, adapter)
    answer = http.post("/v1/load_lora_adapter", json={"lora_name": "one", "lora_path": str(place)})
    row = {
        "adapter": name,
        "configuration": adapter.configuration(),
        "shapes": adapter.shapes() if adapter.file else {},
        **_said(answer, place),
    }
    if answer.status_code == 200:
        row["changes_answers"] = _asked(http, "one") != _asked(http, MODEL)
        http.post("/v1/unload_lora_adapter", json={"lora_name": "one"}).raise_for_status()
    return row


def _routes(http: httpx.Client, folder: Path) -> Iterator[dict[str, Any]]:
    """What the routes say to requests that are wrong, and to those that are right."""
    place = folder / "plain"
    requests: Sequence[tuple[str, str, dict[str, Any]]] = (
        ("one that is not there is asked", "/v1/completions", {"model": "nobody", "prompt": "a", "max_tokens": 1}),
        ("load without a name", "/v1/load_lora_adapter", {"lora_name": "", "lora_path": str(place)}),
        ("load without a path", "/v1/load_lora_adapter", {"lora_name": "one"}),
        ("load by the base's name", "/v1/load_lora_adapter", {"lora_name": MODEL, "lora_path": str(place)}),
        ("load what is not there", "/v1/load_lora_adapter", {"lora_name": "gone", "lora_path": f"{place}-gone"}),
        ("load", "/v1/load_lora_adapter", {"lora_name": "one", "lora_path": str(place)}),
        ("load again", "/v1/load_lora_adapter", {"lora_name": "one", "lora_path": str(place)}),
        ("load in place", "/v1/load_lora_adapter", {"lora_name": "one", "lora_path": str(place), "load_inplace": True}),
        ("unload what is not there", "/v1/unload_lora_adapter", {"lora_name": "nobody"}),
        ("unload without a name", "/v1/unload_lora_adapter", {"lora_name": ""}),
        ("unload", "/v1/unload_lora_adapter", {"lora_name": "one"}),
        ("unload again", "/v1/unload_lora_adapter", {"lora_name": "one"}),
    )
    for name, path, body in requests:
        answer = http.post(path, json=body)
        row = {"request": name, "path": path, "body": {key: _hidden(value, place) for key, value in body.items()}, **_said(answer, place)}
        if name == "load":
            models = http.get("/v1/models").json()["data"]
            row["models"] = [{key: _hidden(model[key], place) for key in ("id", "root", "parent", "max_model_len")} for model in models[1:]]
        yield row


def _asked(http: httpx.Client, model: str) -> list[float]:
    body = {"model": model, "prompt": "The quick brown fox", "max_tokens": 6, "temperature": 0, "logprobs": 1}
    answer = http.post("/v1/completions", json=body).raise_for_status().json()
    return [round(value, 3) for value in answer["choices"][0]["logprobs"]["token_logprobs"]]


def _said(answer: httpx.Response, place: Path) -> dict[str, Any]:
    try:
        said = answer.json()["error"]
    except ValueError:
        return {"status": answer.status_code, "text": answer.text}
    return {"status": answer.status_code, "type": said["type"], "message": _hidden(said["message"], place)}


def _hidden(value: object, place: Path) -> object:
    return value.replace(str(place), "FOLDER").replace("<path>", "FOLDER") if isinstance(value, str) else value


if __name__ == "__main__":
    main()
