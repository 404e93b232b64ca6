"""The same as `tests.bench.power` with a real engine: vLLM 0.32.0 on this machine's CPU, asked as a verification asks.

    make engine
    python -m tests.bench.engine.power

It takes an hour or two of one core, prints each attempt, writes it to `build/bench-engine.jsonl` and goes on behind the last one there when
it is started again. Each seed is another model, so that harms without random numbers of their own have twenty cases, too. One engine serves
all harms of files, which are exchanged while it runs; another type is another engine, and one model. The honest ones are engines that were
started anew, with compiled code or without, with a prefix cache or without, each asked with a load beside it half of the time.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from blocks.endpoint import Endpoint
from flows.spec.adapter import adapter
from flows.spec.load import ROOT, Deployments
from flows.verification.golden import Golden
from flows.verification.tasks.questions import Questions
from tests.bench.engine.model import DTYPES, FILE_HARMS, relative, trained
from tests.bench.engine.serve import ENGINE, MODEL, EngineProcess, engine
from tests.bench.power import CAUGHT, HONEST, SEEDS, Files, judged, load_beside
from tests.support.examples import candidate

RESULTS = Path("build") / "bench-engine.jsonl"
FOLDER = Path("build") / "bench-engine"
EAGER = ("--dtype", "float32", "--enforce-eager")
#: How the honest engines are started.
HONEST_STARTS: Mapping[str, tuple[str, ...]] = {
    "eager": EAGER,
    "eager, no prefix cache": (*EAGER, "--no-enable-prefix-caching"),
    "compiled": ("--dtype", "float32"),
    "compiled, no prefix cache": ("--dtype", "float32", "--no-enable-prefix-caching"),
}

Line = dict[str, object]


class Bench:
    """What was measured so far, and how more is measured."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._suite = replace(Deployments(root=ROOT / "deployments").suite("smoke"), golden=())
        self.lines: list[Line] = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []

    def missing(self, harm: str, count: int) -> Iterator[int]:
        """The seeds of a harm that are not measured yet."""
        done = {line["seed"] for line in self.lines if line["harm"] == harm}
        yield from (seed for seed in range(count) if seed not in done)

    def files(self, seed: int) -> Files:
        """The model of that seed."""
        return relative(self._files, seed)

    def attempt(self, harm: str, seed: int, running: EngineProcess, before: Golden, *, beside: bool = False) -> None:
        """Ask, judge, and write it down."""
        begin = time.perf_counter()
        behaviour, passed = judged(self.asked(running, before, beside=beside), before)
        assert behaviour.shift is not None
        line: Line = {
            "harm": harm,
            "seed": seed,
            "passed": passed,
            "mean_nats": behaviour.shift.mean_nats,
            "max_nats": behaviour.shift.max_nats,
        }
        self.lines.append({**line, "beside": beside, "seconds": round(time.perf_counter() - begin, 2)})
        with RESULTS.open("a") as written:
            written.write(json.dumps(self.lines[-1]) + "\n")
        print(json.dumps(self.lines[-1]), flush=True)

    def asked(self, running: EngineProcess, before: Golden | None, *, beside: bool = False) -> Golden:
        """The answers of what runs."""
        with Endpoint(via="dns", timeout_seconds=200).client(running.address) as client, load_beside(client, MODEL, wanted=beside):
            questions = Questions(client, replace(candidate(), model=MODEL))
            questions.warm_up_detail()
            golden = questions.golden(self._suite, 2, [answer.probe for answer in before.probes] if before else ())
        assert golden.problems == (), golden.problems[:3]
        return golden


def kept(seed: int, made: Golden | None = None) -> Golden | None:
    """The answers of that seed's model as it is; `made` is kept."""
    path = FOLDER / f"before-{seed}.json"
    if made is not None:
        path.write_text(json.dumps(asdict(made)))
    return adapter(Golden).validate_json(path.read_bytes()) if path.exists() else None


def harmed(bench: Bench) -> None:
    """All harms of files, by one engine; and the model itself again, which must pass."""
    wanted = {seed: [harm for harm in FILE_HARMS if seed in set(bench.missing(harm.name, SEEDS))] for seed in range(SEEDS)}
    if not any(wanted.values()) and not any(bench.missing("none", SEEDS)):
        return
    with engine(FOLDER / "model", *EAGER) as running:
        for seed, harms in wanted.items():
            files = bench.files(seed)
            before = kept(seed)
            if before is None:
                running.exchange(files)
                before = kept(seed, bench.asked(running, None))
                assert before is not None
            for harm in harms:
                running.exchange(harm.change(files, np.random.default_rng(1000 + seed)))
                bench.attempt(harm.name, seed, running, before)
            if seed in set(bench.missing("none", SEEDS)):
                running.exchange(files)
                bench.attempt("none", seed, running, before)


def in_another_type(bench: Bench, dtype: str) -> None:
    """The model itself by an engine that calculates in another type than the one that was asked before.

    One model a type: on a CPU vLLM 0.32.0 goes on calculating with packed copies of matrices when others are loaded into such an engine.
    """
    seeds = list(bench.missing(dtype, 1))
    if not seeds:
        return
    with engine(FOLDER / "model", "--dtype", dtype, "--enforce-eager") as running:
        for seed in seeds:
            before = kept(seed)
            assert before is not None
            bench.attempt(dtype, seed, running, before)


def honest(bench: Bench, name: str, arguments: tuple[str, ...]) -> None:
    """The model itself by engines that were started anew."""
    before = kept(0)
    assert before is not None
    seeds = list(bench.missing(f"honest: {name}", HONEST // len(HONEST_STARTS)))
    if not seeds:
        return
    with engine(FOLDER / "model", *arguments) as running:
        for seed in seeds:
            bench.attempt(f"honest: {name}", seed, running, before, beside=seed % 2 == 1)


def summary(lines: list[Line]) -> tuple[list[Line], bool]:
    """A line for each harm, and whether all promises hold."""
    told, holds = [], True
    for harm in dict.fromkeys(str(line["harm"]) for line in lines):
        of = [line for line in lines if line["harm"] == harm]
        shifts = [float(str(line["mean_nats"])) for line in of]
        caught = sum(not line["passed"] for line in of)
        told.append(
            {
                "harm": harm,
                "caught": caught,
                "of": len(of),
                "least_mean_nats": min(shifts),
                "median_mean_nats": statistics.median(shifts),
                "largest_mean_nats": max(shifts),
            }
        )
        if harm == "none" or harm.startswith("honest"):
            holds = holds and not caught
        elif harm in CAUGHT or harm == "wrong RoPE theta":
            holds = holds and caught == len(of)
    return told, holds


def main() -> int:
    """Measure what is missing; 1 where a promise is not kept."""
    if not (ENGINE / "bin" / "vllm").exists():
        print(f"No vLLM in {ENGINE}, so its rows are not measured; `make engine` installs it.", file=sys.stderr)
        return 0
    bench = Bench(trained(FOLDER / "model", ENGINE / "bin" / "python"))
    harmed(bench)
    for dtype in DTYPES:
        in_another_type(bench, dtype)
    for name, arguments in HONEST_STARTS.items():
        honest(bench, name, arguments)
    told, holds = summary(bench.lines)
    for line in told:
        print(json.dumps(line))
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
