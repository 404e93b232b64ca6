"""Which files of a hub commit the engine needs, and which it must never see."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from blocks.facts import HubFile
from flows.errors import Refusal, SpecInvalid
from flows.spec import SnapshotFile
from flows.text import listed

#: Formats that run code when they are loaded, or that vLLM would fall back to.
UNSAFE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".h5", ".msgpack", ".npz"})

#: What trainers leave beside the weights. These are pickles too, but no weights: nothing would load them, and no node gets them.
_LEFTOVERS = re.compile(r"(training_args|optimizer|scheduler|scaler|trainer_state|rng_state(_\d+)?)\.(bin|pt|pth|pkl)")

#: What a text model needs beside its weights: configuration, tokenizer, chat templates, licence.
_NEEDED_SUFFIXES = frozenset({".json", ".jinja", ".model", ".tiktoken", ".txt", ".md"})
_NEEDED_NAMES = ("LICENSE", "LICENCE", "NOTICE")

_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.safetensors")


def unsafe_files(files: Sequence[HubFile]) -> tuple[str, ...]:
    """Files of formats that can run code when they are loaded, wherever they lie; sorted."""
    paths = [PurePosixPath(file.path) for file in files]
    return tuple(sorted(str(p) for p in paths if p.suffix.lower() in UNSAFE_SUFFIXES and not _LEFTOVERS.fullmatch(p.name)))


def select_files(repository: str, files: Sequence[HubFile], *, remote_code: bool = False) -> tuple[SnapshotFile, ...]:
    """The files to bring to the nodes, sorted by path.

    Weights are safetensors of the repository's top folder; a second copy in another layout (`consolidated*`) and adapters are
    left where they are. Nothing that `unsafe_files` names is ever chosen.

    Args:
        repository: Where they lie, for messages.
        files: All files of the commit.
        remote_code: Whether the repository's own code (`*.py` of its top folder) is needed as well.

    Raises:
        Refusal: The repository holds no safetensors weights, not all of them, or no configuration.
        SpecInvalid: A path would leave the snapshot's folder.
    """
    for file in files:
        path = PurePosixPath(file.path)
        # The names are a stranger's, and become paths on the nodes.
        if path.is_absolute() or ".." in path.parts or "\\" in file.path or "\0" in file.path:
            raise SpecInvalid(f"{repository} holds a file whose path leaves its folder: {file.path!r}; do not use this repository.")
    chosen = [file for file in files if _is_needed(PurePosixPath(file.path), remote_code=remote_code)]
    weights = weight_files([file.path for file in chosen])
    if not weights:
        unsafe = unsafe_files(files)
        instead = f" ({listed(unsafe)} can run code when loaded)" if unsafe else ""
        raise Refusal(f"{repository} holds no safetensors weights in its top folder; Slipway serves no other format{instead}.")
    if missing := _missing_shards(weights):
        raise Refusal(f"{repository} lacks {listed(missing)} of its weights: the upload was not finished; use another revision.")
    if not any(file.path == "config.json" for file in chosen):
        raise Refusal(f"{repository} holds no config.json; vLLM cannot tell what model it is.")
    return tuple(
        SnapshotFile(path=file.path, size_bytes=file.size_bytes, digest=file.digest, algorithm=file.algorithm)
        for file in sorted(chosen, key=lambda file: file.path)
        if file.path in weights or not file.path.endswith(".safetensors")
    )


def weight_files(paths: Sequence[str]) -> tuple[str, ...]:
    """Those of the top folder's files that hold the model's weights, sorted."""
    # `adapter_model.safetensors` is PEFT's; `consolidated*` is how Mistral lays the same weights out.
    found = sorted(p for p in paths if p.endswith(".safetensors") and "/" not in p and not p.startswith("adapter_"))
    return tuple([p for p in found if not p.startswith("consolidated")] or found)


def _missing_shards(weights: Sequence[str]) -> list[str]:
    shards = [match for name in weights if (match := _SHARD.fullmatch(name))]
    # The number is a stranger's as well: a name that claims 99,999 shards is not counted to its end.
    wanted = {
        f"{match[1]}-{number:05d}-of-{match[3]}.safetensors" for match in shards for number in range(1, min(int(match[3]), 10_000) + 1)
    }
    return sorted(wanted - set(weights))


def _is_needed(path: PurePosixPath, *, remote_code: bool) -> bool:
    # Where transformers looks for chat templates beside the first.
    if path.parts[0] == "additional_chat_templates":
        return path.suffix == ".jinja"
    if len(path.parts) > 1:
        return False
    if path.suffix == ".py":
        return remote_code
    return path.suffix == ".safetensors" or path.suffix in _NEEDED_SUFFIXES or path.name.startswith(_NEEDED_NAMES)
