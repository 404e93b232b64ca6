"""What vLLM 0.32 loads from a folder by its own rules (`model_loader/default_loader.py`), told once more and apart from ours."""

from __future__ import annotations

import fnmatch
import json
import random
from collections import Counter
from collections.abc import Mapping
from typing import Literal, NoReturn

import safetensors

from blocks.errors import PipelineError
from flows.candidate.tasks import find
from flows.spec import EngineSettings, LoadFormat
from tests.support.examples import model
from tests.support.told_hub import ToldHub, generated_repository


def loaded_by_vllm(folder: Mapping[str, bytes], load_format: str) -> list[str]:
    """The files that `--load-format` has it load, in no order; empty where it would not start.

    Args:
        folder: Name → content of what lies in the folder that it serves.
        load_format: `safetensors` or `mistral`.
    """
    pattern, index = ("consolidated*.safetensors", "consolidated.safetensors.index.json") if load_format == "mistral" else (
        "*.safetensors", "model.safetensors.index.json"
    )  # fmt: skip
    found = [name for name in folder if "/" not in name and fnmatch.fnmatchcase(name, pattern)]
    if index in folder:
        named = set(json.loads(folder[index])["weight_map"].values())
        found = [name for name in found if name in named]
    return found


def chosen_from(seed: int) -> Literal["chosen", "refused"]:
    """Choose from the repository of that seed, and hold what was chosen to vLLM's own rules; what became of it."""
    generator = random.Random(seed)
    files = generated_repository(generator)
    load_format: LoadFormat = generator.choice(["safetensors", "safetensors", "mistral"])
    subfolder = generator.choice(["", "variant"]) if any(path.startswith("variant/") for path in files) else ""
    wanted = model(repository="o/n", subfolder=subfolder, engine=EngineSettings(max_model_len=256, load_format=load_format))
    try:
        chosen = find(ToldHub(files).client(), wanted, "main")
    except PipelineError as exc:
        return "refused" if exc.message.isprintable() else _fail(seed, exc.message)
    folder = f"{subfolder}/" if subfolder else ""
    served = {file.path.removeprefix(folder): files[file.path] for file in chosen.files}
    weights = sorted(name for name in served if name.endswith(".safetensors"))
    assert weights, seed
    # nothing that vLLM would not load, and nothing that it would load and that was left
    assert sorted(loaded_by_vllm(served, load_format)) == weights, seed
    tensors = Counter(name for file in weights for name, _ in safetensors.deserialize(served[file]))
    assert max(tensors.values()) == 1, seed
    assert set(chosen.index or {}) <= set(tensors), seed
    assert not any(name.endswith((".bin", ".pt", ".pth")) for name in served), seed
    return "chosen"


def _fail(seed: int, said: str) -> NoReturn:
    raise AssertionError(f"seed {seed} is refused with {said!r}")
