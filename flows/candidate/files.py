"""Which files of a hub commit the engine needs, which stay on the hub, and which it must never see."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from blocks.facts import HubFile
from flows.candidate.weights import INDEX_NAMES, choose_weights, is_weights
from flows.errors import Refusal, SpecInvalid
from flows.spec import LoadFormat, SnapshotFile
from flows.text import listed

#: What vLLM falls back to in the folder that it serves where that has no safetensors (`*.bin`, `*.pt`, by its loader's own patterns):
#: pickles, which run code when they are loaded. A folder that has them is one that another tool, or another setting, would load them from.
_UNSAFE = (".bin", ".pt")

#: What trainers leave beside the weights. These are pickles too, but no weights: nothing would load them, and no node gets them.
_LEFTOVERS = re.compile(
    r"(training_args|optimizer|scheduler|scaler|trainer_state|rng_state(_\d+)?|random_states_\d+)\.(bin|pt|pth|pkl)"
    r"|.*(model|optim)_states\.pt"  # DeepSpeed's
)

#: Formats of weights that vLLM, told to load safetensors, does not look at; many are pickles or run code in another way.
_OTHER_WEIGHTS = frozenset(
    {*_UNSAFE, ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".h5", ".msgpack", ".npz", ".npy", ".gguf", ".onnx", ".tflite", ".nemo"}
)

#: What a text model needs beside its weights: configuration, tokenizer, chat templates, licence.
_NEEDED_SUFFIXES = (".json", ".jinja", ".model", ".tiktoken", ".txt", ".md")
#: `tokenizer.model.v3` and its like are Mistral's.
_NEEDED_NAMES = ("LICENSE", "LICENCE", "NOTICE", "tokenizer.model.")

#: Folders in which chat templates lie: transformers looks into the first, `--chat-template` may name a file of the other.
_TEMPLATE_FOLDERS = ("additional_chat_templates/", "chat_templates/")

#: The most that the list of chosen files may be: it goes to the nodes in a ConfigMap, which holds 1 MiB.
_MOST_LIST_BYTES = 1_000_000
_LINE_BYTES = 140


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Files that stay on the hub for one reason.

    Attributes:
        why: The reason, as words for people.
        files: How many they are.
        size_bytes: What they take.
        examples: The first of them.
    """

    why: str
    files: int
    size_bytes: int
    examples: tuple[str, ...]


def folder_of(subfolder: str) -> str:
    """What paths of a subfolder begin with; empty for the whole repository."""
    return f"{subfolder}/" if subfolder else ""


def index_path(files: Sequence[HubFile], *, subfolder: str = "", load_format: LoadFormat = "safetensors") -> str | None:
    """The index that says which files are the weights; none if the folder has none."""
    path = folder_of(subfolder) + INDEX_NAMES[load_format]
    return path if any(file.path == path for file in files) else None


def unsafe_files(files: Sequence[HubFile], subfolder: str = "") -> tuple[str, ...]:
    """Pickled weights in the folder that is served, where vLLM would look for them; sorted. Elsewhere they are nobody's business."""
    folder = folder_of(subfolder)
    names = (file.path.removeprefix(folder) for file in files if file.path.startswith(folder))
    found = (name for name in names if "/" not in name and name.lower().endswith(_UNSAFE) and not _LEFTOVERS.fullmatch(name))
    return tuple(sorted(folder + name for name in found))


def select_files(
    repository: str,
    files: Sequence[HubFile],
    *,
    index: Mapping[str, str] | None = None,
    subfolder: str = "",
    load_format: LoadFormat = "safetensors",
    remote_code: bool = False,
) -> tuple[SnapshotFile, ...]:
    """The files to bring to the nodes, sorted by path.

    Weights are the safetensors that vLLM will load (`choose_weights`); a second copy in another layout, adapters and strays are left where
    they are. Nothing that `unsafe_files` names is ever chosen.

    Args:
        repository: Where they lie, for messages.
        files: All files of the commit.
        index: What the file at `index_path` says (tensor → file), if there is one.
        subfolder: The folder that holds the model; empty for the top.
        load_format: How vLLM is told to load the weights.
        remote_code: Whether the repository's own code (`*.py` of that folder) is needed as well.

    Raises:
        Refusal: The folder holds no safetensors weights, not all of them, no configuration, or more files than a Job can be told of.
        SpecInvalid: A path would leave the snapshot's folder.
    """
    folder = folder_of(subfolder)
    where = f"{repository}'s folder {subfolder}" if subfolder else repository
    inside: dict[str, HubFile] = {}
    for file in files:
        # The names are a stranger's, and become paths on the nodes. The hub block lets none of these in.
        if file.path.startswith("/") or ".." in file.path.split("/") or "\\" in file.path or "\0" in file.path:
            raise SpecInvalid(f"{repository} holds a file whose path leaves its folder: {file.path!r}; do not use this repository.")
        if file.path.startswith(folder):
            inside[file.path[len(folder) :]] = file
    if subfolder and not inside:
        raise Refusal(f"{repository} has no folder {subfolder}, which `subfolder` of the model's file names.")
    direct = [name for name in inside if "/" not in name]
    weights = frozenset(choose_weights(where, direct, index, load_format))
    if not weights:
        raise Refusal(_no_weights(where, inside, unsafe_files(files, subfolder), load_format))
    wanted = "params.json" if load_format == "mistral" else "config.json"
    if wanted not in inside:
        raise Refusal(f"{where} holds no {wanted}; vLLM cannot tell what model it is.")
    chosen = [file for name, file in inside.items() if name in weights or _is_needed(name, remote_code=remote_code)]
    if sum(_LINE_BYTES + len(json.dumps(file.path)) for file in chosen) > _MOST_LIST_BYTES:
        raise Refusal(
            f"{where} has {len(chosen):,} files beside each other that an engine may read; some 5,000 is the most that a node can be told "
            "of."
        )
    return tuple(
        SnapshotFile(path=file.path, size_bytes=file.size_bytes, digest=file.digest, algorithm=file.algorithm)
        for file in sorted(chosen, key=lambda file: file.path)
    )


