"""LoRA adapters of the stand-in engine: loaded and unloaded while it runs, with vLLM 0.32.0's answers and limits.

Held to what a real one said (`tests/bench/engine/adapters.py` records it). The sandbox's models have one linear layer a layer: adapters of
`up_proj` and of the embedding change answers; those of other modules are checked and loaded, and change none. Not emulated: pickled
adapters, experts, slots that requests wait for, and prefix caching by an adapter's name.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors

from sandbox.engine.network import EMBEDDING, Floats, Network, Shape, layer_name
from sandbox.engine.refusals import RequestRefused
from sandbox.engine.weights import unpack

#: `--max-lora-rank` takes these.
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
_PLAIN_BEGINNINGS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
_REFUSED = (
    ("use_dora", "vLLM does not yet support DoRA."),
    ("lora_bias", "vLLM does not support LoRA bias (lora_bias)."),
    ("alora_invocation_tokens", "vLLM does not support Activated LoRA (aLoRA)."),
    ("layer_replication", "vLLM does not support layer_replication."),
    ("use_bdlora", "vLLM does not support block-diagonal LoRA (BD-LoRA)."),
    ("use_qalora", "vLLM does not support QALoRA."),
)
_MATRIX = re.compile(r"^(?:base_model\.model\.)?(?P<module>.+)\.(?:lora_(?P<of>[AB])\.weight|lora_embedding_(?P<embedding>[AB]))$")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the engine was started with: the largest rank, how many adapters are ready at once, and how many are kept beside them."""

    rank: int = 16
    slots: int = 1
    kept: int = 1


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """One adapter: where it lies, and what it adds to each tensor of the base."""

    path: str
    changes: Mapping[str, Floats]


