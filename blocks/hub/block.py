"""The Hugging Face hub: what a revision is, which files it has, and what model they make. Bytes are fetched on the nodes."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Any, Self

from huggingface_hub import HfApi
from huggingface_hub.hf_api import RepoFile
from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from blocks.errors import HubRejected
from blocks.facts import HubCommit, HubFile
from blocks.facts.model import ModelFacts
from blocks.hub.errors import HUB_FAULTS, hub_error
from blocks.hub.model_config import asks_for_code, read_config, read_json_object
from blocks.hub.reads import HubReader
from blocks.hub.safetensors import PREFIX_BYTES, header_length, read_header

#: Files that may ask for code of the repository to be run (`auto_map`).
_CONFIGURATIONS = ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json")

#: Largest configuration that is read. Real ones have kilobytes; a tokenizer's with many added tokens has a megabyte.
_MOST_CONFIG_BYTES = 8 * 2**20

#: What is read of a file of weights at first. Nearly all headers fit in, and most save a second request.
_FIRST_BYTES = 64 * 2**10

#: Files that are read at the same time, and files of weights that a model may have; the largest known have fewer than 200.
_AT_ONCE = 8
_MOST_SHARDS = 1000

#: Suffixes of files that hold weights, for the list of formats; the other ones are not weights or cannot be told by their name.
_WEIGHTS = frozenset({".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".npz", ".gguf", ".onnx"})


class Hub(Block):
    """The Hugging Face hub, or a mirror that speaks its protocol. Used for names and metadata; the weights go straight to the nodes."""

    _block_type_name = "Slipway hub"
    _block_type_slug = "slipway-hub"

    endpoint: str = Field(default="https://huggingface.co", description="Address of the hub.", pattern=r"^https?://[^/]+$")
    token: SecretStr | None = Field(default=None, description="A read token, for gated and private repositories.")
    timeout_seconds: float = Field(default=20.0, gt=0, description="How long one request may take.")

    def client(self) -> HubClient:
        """A client for this hub."""
        return HubClient(self)


class HubClient:
    """Reads metadata from the hub: two requests a commit, one more if it is gated, and two for each file that is looked into."""

    def __init__(self, block: Hub) -> None:
        self._token = block.token.get_secret_value() if block.token else None
        # False, not None: with None the client takes the token that lies in the worker's home.
        self._api = HfApi(endpoint=block.endpoint, token=self._token or False, library_name="slipway")
        self._endpoint = block.endpoint
        self._has_token = block.token is not None
        self._timeout_seconds = block.timeout_seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def commit(self, repository: str, revision: str) -> HubCommit:
        """Resolve a revision (branch, tag or commit) and list the files of its commit.

        Raises:
            HubRejected: The repository or revision does not exist, or may not be read.
            HubUnreachable: The hub did not answer.
        """
        try:
            info = self._api.model_info(repository, revision=revision, timeout=self._timeout_seconds)
            if info.gated:
                # A gated repository shows its listing to everybody: only this tells whether its files may be had.
                self._api.auth_check(repository)
            if info.sha is None:
                raise HubRejected(f"The hub {self._endpoint} names no commit for {repository} at {revision!r}; it may not be a hub.")
            # By the commit: a branch may move between the two requests.
            entries = list(self._api.list_repo_tree(repository, revision=info.sha, recursive=True))
        except HUB_FAULTS as exc:
            raise hub_error(exc, self._endpoint, repository, revision, has_token=self._has_token) from exc
        return HubCommit(
            repository=repository,
            commit=info.sha,
            files=tuple(_file(entry) for entry in entries if isinstance(entry, RepoFile)),
            licences=_licences(vars(info.card_data) if info.card_data is not None else {}),
            gated=bool(info.gated),
        )

    def describe(self, commit: HubCommit, weights: Sequence[str]) -> ModelFacts:
        """What model a commit is, by its configuration and the headers of its weights; no weights are fetched.

        Args:
            commit: The commit.
            weights: Its files of weights that are to be served, safetensors.

        Raises:
            HubRejected: A file is not what its name says, or may not be read.
            HubUnreachable: The hub or its CDN did not answer.
        """
        if len(weights) > _MOST_SHARDS:
            raise HubRejected(f"{commit.repository} has {len(weights)} files of weights; {_MOST_SHARDS} is the most that are looked into.")
        files = {file.path: file for file in commit.files}
        with (
            HubReader(self._endpoint, self._token, commit.repository, commit.commit, self._timeout_seconds) as reader,
            ThreadPoolExecutor(_AT_ONCE) as pool,
        ):
            configurations = pool.map(lambda name: _configuration(reader, commit, files[name]), filter(files.get, _CONFIGURATIONS))
            headers = pool.map(lambda name: _header(reader, commit, files[name]), weights)
            documents, tensors = dict(configurations), list(headers)
        code = {name: asks_for_code(document) for name, document in documents.items()}
        scripts = [file.path for file in commit.files if PurePosixPath(file.path).match("*.py") and "/" not in file.path]
        return ModelFacts(
            config=read_config(documents.get("config.json", {})),
            stored=dict(sum((counts for counts, _ in tensors), Counter[str]())),
            weights_bytes=sum(size for _, size in tensors),
            formats=tuple(sorted({suffix[1:] for file in commit.files if (suffix := PurePosixPath(file.path).suffix.lower()) in _WEIGHTS})),
            licences=commit.licences,
            gated=commit.gated,
            remote_code=(*(f"{name} (auto_map)" for name, (asks, _) in code.items() if asks), *sorted(scripts)),
            foreign_code=tuple(sorted({name for _, names in code.values() for name in names})),
        )


def _configuration(reader: HubReader, commit: HubCommit, file: HubFile) -> tuple[str, dict[str, Any]]:
    shown = f"{file.path} of {commit.repository}"
    if file.size_bytes > _MOST_CONFIG_BYTES:
        raise HubRejected(f"{shown} has {file.size_bytes:,} bytes; a configuration has {_MOST_CONFIG_BYTES:,} at most.")
    content = reader.read(file.path, 0, file.size_bytes)
    git = hashlib.sha1(f"blob {len(content)}\0".encode() + content, usedforsecurity=False)
    if file.digest != (hashlib.sha256(content) if file.algorithm == "sha256" else git).hexdigest():
        # What is decided by it must be what the nodes will get, and they get what the listing says.
        raise HubRejected(f"The hub sent another {shown} than its own list of files says; try again, or use another revision.")
    return file.path, read_json_object(content, shown)


def _header(reader: HubReader, commit: HubCommit, file: HubFile) -> tuple[Counter[str], int]:
    """The numbers of each type in a file of weights, and the bytes that they take."""
    shown = f"{file.path} of {commit.repository}"
    first = reader.read(file.path, 0, min(_FIRST_BYTES, file.size_bytes))
    end = PREFIX_BYTES + header_length(first, file.size_bytes, shown)
    header = first[:end] if end <= len(first) else first + reader.read(file.path, len(first), end)
    return read_header(header[PREFIX_BYTES:], file.size_bytes, shown), file.size_bytes - end


def _licences(card: dict[str, Any]) -> tuple[str, ...]:
    """The licences that a model card names; `other` is replaced by the name that the card gives it."""
    named = card.get("license")
    other = card.get("license_name")
    names = [name for name in (named if isinstance(named, list) else [named]) if isinstance(name, str) and name]
    return tuple((other if name == "other" and isinstance(other, str) and other else name).lower() for name in names)


def _file(entry: RepoFile) -> HubFile:
    if entry.lfs is not None:
        return HubFile(path=entry.path, size_bytes=entry.size, digest=entry.lfs.sha256, algorithm="sha256")
    # Of small files, which git itself holds, the hub states git's hash alone.
    return HubFile(path=entry.path, size_bytes=entry.size, digest=entry.blob_id, algorithm="git-sha1")
