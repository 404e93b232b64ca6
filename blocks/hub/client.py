"""The Hugging Face hub: what a revision is, which files it has, and what model they make. Bytes are fetched on the nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Self

from blocks.facts import HubCommit
from blocks.facts.model import ModelFacts
from blocks.hub.json_objects import read_json_object
from blocks.hub.listing import read_commit
from blocks.hub.model_config import asks_for_code, read_config, read_params
from blocks.hub.reads import HubReader
from blocks.hub.web import Web
from blocks.hub.weights import read_headers, read_index, require_indexed, stored

#: Files that may ask for code of the repository to be run (`auto_map`).
_CONFIGURATIONS = ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json")

#: Where ModelOpt says how weights and KV cache are quantised; vLLM reads it, too.
_QUANTISED = "hf_quant_config.json"

#: Mistral's own configuration.
_PARAMS = "params.json"

#: Largest configuration that is read. Real ones have kilobytes; a tokenizer's with many added tokens has a megabyte.
_MOST_CONFIG_BYTES = 8 * 2**20

#: Suffixes of files that hold weights, for the list of formats; the other ones are not weights or cannot be told by their name.
_WEIGHTS = frozenset({".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".npz", ".gguf", ".onnx"})


class HubClient:
    """Reads metadata from the hub: three requests a commit, one more if it is gated, and two for each file that is looked into.

    Args:
        web: The hub.
    """

    def __init__(self, web: Web) -> None:
        self._web = web

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._web.close()

    def commit(self, repository: str, revision: str) -> HubCommit:
        """Resolve a revision (branch, tag or commit) and list the files of its commit.

        Raises:
            HubRejected: The repository or revision does not exist, may not be read, or the answer is not what a hub says.
            HubUnreachable: The hub did not answer.
        """
        return read_commit(self._web, repository, revision)

    def index(self, commit: HubCommit, path: str) -> Mapping[str, str]:
        """Where each tensor of the model is, by the index at that path: its name → the name of the file beside it.

        Raises:
            HubRejected: It is no index.
            HubUnreachable: The hub or its CDN did not answer.
        """
        return read_index(HubReader(self._web, commit), path)

    def describe(
        self, commit: HubCommit, weights: Sequence[str], *, folder: str = "", index: Mapping[str, str] | None = None, mistral: bool = False
    ) -> ModelFacts:
        """What model a commit is, by its configuration and the headers of its weights; no weights are fetched.

        Args:
            commit: The commit.
            weights: Its files of weights that are to be served, safetensors.
            folder: Where the model lies in it: empty, or a path with a slash at its end.
            index: What its index says, if it has one; each tensor must be where that says.
            mistral: Whether it is configured by `params.json`.

        Raises:
            HubRejected: A file is not what its name says, or may not be read, or a tensor is not where it should be.
            HubUnreachable: The hub or its CDN did not answer.
        """
        reader = HubReader(self._web, commit)
        headers = read_headers(reader, weights)
        if index is not None:
            require_indexed(reader, index, headers)
        names = [name for name in (*_CONFIGURATIONS, _QUANTISED, *([_PARAMS] if mistral else [])) if reader.file(folder + name)]
        documents = {name: _configuration(reader, folder + name) for name in names}
        code = {name: asks_for_code(document) for name, document in documents.items()}
        in_folder = (file.path.removeprefix(folder) for file in commit.files if file.path.startswith(folder))
        scripts = [name for name in in_folder if name.endswith(".py") and "/" not in name]
        return ModelFacts(
            config=read_params(documents.get(_PARAMS, {}))
            if mistral
            else read_config(documents.get("config.json", {}), documents.get(_QUANTISED)),
            stored=stored(headers),
            weights_bytes=sum(header.data_bytes for header in headers.values()),
            formats=tuple(sorted({suffix[1:] for file in commit.files if (suffix := PurePosixPath(file.path).suffix.lower()) in _WEIGHTS})),
            licences=commit.licences,
            gated=commit.gated,
            remote_code=(*(f"{name} (auto_map)" for name, (asks, _) in code.items() if asks), *sorted(scripts)),
            foreign_code=tuple(sorted({name for _, names in code.values() for name in names})),
        )


def _configuration(reader: HubReader, path: str) -> dict[str, Any]:
    return read_json_object(reader.whole(path, _MOST_CONFIG_BYTES, "a configuration"), reader.named(path))
