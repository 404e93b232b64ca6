"""Whether the comparison with the release before notices harm, and leaves honest releases alone, by the stand-in engine's arithmetic.

`make bench-verify` prints a line for each harm and writes them to `build/bench-power.json`. The suite names no golden prompts, so that all
is up to the prompts that the pipeline chooses. Each harm is done with other random numbers twenty times; honest releases are the same files
served anew, half of them with a load beside, by engines whose logits differ from themselves by as much as is said.

The stand-in has neither attention nor positions: a zeroed head is a quarter of what one layer reads, and a wrong RoPE theta cannot be
played. It has no compiled code and no prefix cache either: what these add to an engine's noise is played as noise.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from blocks.endpoint import Endpoint, EndpointClient
from flows.spec import BehaviourPolicy, Candidate, CheckSuite
from flows.spec.load import ROOT, Deployments
from flows.verification.behaviour import Behaviour, compare, tolerance
from flows.verification.golden import Golden, Reference
from flows.verification.power import power
from flows.verification.regression import check_behaviour
from flows.verification.requests import COMPLETIONS
from flows.verification.tasks.questions import Questions
from sandbox.engine.arguments import parse
from sandbox.engine.core import EngineCore
from sandbox.engine.faults import FaultsView
from sandbox.engine.loading import load
from sandbox.engine.metrics import Metrics
from sandbox.engine.network import Floats, Network
from sandbox.engine.server import EngineServer
from sandbox.engine.weights import rounded
from sandbox.models import SHAPE, altered, make_model
from sandbox.serving import HttpServer, LoopThread
from tests.support.examples import candidate

RESULTS = Path("build") / "bench-power.json"
SEEDS = 20
HONEST = 200
#: By how much, in nats, an engine's logits differ from themselves: not at all, as vLLM 0.32.0 on a CPU, and as logits in bfloat16 may.
NOISES_NATS = (0.0, 1e-5, 1e-3, 0.02)
#: Harms that must be noticed every time; weaker ones are told.
CAUGHT = ("noise 1 %", "noise 10 %", "two layers swapped", "a head zeroed", "another template", "another tokenizer", "a quantised copy")

Files = Mapping[str, bytes]
Rng = np.random.Generator


@dataclass(frozen=True, kw_only=True)
class Harm:
    """A change that a release of the same hub revision must not bring: other files, or other arguments."""

    name: str
    files: Callable[[Files, Rng], Files] = lambda files, rng: files
    arguments: Callable[[Rng], Sequence[str]] = lambda rng: ()


def noise(share: float) -> Callable[[Files, Rng], Files]:
    """Every weight off by a share of itself."""
    return lambda files, rng: altered(
        files, lambda name, values: (values * (1 + share * rng.standard_normal(values.shape))).astype(np.float32)
    )


def swapped(files: Files, rng: Rng) -> Files:
    """Two layers in each other's place; of neighbours, whose weights are of like size."""
    layer = int(rng.integers(0, SHAPE.window - 1))
    names = [f"model.layers.{number}.mlp.up_proj.weight" for number in (layer, layer + 1)]
    kept: dict[str, Floats] = {}
    altered(files, lambda name, values: kept.setdefault(name, values))
    return altered(files, lambda name, values: kept[names[1 - names.index(name)]] if name in names else values)


def beheaded(files: Files, rng: Rng) -> Files:
    """A quarter of what one of the eight latest layers reads, gone."""
    layer, head = f"model.layers.{int(rng.integers(0, 8))}.mlp.up_proj.weight", int(rng.integers(0, 4))

    def zeroed(name: str, values: Floats) -> Floats:
        if name != layer:
            return values
        changed = values.copy()
        changed[:, 4 * head : 4 * head + 4] = 0.0
        return changed

    return altered(files, zeroed)


