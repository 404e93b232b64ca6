"""Reads a model's folder and refuses what does not load, with messages like those that vLLM's log ends in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors

from sandbox.engine.adapters import Adapters
from sandbox.engine.arguments import EngineArguments
from sandbox.engine.network import Floats, Network, Shape
from sandbox.engine.refusals import RequestRefused
from sandbox.engine.tokenizer import Tokenizer
from sandbox.engine.weights import unpack

#: Which files each load format looks for, and the index that chooses among them.
_WEIGHTS = {
    "auto": ("*.safetensors", "model.safetensors.index.json"),
    "safetensors": ("*.safetensors", "model.safetensors.index.json"),
    "mistral": ("consolidated*.safetensors", "consolidated.safetensors.index.json"),
}


class ModelUnusable(Exception):
    """The folder cannot be served; the message is what the log should end with."""


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """Everything that answering needs. `fingerprint` is a short hash of the weights, `chat_template` is Jinja source.

    `adapters` is none where the engine serves none.
    """

    network: Network
    tokenizer: Tokenizer
    chat_template: str | None
    end_tokens: frozenset[int]
    sampling_defaults: Mapping[str, float]
    max_model_len: int
    fingerprint: str
    adapters: Adapters | None = None


def load(arguments: EngineArguments) -> LoadedModel:
    """Read the folder that the arguments name.

    Raises:
        ModelUnusable: A file is missing or wrong, the weights do not fit the configuration, or the arguments ask for too much.
    """
    folder = arguments.model
    if not folder.is_dir():
        raise ModelUnusable(f"OSError: {folder} is not a local folder, and HF_HUB_OFFLINE is set")
    config = _json(folder / "config.json")
    if "auto_map" in config and not arguments.trust_remote_code:
        raise ModelUnusable("ValueError: the model contains custom code; pass `trust_remote_code=True` to run it")
    try:
        shape = Shape.of(config)
        heads, longest = int(config["num_attention_heads"]), int(config["max_position_embeddings"])
    except (KeyError, ValueError, TypeError) as exc:
        raise ModelUnusable(f"ValidationError: config.json is unusable: {exc!r}") from exc
    if heads % arguments.tensor_parallel_size:
        raise ModelUnusable(
            f"ValueError: Total number of attention heads ({heads}) must be divisible by tensor parallel size"
            f" ({arguments.tensor_parallel_size})."
        )
    max_model_len = arguments.max_model_len or longest
    if max_model_len > longest:
        raise ModelUnusable(
            f"ValueError: User-specified max_model_len ({max_model_len}) is greater than the derived max_model_len"
            f" (max_position_embeddings={longest} in config.json)"
        )
    tensors, fingerprint = _tensors(folder, arguments.load_format)
    _check(tensors, shape)
    generation = _json(folder / "generation_config.json") if (folder / "generation_config.json").exists() else {}
    ends = generation.get("eos_token_id", config.get("eos_token_id"))
    network = Network(shape, tensors)
    return LoadedModel(
        network=network,
        tokenizer=_tokenizer(folder, shape),
        chat_template=_chat_template(folder, arguments.chat_template),
        end_tokens=frozenset([] if ends is None else ends if isinstance(ends, list) else [ends]),
        sampling_defaults={name: float(generation[name]) for name in ("temperature", "top_p", "top_k") if name in generation},
        max_model_len=max_model_len,
        fingerprint=fingerprint,
        adapters=_adapters(arguments, network, tensors, config),
    )


def _adapters(arguments: EngineArguments, network: Network, tensors: Mapping[str, Floats], config: Mapping[str, Any]) -> Adapters | None:
    if arguments.adapters is None:
        return None
    adapters = Adapters(network, tensors, config, arguments.adapters, arguments.served_names)
    for name, path in arguments.loaded:
        try:
            adapters.load({"lora_name": name, "lora_path": path})
        except RequestRefused as refused:
            raise ModelUnusable(f"ValueError: {refused.message}") from refused
    return adapters


def _json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except OSError as exc:
        raise ModelUnusable(f"OSError: cannot read {path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise ModelUnusable(f"OSError: {path} is not valid JSON: {exc}") from exc
    if not isinstance(document, dict):
        raise ModelUnusable(f"OSError: {path} does not hold a JSON object")
    return document


def _tensors(folder: Path, load_format: str) -> tuple[dict[str, Floats], str]:
    """Return the tensors of the files that the index names, else of all that the load format looks for, and the hash of those files."""
    pattern, index = _WEIGHTS[load_format]
    if (folder / index).exists():
        paths = sorted({folder / str(name) for name in _json(folder / index).get("weight_map", {}).values()})
    else:
        paths = sorted(folder.glob(pattern))
    if not paths:
        # Also with the load format "auto": vLLM would go on to pickles here, and nothing in the sandbox shall.
        raise ModelUnusable(f"RuntimeError: Cannot find any model weights with `{folder}`")
    tensors: dict[str, Floats] = {}
    digest = hashlib.sha256()
    for path in paths:
        try:
            content = path.read_bytes()
            tensors.update(unpack(content))
        except OSError as exc:
            raise ModelUnusable(f"FileNotFoundError: cannot read the weight file {path}: {exc.strerror}") from exc
        except safetensors.SafetensorError as exc:
            raise ModelUnusable(f"safetensors_rust.SafetensorError: {exc} ({path})") from exc
        except ValueError as exc:
            raise ModelUnusable(f"ValueError: {exc} ({path})") from exc
        digest.update(content)
    return tensors, digest.hexdigest()[:8]


def _check(tensors: Mapping[str, Floats], shape: Shape) -> None:
    wanted = shape.tensors()
    for name, values in sorted(tensors.items()):
        if name not in wanted:
            raise ModelUnusable(f"ValueError: There is no module or parameter named '{name}' in LlamaForCausalLM")
        if values.shape != wanted[name]:
            raise ModelUnusable(
                f"AssertionError: Attempted to load weight (torch.Size({list(values.shape)})) into parameter"
                f" (torch.Size({list(wanted[name])})): {name}"
            )
    missing = sorted(wanted.keys() - tensors.keys())
    if missing:
        raise ModelUnusable(f"ValueError: Following weights were not initialized from checkpoint: {set(missing)}")


def _tokenizer(folder: Path, shape: Shape) -> Tokenizer:
    try:
        tokenizer = Tokenizer(_json(folder / "tokenizer.json"))
    except (ValueError, TypeError, AttributeError) as exc:
        raise ModelUnusable(f"ValueError: cannot use {folder / 'tokenizer.json'}: {exc}") from exc
    if tokenizer.size > shape.vocabulary:
        raise ModelUnusable(f"ValueError: the tokenizer has {tokenizer.size} tokens, the weights have {shape.vocabulary}")
    return tokenizer


def _chat_template(folder: Path, argument: str | None) -> str | None:
    """Return the template that the argument gives or names, else the folder's."""
    if argument is not None:
        if "{" in argument or "\n" in argument:
            return argument
        try:
            return Path(argument).read_text()
        except OSError as exc:
            raise ModelUnusable(f"ValueError: the chat template ({argument}) is neither a template nor a readable file") from exc
    path = folder / "chat_template.jinja"
    if path.exists():
        return path.read_text()
    path = folder / "tokenizer_config.json"
    template = _json(path).get("chat_template") if path.exists() else None
    return template if isinstance(template, str) else None