def weight_files(paths: Iterable[str]) -> tuple[str, ...]:
    """Those of the chosen files that hold the weights; in order."""
    return tuple(path for path in paths if path.endswith(".safetensors"))


def left_out(
    files: Sequence[HubFile], chosen: Sequence[SnapshotFile], *, subfolder: str = "", load_format: LoadFormat = "safetensors"
) -> tuple[LeftOut, ...]:
    """What stays on the hub, and why; the largest first."""
    taken = {file.path for file in chosen}
    by_reason: dict[str, list[HubFile]] = defaultdict(list)
    for file in files:
        if file.path not in taken:
            by_reason[_reason(file.path, folder_of(subfolder), load_format)].append(file)
    groups = [
        LeftOut(
            why=why,
            files=len(group),
            size_bytes=sum(file.size_bytes for file in group),
            examples=tuple(sorted(file.path for file in group)[:3]),
        )
        for why, group in by_reason.items()
    ]
    return tuple(sorted(groups, key=lambda group: (-group.size_bytes, group.why)))


def _reason(path: str, folder: str, load_format: LoadFormat) -> str:
    name = path.removeprefix(folder) if path.startswith(folder) else ""
    suffix = PurePosixPath(path).suffix.lower()
    if suffix in _OTHER_WEIGHTS:
        return "weights or data of another format, some of which can run code when loaded: vLLM is told to load safetensors"
    if not name or "/" in name:
        return "in a folder that vLLM does not look into"
    if name.endswith(".safetensors"):
        if is_weights(name, load_format):
            return "weights that the index does not name"
        return "an adapter" if name.startswith("adapter_") else "the weights again, in the layout of the other engine.load_format"
    if suffix == ".py":
        return "code of the repository, which does not run"
    return "nothing that vLLM reads"


def _no_weights(where: str, paths: Iterable[str], unsafe: Sequence[str], load_format: LoadFormat) -> str:
    names = sorted(paths)
    other: LoadFormat = "safetensors" if load_format == "mistral" else "mistral"
    direct = [name for name in names if "/" not in name]
    if any(is_weights(name, other) for name in direct):
        layout = "Mistral's own layout (consolidated*.safetensors)" if other == "mistral" else "the usual layout, not in Mistral's own"
        served = f"set engine.load_format: {other} in the model's file to serve these"
        return f"{where} holds no safetensors weights but those in {layout}: {served}."
    holds = f"{where} holds no safetensors weights in its top folder"
    if unsafe:
        return f"{holds}; Slipway serves no other format ({listed(unsafe)} can run code when loaded)."
    if adapters := [name for name in direct if name.startswith("adapter_") and name.endswith(".safetensors")]:
        return f"{holds} but an adapter ({listed(adapters)}): name the repository of the whole model."
    if found := [name for name in direct if PurePosixPath(name).suffix.lower() in _OTHER_WEIGHTS]:
        return f"{holds}; Slipway serves no other format ({listed(found)})."
    folders = sorted({name.rpartition("/")[0] for name in names if "/" in name and is_weights(name.rpartition("/")[2], load_format)})
    if folders:
        return f"{holds}, but in {listed(folders)}: set `subfolder` in the model's file to serve the model of a folder."
    return f"{holds}; Slipway serves no other format."


def _is_needed(name: str, *, remote_code: bool) -> bool:
    """Whether a file of the served folder is needed beside the weights."""
    if name.startswith(_TEMPLATE_FOLDERS):
        return name.count("/") == 1 and name.endswith(".jinja")
    # Hidden files are of git and of tools, and one name is Slipway's own (`.manifest.json`).
    if "/" in name or name.startswith("."):
        return False
    if name.endswith(".py"):
        return remote_code
    return name.endswith(_NEEDED_SUFFIXES) or name.startswith(_NEEDED_NAMES)