def less_precise(files: Files, rng: Rng) -> Files:
    """The weights as float16 or as bfloat16 have them."""
    if rng.integers(0, 2):
        return altered(files, lambda name, values: values.astype(np.float16).astype(np.float32))
    return altered(files, lambda name, values: rounded(values))


def quantised(files: Files, rng: Rng) -> Files:
    """Eight bits for each weight, with one scale a row, as most quantised copies have it."""

    def rounded_to_bytes(name: str, values: Floats) -> Floats:
        if values.ndim < 2:
            return values
        step = np.abs(values).max(axis=1, keepdims=True) / 127
        return (np.round(values / np.where(step, step, 1)) * step).astype(np.float32)

    return altered(files, rounded_to_bytes)


def other_template(rng: Rng) -> Sequence[str]:
    """A template that puts a space, a line's end or a system message before the answer."""
    before = str(rng.choice([" ", "\n", "<|system|>Be brief.", "<|end|>"]))
    message = "{% for message in messages %}<|{{ message.role }}|>" + before + "{{ message.content }}{% endfor %}"
    return ("--chat-template", message + "{% if add_generation_prompt %}<|assistant|>{% endif %}")


def other_tokenizer(files: Files, rng: Rng) -> Files:
    """Two letters have each other's numbers."""
    document = json.loads(files["tokenizer.json"])
    vocabulary = document["model"]["vocab"]
    one, other = rng.choice(list("etaoinsrhl"), 2, replace=False)
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    return {**files, "tokenizer.json": json.dumps(document).encode()}


HARMS = (
    Harm(name="noise 0.1 %", files=noise(0.001)),
    Harm(name="noise 1 %", files=noise(0.01)),
    Harm(name="noise 10 %", files=noise(0.1)),
    Harm(name="two layers swapped", files=swapped),
    Harm(name="a head zeroed", files=beheaded),
    Harm(name="float16 or bfloat16", files=less_precise),
    Harm(name="another template", arguments=other_template),
    Harm(name="another tokenizer", files=other_tokenizer),
    Harm(name="a quantised copy", files=quantised),
)


class Noisy(Network):
    """A network whose logits differ from themselves at each call, as an engine's do whose batches add up in another order."""

    def __init__(self, network: Network, nats: float, rng: Rng) -> None:
        self.__dict__.update(network.__dict__)
        self._nats, self._rng = nats, rng

    def logits(self, tokens: Sequence[int]) -> Floats:
        return self._off(super().logits(tokens))

    def prompt_logits(self, tokens: Sequence[int]) -> Floats:
        return self._off(super().prompt_logits(tokens))

    def _off(self, logits: Floats) -> Floats:
        return (logits + self._nats * self._rng.standard_normal(logits.shape)).astype(np.float32)


class Bench:
    """Serves files, and asks what is served as a verification does."""

    def __init__(self, loop: LoopThread) -> None:
        self._loop = loop
        self._candidate: Candidate = candidate()
        self._suite: CheckSuite = replace(Deployments(root=ROOT / "deployments").suite("smoke"), golden=())
        self.seconds: list[float] = []

    def asked(
        self, files: Files, *arguments: str, nats: float = 0.0, seed: int = 0, before: Golden | None = None, beside: bool = False
    ) -> Golden:
        """The answers of these files."""
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                Path(folder, name).write_bytes(content)
            options = parse([folder, "--served-model-name", "tiny-llama", "--max-model-len", "256", *arguments])
            model = load(options)
        if nats:
            model = replace(model, network=Noisy(model.network, nats, np.random.default_rng(seed)))
        core = EngineCore(model, Metrics("tiny-llama"), FaultsView(("tiny-llama",)), max_num_seqs=8, seed=0)
        server = HttpServer(EngineServer(core, options).app(), self._loop)
        server.start()
        try:
            with Endpoint(via="dns").client(f"{server.host}:{server.port}") as client, load_beside(client, "tiny-llama", wanted=beside):
                questions = Questions(client, self._candidate)
                questions.warm_up_detail()
                begin = time.perf_counter()
                golden = questions.golden(self._suite, 3, [answer.probe for answer in before.probes] if before else [])
                self.seconds.append(time.perf_counter() - begin)
        finally:
            server.close()
        assert golden.problems == (), golden.problems[:3]
        return golden


