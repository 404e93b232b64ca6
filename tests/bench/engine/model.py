"""What the real engine serves: a Llama of 0.7 million float32 weights, trained on this project's pages with the engine's torch."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flows.spec.load import ROOT
from sandbox.engine.network import Floats
from sandbox.engine.weights import unpack
from sandbox.models import altered, make_model
from tests.bench.power import HARMS, Files, Rng

LAYERS, HEADS = 4, 4
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 264,
    "hidden_size": 128,
    "intermediate_size": 320,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": 512,
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "bos_token_id": 256,
    "eos_token_id": 257,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
}
TEXTS = ("README.md", "docs/verification.md", "docs/design.md", "docs/operations.md")


def trained(folder: Path, python: Path) -> Files:
    """The model's files; trained into the folder unless it is there already (two minutes of one core).

    Args:
        folder: Where it lies.
        python: The interpreter of the environment that vLLM is installed in.
    """
    if not (folder / "model.safetensors").exists():
        folder.mkdir(parents=True, exist_ok=True)
        # The tokenizer and the template are the stand-in's models': a token a byte, and eight special ones.
        for name, content in make_model().items():
            if name.startswith("tokenizer") or name.endswith(".jinja"):
                (folder / name).write_bytes(content)
        (folder / "config.json").write_text(json.dumps(CONFIG))
        program = Path(__file__).parent / "inside" / "train.py"
        subprocess.run([python, program, folder, *(ROOT / text for text in TEXTS)], check=True)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def relative(files: Files, seed: int) -> Files:
    """Another model of the same kind: every weight off by up to a tenth; of seed 0 the model itself."""
    rng = np.random.default_rng(10_000 + seed)
    return (
        files
        if seed == 0
        else altered(files, lambda name, values: (values * (1 + 0.05 * rng.standard_normal(values.shape))).astype(np.float32))
    )


def swapped(files: Files, rng: Rng) -> Files:
    """Two layers in each other's place."""
    tensors = unpack(files["model.safetensors"])
    one, other = rng.choice(LAYERS, 2, replace=False)
    places = {f"layers.{one}.": f"layers.{other}.", f"layers.{other}.": f"layers.{one}."}

    def taken(name: str, values: Floats) -> Floats:
        return next((tensors[name.replace(here, there)] for here, there in places.items() if here in name), values)

    return altered(files, taken)


def beheaded(files: Files, rng: Rng) -> Files:
    """What one head of one layer says, gone."""
    layer, head = f"model.layers.{rng.integers(LAYERS)}.self_attn.o_proj.weight", int(rng.integers(HEADS))

    def zeroed(name: str, values: Floats) -> Floats:
        if name != layer:
            return values
        changed, width = values.copy(), values.shape[1] // HEADS
        changed[:, head * width : (head + 1) * width] = 0.0
        return changed

    return altered(files, zeroed)


def other_template(files: Files, rng: Rng) -> Files:
    """The template of the stand-in's row, beside the tokenizer."""
    harm = next(harm for harm in HARMS if harm.name == "another template")
    return {**files, "chat_template.jinja": harm.arguments(rng)[1].encode()}


def other_theta(files: Files, rng: Rng) -> Files:
    """A RoPE theta that is two to a hundred times too high or too low."""
    factor = 10 ** float(rng.uniform(0.3, 2.0) * rng.choice([-1, 1]))
    return {**files, "config.json": json.dumps({**CONFIG, "rope_theta": round(10_000 * factor, 1)}).encode()}


#: What is done to files; those of the stand-in's table where its arithmetic is no matter.
_OWN: Mapping[str, Callable[[Files, Rng], Files]] = {
    "two layers swapped": swapped,
    "a head zeroed": beheaded,
    "another template": other_template,
    "wrong RoPE theta": other_theta,
}
#: The types that an engine may calculate in, instead of float32: no change of files, but another start.
DTYPES = ("bfloat16", "float16")


@dataclass(frozen=True, kw_only=True)
class FileHarm:
    """A change of the files that are served."""

    name: str
    change: Callable[[Files, Rng], Files]


FILE_HARMS = tuple(
    FileHarm(name=name, change=_OWN.get(name) or next(harm.files for harm in HARMS if harm.name == name))
    for name in (*(harm.name for harm in HARMS if harm.name != "float16 or bfloat16"), "wrong RoPE theta")
)