class Adapters:
    """The adapters of one engine.

    Args:
        base: The base, which answers where no adapter is asked for.
        tensors: Its tensors.
        config: Its `config.json`.
        limits: What the engine was started with.
        served_names: The base's names.
    """

    def __init__(
        self, base: Network, tensors: Mapping[str, Floats], config: Mapping[str, Any], limits: Limits, served_names: tuple[str, ...]
    ) -> None:
        self._base, self._tensors, self._limits, self._served = base, tensors, limits, served_names
        self._modules = _modules(config, base.shape)
        #: Name → folder, as the API server lists them: also those whose weights are not kept.
        self.paths: dict[str, str] = {}
        self._kept: OrderedDict[str, Loaded] = OrderedDict()
        self._ready: OrderedDict[str, Network] = OrderedDict()

    def network(self, name: str) -> Network:
        """What answers for that name: the base, or the base with the adapter.

        An adapter whose weights were not kept is read again, and where its files are gone the whole engine ends, as vLLM does.
        """
        if name not in self.paths:
            return self._base
        if name not in self._ready:
            try:
                self._keep(name, self._kept.get(name) or self._read(name, self.paths[name]))
            except RequestRefused as refused:
                print(f"ERROR EngineCore encountered a fatal error: {refused.message}", file=sys.stderr, flush=True)
                os._exit(1)
            changed = dict(self._tensors)
            for tensor, added in self._kept[name].changes.items():
                changed[tensor] = changed[tensor] + added
            self._ready[name] = Network(self._base.shape, changed)
            while len(self._ready) > self._limits.slots:
                self._ready.popitem(last=False)
        self._ready.move_to_end(name)
        self._kept.move_to_end(name)
        return self._ready[name]

    def load(self, body: Mapping[str, Any]) -> str:
        """Load one, as the request says; what to answer.

        Raises:
            RequestRefused: It cannot be.
        """
        name, path = _text(body, "lora_name"), _text(body, "lora_path")
        if not name or not path:
            raise RequestRefused("Both 'lora_name' and 'lora_path' must be provided.", kind="InvalidUserInput")
        if name in self._served:
            raise RequestRefused(f"The lora adapter '{name}' conflicts with a served base model.", kind="InvalidUserInput")
        if name in self.paths and not body.get("load_inplace"):
            raise RequestRefused(
                f"The lora adapter '{name}' has already been loaded. If you want to load the adapter in place, set 'load_inplace' to True.",
                kind="InvalidUserInput",
            )
        self._keep(name, self._read(name, path))
        self._ready.pop(name, None)
        self.paths[name] = path
        return f"Success: LoRA adapter '{name}' added successfully."

    def unload(self, body: Mapping[str, Any]) -> str:
        """Forget one, as the request says; what to answer. Requests that it is answering go on.

        Raises:
            RequestRefused: There is none of that name.
        """
        name = _text(body, "lora_name")
        if not name:
            raise RequestRefused("'lora_name' needs to be provided to unload a LoRA adapter.", kind="InvalidUserInput")
        if name not in self.paths:
            raise RequestRefused(f"The lora adapter '{name}' cannot be found.", status=404)
        for known in (self.paths, self._kept, self._ready):
            known.pop(name, None)
        return f"Success: LoRA adapter '{name}' removed successfully."

    def _keep(self, name: str, loaded: Loaded) -> None:
        self._kept[name] = loaded
        self._kept.move_to_end(name)
        while len(self._kept) > self._limits.kept:
            forgotten, _ = self._kept.popitem(last=False)
            self._ready.pop(forgotten, None)

    def _read(self, name: str, path: str) -> Loaded:
        folder = Path(path)
        try:
            config = json.loads((folder / "adapter_config.json").read_bytes())
        except OSError as exc:
            raise RequestRefused(f"Loading lora {name} failed: No adapter found for <path>", status=404) from exc
        except ValueError as exc:
            raise _failed(str(exc)) from exc
        rank, scale = self._checked(config)
        try:
            tensors = unpack((folder / "adapter_model.safetensors").read_bytes())
        except OSError as exc:
            raise _failed("<path> doesn't contain tensors") from exc
        except safetensors.SafetensorError as exc:
            raise _failed(str(exc)) from exc
        return Loaded(path=path, changes=self._changes(tensors, scale, rank))

    def _checked(self, config: Mapping[str, Any]) -> tuple[int, float]:
        missing = [key for key in ("r", "lora_alpha", "target_modules") if key not in config]
        if missing:
            raise _failed(f"Missing required configuration fields: {set(missing)}")
        rank, ranks = config["r"], config.get("rank_pattern") or {}
        if rank <= 0:
            raise _failed(f"LoRA rank `r` must be a positive integer, got {rank}.")
        problems = []
        if whole := [name for name in config.get("modules_to_save") or () if name not in ("classifier", "score")]:
            problems.append(
                'vLLM only supports modules_to_save being either None or ["classifier", "score"] for classification models. '
                f"Unsupported modules_to_save: {whole}"
            )
        problems += [sentence for key, sentence in _REFUSED if config.get(key)]
        beginning = config.get("init_lora_weights", True)
        if isinstance(beginning, str) and beginning.lower() not in _PLAIN_BEGINNINGS:
            problems.append(f"vLLM does not support init_lora_weights={beginning!r}.")
        if (largest := max((rank, *ranks.values()))) > self._limits.rank:
            problems.append(f"LoRA rank {largest} is greater than max_lora_rank {self._limits.rank}.")
        if config.get("bias", "none") != "none":
            problems.append("Adapter bias is not supported.")
        if problems:
            raise _failed(" ".join(problems))
        return rank, config["lora_alpha"] / (rank**0.5 if config.get("use_rslora") else rank)

    def _changes(self, tensors: Mapping[str, Floats], scale: float, rank: int) -> dict[str, Floats]:
        pairs: dict[str, dict[str, Floats]] = {}
        for tensor, values in sorted(tensors.items()):
            found = _MATRIX.match(tensor)
            if found is None or found["module"].endswith((".lora_A", ".lora_B")):
                raise _failed(f"{tensor} is unsupported LoRA weight")
            pairs.setdefault(found["module"], {})[found["of"] or found["embedding"]] = values
            if found["embedding"] == "A" and values.shape[1] != self._base.shape.vocabulary:
                raise _failed(
                    f"The embedding LoRA size({values.shape[1]}) must be consistent with the base model's vocabulary size"
                    f"({self._base.shape.vocabulary})."
                )
        # By the last part of a name alone: layers that are not there pass, and are applied to nothing.
        if foreign := [module for module in pairs if module.rpartition(".")[2] not in self._modules]:
            raise _failed(
                f"While loading <path>, expected target modules in {set(self._modules)} but received {foreign}. Please verify that the "
                "loaded LoRA module is correct"
            )
        changes = {}
        for module, pair in pairs.items():
            if "A" not in pair or "B" not in pair:
                raise _failed("unsupported operand type(s) for *=: 'NoneType' and 'float'")
            inputs, outputs = self._modules[module.rpartition(".")[2]]
            for size, wanted in ((pair["A"].shape[1], inputs), (pair["B"].shape[0], outputs)):
                if size != wanted:
                    raise _failed(f"The size of tensor a ({wanted}) must match the size of tensor b ({size}) at non-singleton dimension 1")
            embedding = module.rpartition(".")[2] == "embed_tokens"
            at, product = (EMBEDDING, pair["A"].T @ pair["B"].T) if embedding else (f"{module}.weight", pair["B"] @ pair["A"])
            if embedding or at in {layer_name(layer) for layer in range(self._base.shape.window)}:
                changes[at] = (scale * product).astype("float32")
        return changes


def _modules(config: Mapping[str, Any], shape: Shape) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of each kind of module, as a Llama of this configuration has them; the head's are the sandbox's own."""
    heads = int(config["num_attention_heads"])
    head = int(config.get("head_dim") or shape.hidden // heads)
    queries, keys = heads * head, int(config.get("num_key_value_heads") or heads) * head
    return {
        "q_proj": (shape.hidden, queries),
        "k_proj": (shape.hidden, keys),
        "v_proj": (shape.hidden, keys),
        "o_proj": (queries, shape.hidden),
        "gate_proj": (shape.hidden, shape.features),
        "up_proj": (shape.hidden, shape.features),
        "down_proj": (shape.features, shape.hidden),
        "embed_tokens": (shape.vocabulary, shape.hidden),
        "lm_head": (shape.features, shape.vocabulary),
    }


def _text(body: Mapping[str, Any], key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str):
        shown = f"'loc': 'body.{key}', 'msg': 'Field required', 'input': '<dict of {len(body)} items>'"
        raise RequestRefused(f"1 validation error:\n  {{'type': 'missing', {shown}}}", kind="Bad Request")
    return value


def _failed(why: str) -> RequestRefused:
    return RequestRefused(
        f"Call to add_lora method failed: Worker failed with error '{why}', please check the stack trace above for the root cause",
        status=500,
    )