@contextmanager
def load_beside(client: EndpointClient, model: str, *, wanted: bool) -> Iterator[None]:
    """Keep the engine busy with one request after another while the block runs, if that is wanted."""
    over = threading.Event()

    def keep_asking() -> None:
        while not over.is_set():
            client.ask(COMPLETIONS, {"model": model, "prompt": "Count: one, two,", "max_tokens": 8, "temperature": 0})

    thread = threading.Thread(target=keep_asking, daemon=True)
    if wanted:
        thread.start()
    try:
        yield
    finally:
        over.set()
        if wanted:
            thread.join()


def judged(now: Golden, before: Golden) -> tuple[Behaviour, bool]:
    """How two releases of one commit differ, and whether that passes."""
    behaviour = compare(now, Reference(fingerprint="f" * 64, commit="c", golden=before), "c")
    assert behaviour is not None
    return behaviour, check_behaviour(behaviour, BehaviourPolicy()).outcome == "passed"


def harmed(bench: Bench, harm: Harm, files: Files, before: Golden) -> dict[str, object]:
    """One line of the table."""
    shifts, caught = [], 0
    for seed in range(SEEDS):
        rng = np.random.default_rng(1000 + seed)
        behaviour, passed = judged(bench.asked(harm.files(files, rng), *harm.arguments(rng), before=before), before)
        assert behaviour.shift is not None
        shifts.append(behaviour.shift.mean_nats)
        caught += not passed
    line: dict[str, object] = {"harm": harm.name, "caught": caught, "of": SEEDS}
    line |= {"least_mean_nats": min(shifts), "median_mean_nats": round(statistics.median(shifts), 6)}
    return {**line, "holds": caught == SEEDS or harm.name not in CAUGHT}


def honest(bench: Bench, files: Files, nats: float) -> dict[str, object]:
    """Honest releases by engines that differ from themselves by that much."""
    before, count = bench.asked(files, nats=nats), HONEST // len(NOISES_NATS)
    failed, ratios = 0, []
    for number in range(count):
        behaviour, passed = judged(bench.asked(files, nats=nats, seed=number + 1, before=before, beside=number % 2 == 1), before)
        assert behaviour.shift is not None
        assert behaviour.tolerance_shift is not None
        ratios.append(behaviour.shift.mean_nats / behaviour.tolerance_shift.mean_nats)
        failed += not passed
    return {
        "honest": f"noise of {nats:g} nats",
        "failed": failed,
        "of": count,
        "largest_share_of_tolerance": round(max(ratios), 3),
        "holds": not failed,
    }


def main() -> int:
    """Measure all; 1 where a promise is not kept."""
    begin, files = time.monotonic(), make_model()
    lines: list[dict[str, object]] = []

    def told(line: dict[str, object]) -> None:
        lines.append(line)
        print(json.dumps(line), flush=True)

    with LoopThread() as loop:
        bench = Bench(loop)
        before = bench.asked(files)
        predicted = power(before, tolerance(before.noise))
        told({"predicted": {f"noise {level.noise:.1%}": level.power for level in predicted.levels}, "positions": predicted.positions})
        for harm in HARMS:
            told(harmed(bench, harm, files, before))
        told({"harm": "wrong RoPE theta", "caught": "not emulated"})
        for nats in NOISES_NATS:
            told(honest(bench, files, nats))
        told({"seconds_of_the_comparison": round(statistics.median(bench.seconds), 3)})
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("".join(json.dumps(line) + "\n" for line in lines))
    print(f"Wrote {RESULTS} after {time.monotonic() - begin:.0f} s.", file=sys.stderr)
    return 0 if all(line.get("holds", True) for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
