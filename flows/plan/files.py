"""Which files of a hub commit the engine needs, and which it must never see."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from blocks.facts import HubFile
from flows.errors import Refusal, SpecInvalid
from flows.spec import SnapshotFile

#: Formats that run code when they are loaded, or that vLLM would fall back to.
UNSAFE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".h5", ".msgpack", ".npz"})

#: What a text model needs beside its weights: configuration, tokenizer, chat templates, licence.
_NEEDED_SUFFIXES = frozenset({".json", ".jinja", ".model", ".tiktoken", ".txt", ".md"})
_NEEDED_NAMES = ("LICENSE", "LICENCE", "NOTICE")


def select_files(repository: str, files: Sequence[HubFile]) -> tuple[SnapshotFile, ...]:
    """The files to bring to the nodes, sorted by path.

    Weights are safetensors of the repository's top folder. A repository that also holds pickles is refused, rather than
    trusted to be read right.

    Raises:
        Refusal: The repository holds no safetensors weights, or holds pickled ones.
        SpecInvalid: A path would leave the snapshot's folder.
    """
    for file in files:
        path = PurePosixPath(file.path)
        if path.is_absolute() or ".." in path.parts or "\\" in file.path or "\0" in file.path:
            raise SpecInvalid(f"{repository} holds a file whose path leaves its folder: {file.path!r}; do not use this repository.")
    unsafe = sorted(file.path for file in files if PurePosixPath(file.path).suffix.lower() in UNSAFE_SUFFIXES)
    if unsafe:
        raise Refusal(
            f"{repository} holds pickled or otherwise unsafe weights ({_some(unsafe)}): loading them can run code. "
            "Use a revision with safetensors only.",
            files=unsafe,
        )
    chosen = [file for file in files if _is_needed(PurePosixPath(file.path))]
    if not any(file.path.endswith(".safetensors") for file in chosen):
        raise Refusal(f"{repository} holds no safetensors weights in its top folder; Slipway serves no other format.")
    if not any(file.path == "config.json" for file in chosen):
        raise Refusal(f"{repository} holds no config.json; vLLM cannot tell what model it is.")
    return tuple(
        SnapshotFile(path=file.path, size_bytes=file.size_bytes, digest=file.digest, algorithm=file.algorithm)
        for file in sorted(chosen, key=lambda file: file.path)
    )


def _is_needed(path: PurePosixPath) -> bool:
    if path.parts[0] == "additional_chat_templates":
        return path.suffix == ".jinja"
    if len(path.parts) > 1:
        return False
    return path.suffix == ".safetensors" or path.suffix in _NEEDED_SUFFIXES or path.name.startswith(_NEEDED_NAMES)


def _some(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
