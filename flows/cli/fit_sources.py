"""Where `slipway fit` finds a model: a folder, a configuration, or the hub. Reads headers of weights, and never the weights."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blocks.errors import HubRejected, PipelineError
from blocks.hub.model_config import read_config, read_params
from flows.errors import Refusal, SpecInvalid
from flows.fit.configuration import MOST_BYTES, read_document
from flows.fit.errors import Unreadable
from flows.fit.model import ConfiguredModel, overridden, read_model
from flows.fit.weights import Stored

#: The largest index of weights; those of the largest models have some ten megabytes.
_MOST_INDEX_BYTES = 64 * 2**20

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Found:
    """A model that was found.

    Attributes:
        name: What to call it.
        model: What its configuration says.
        stored: Its weights; none if there are none beside it.
        refusals: What is wrong with its weights.
    """

    name: str
    model: ConfiguredModel
    stored: Stored | None = None
    refusals: tuple[str, ...] = ()


def find(what: str, revision: str, overrides: Mapping[str, Any]) -> Found:
    """The model that is meant: what lies at that path, else what the hub has under that name.

    Raises:
        SpecInvalid: It is neither, or its configuration cannot be read.
        PipelineError: The hub said no, or did not answer.
    """
    path = Path(what)
    try:
        there = path.exists()
    except (OSError, ValueError):  # a name too long, or with a zero byte
        there = False
    if there:
        found = _folder(path) if path.is_dir() else _file(path)
    elif _REPOSITORY.fullmatch(what):
        found = _hub(what, revision)
    else:
        raise SpecInvalid(f"{what[:200]!r} is neither a folder nor a file here, nor ORGANISATION/NAME on the hub.")
    return Found(name=found.name, model=overridden(found.model, overrides), stored=found.stored, refusals=found.refusals)


def _document(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
            size = path.stat().st_size
    except OSError as exc:
        raise SpecInvalid(f"{path} cannot be read: {exc.strerror}.") from exc
    if size > MOST_BYTES:
        raise SpecInvalid(f"{path} has {size:,} bytes; a configuration has {MOST_BYTES:,} at most.")
    try:
        return read_document(content, str(path))
    except Unreadable as exc:
        raise SpecInvalid(exc.message) from exc


def _file(path: Path) -> Found:
    document = _document(path)
    config = read_params(document) if path.name == "params.json" else read_config(document)
    return Found(name=str(path), model=read_model(config.configuration))


def _folder(path: Path) -> Found:
    beside = path / "hf_quant_config.json"
    if (path / "config.json").is_file():
        config = read_config(_document(path / "config.json"), _document(beside) if beside.is_file() else None)
    elif (path / "params.json").is_file():
        config = read_params(_document(path / "params.json"))
    else:
        raise SpecInvalid(f"{path} holds no config.json; nobody can tell what model it is.")
    model = read_model(config.configuration)
    try:
        return Found(name=str(path), model=model, stored=_weights(path))
    except HubRejected as exc:
        return Found(name=str(path), model=model, refusals=(exc.message,))


def _weights(path: Path) -> Stored | None:
    """What the safetensors files of a folder hold: those of its index, else all that lie there.

    Raises:
        HubRejected: One is no safetensors file, or is missing.
    """
    from blocks.hub.json_objects import read_json_object
    from blocks.hub.safetensors import PREFIX_BYTES, header_length, read_header

    index = path / "model.safetensors.index.json"
    try:
        if index.is_file():
            if index.stat().st_size > _MOST_INDEX_BYTES:
                raise HubRejected(f"{index} has {index.stat().st_size:,} bytes; an index has {_MOST_INDEX_BYTES:,} at most.")
            places = read_json_object(index.read_bytes(), str(index)).get("weight_map")
            if not isinstance(places, dict) or not all(isinstance(name, str) and "/" not in name for name in places.values()):
                raise HubRejected(f"{index} has no weight_map that names files.")
            files = sorted({path / name for name in places.values()})
        else:
            files = sorted(path.glob("*.safetensors"))
        numbers: Counter[str] = Counter()
        size = 0
        for file in files:
            whole = file.stat().st_size
            with file.open("rb") as opened:
                length = header_length(opened.read(PREFIX_BYTES), whole, str(file))
                header = read_header(opened.read(length), whole, str(file))
            numbers.update(header.stored)
            size += header.data_bytes
    except (OSError, ValueError) as exc:
        raise HubRejected(f"The weights of {path} cannot be read: {getattr(exc, 'strerror', None) or 'a name is none'}.") from exc
    return Stored(numbers=numbers, size_bytes=size) if files else None


def _hub(repository: str, revision: str) -> Found:
    """What the hub has; `HF_ENDPOINT` and `HF_TOKEN` are what they are to everybody else."""
    from blocks.hub.listing import read_commit
    from blocks.hub.reads import HubReader
    from blocks.hub.web import Web
    from blocks.hub.weights import read_headers, read_index, stored
    from flows.candidate.files import index_path, select_files, weight_files

    web = Web(os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/"), os.environ.get("HF_TOKEN") or None, 20.0)
    try:
        commit = read_commit(web, repository, revision)
        reader = HubReader(web, commit)
        name = f"{commit.repository} at {commit.commit[:12]}"
        if reader.file("config.json") is None:
            raise Refusal(f"{name} holds no config.json; nobody can tell what model it is.")
        quantised = _of_hub(reader, "hf_quant_config.json") if reader.file("hf_quant_config.json") is not None else None
        model = read_model(read_config(_of_hub(reader, "config.json"), quantised).configuration)
        try:
            path = index_path(commit.files)
            index = read_index(reader, path) if path is not None else None
            headers = read_headers(reader, weight_files(file.path for file in select_files(repository, commit.files, index=index)))
        except PipelineError as exc:
            return Found(name=name, model=model, refusals=(exc.message,))
        size = sum(header.data_bytes for header in headers.values())
        return Found(name=name, model=model, stored=Stored(numbers=stored(headers), size_bytes=size))
    finally:
        web.close()


def _of_hub(reader: Any, path: str) -> dict[str, Any]:
    from blocks.hub.json_objects import read_json_object

    return read_json_object(reader.whole(path, MOST_BYTES, "a configuration"), reader.named(path))
