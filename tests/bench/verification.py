"""What a verification takes beside that of an earlier build, which compared the chosen tokens of a suite's golden prompts alone.

`make bench-verify` prints a line for each pace of the engine and writes them to `build/bench-verification.json`. Both builds ask the same
stand-in engine, in turns, each in a process of its own: warm-up, the suite `full`, golden prompts and probes, the load by the shipped
limits. The clock is the wall's, since that is what a release waits for; the client's CPU is told, too. `first` is a release with nothing to
compare with, whose probes have yet to be chosen, `next` one that is compared.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from sandbox.engine.faults import ENVIRONMENT_VARIABLE, EngineFaults
from sandbox.models import make_model
from tests.bench.before import ROOT, checkout
from tests.bench.engine.model import trained
from tests.bench.engine.power import EAGER, FOLDER
from tests.bench.engine.serve import ENGINE, MODEL, engine

RESULTS = Path("build") / "bench-verification.json"
#: The last commit before distributions were compared.
BEFORE = "c00794d~1"
TURNS = 5
#: What a verification may take of what it took before.
TIMES = 1.2
#: Seconds for each token: as fast as the stand-in's arithmetic is, as a small model on a GPU, as a large one.
PACES_SECONDS = (0.0, 0.005, 0.02)
FASTEST = "stand-in, 0 s a token"

Line = dict[str, object]

#: Run by each build's own code: `Questions` in the order in which a verification calls it.
_ASK = """
import json, sys, time
from dataclasses import replace
from blocks.endpoint import Endpoint
from flows.spec import LatencyPolicy
from flows.spec.load import ROOT, Deployments
from flows.verification.tasks.questions import Questions
from tests.support.examples import candidate

suite, policy = Deployments(root=ROOT / "deployments").suite("full"), replace(LatencyPolicy(), p50_seconds=60.0, p95_seconds=60.0)

def asked(client, before):
    clocks = time.perf_counter(), time.process_time()
    questions = Questions(client, replace(candidate(), model=sys.argv[2]))
    questions.warm_up(policy)
    outcomes = [measured.outcome for measured in questions.checks(suite)]
    assert sys.argv[2] != "tiny-llama" or set(outcomes) == {"passed"}, outcomes
    if hasattr(questions, "warm_up_detail"):
        questions.warm_up_detail()
        golden = questions.golden(suite, 3, [answer.probe for answer in before.probes] if before else [])
    else:
        golden = questions.golden(suite, 3)
    for concurrency in policy.concurrency:
        questions.loads(policy, concurrency, judged=concurrency == policy.concurrency[0])
    return golden, time.perf_counter() - clocks[0], time.process_time() - clocks[1]

with Endpoint(via="dns").client(sys.argv[1]) as client:
    golden, first_seconds, first_cpu_seconds = asked(client, None)
    _, next_seconds, next_cpu_seconds = asked(client, golden)
print(json.dumps(dict(first_seconds=first_seconds, first_cpu_seconds=first_cpu_seconds,
                      next_seconds=next_seconds, next_cpu_seconds=next_cpu_seconds)))
"""


@contextmanager
def served(pace_seconds: float) -> Iterator[str]:
    """The address of a stand-in engine of that pace, in a process of its own."""
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        for name, content in make_model().items():
            Path(folder, name).write_bytes(content)
        faults = EngineFaults(Path(folder, "faults.json"))
        faults.set("tiny-llama", token_latency_seconds=pace_seconds)
        asked = ["--served-model-name", "tiny-llama", "--max-model-len", "256", "--host", "127.0.0.1", "--port", str(port)]
        command = [sys.executable, "-m", "sandbox.engine", folder, *asked, "--enable-auto-tool-choice", "--tool-call-parser", "hermes"]
        process = subprocess.Popen(command, env={**os.environ, ENVIRONMENT_VARIABLE: str(faults.path)}, stderr=subprocess.DEVNULL)
        try:
            _await(f"127.0.0.1:{port}")
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def _await(address: str) -> None:
    for _ in range(300):
        with socket.socket() as there:
            host, port = address.split(":")
            if there.connect_ex((host, int(port))) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError("the stand-in engine did not come up")


def asked_by(folder: Path, address: str, model: str) -> Mapping[str, float]:
    """What a build's two verifications took, in seconds."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, "-c", _ASK, address, model]
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)  # type: ignore[no-any-return]  # what `_ASK` prints


def compared(before: Path, engine: str, address: str, model: str) -> Line:
    """One line: medians over the turns, and the medians of each turn's ratio."""
    turns = [(asked_by(ROOT, address, model), asked_by(before, address, model)) for _ in range(TURNS)]
    line: Line = {"engine": engine, "turns": TURNS}
    for figure in turns[0][0]:
        now, then = (statistics.median(turn[side][figure] for turn in turns) for side in (0, 1))
        ratio = statistics.median(turn[0][figure] / turn[1][figure] for turn in turns)
        line |= {figure: round(now, 3), f"before_{figure}": round(then, 3), f"{figure.removesuffix('_seconds')}_ratio": round(ratio, 3)}
    return line


def engines() -> Iterator[tuple[str, AbstractContextManager[str], str]]:
    """What is asked: how it is called, where it is while it runs, and the name of its model."""
    for pace in PACES_SECONDS:
        yield f"stand-in, {pace:g} s a token", served(pace), "tiny-llama"
    if (ENGINE / "bin" / "vllm").exists():
        trained(FOLDER / "model", ENGINE / "bin" / "python")
        yield "vLLM 0.32.0 on the CPU", real(), MODEL


@contextmanager
def real() -> Iterator[str]:
    """The address of a real engine."""
    with engine(FOLDER / "model", *EAGER) as running:
        yield running.address


def main() -> int:
    """Measure all paces; 1 where a verification takes longer than it may."""
    lines: list[Line] = []
    with checkout(BEFORE) as before:
        for name, process, model in engines():
            with process as address:
                line = compared(before, name, address, model)
            # The stand-in at its own pace is arithmetic in Python, for which each position of a prompt is as dear as a token.
            told = {} if name == FASTEST else {"holds": all(float(str(line[ratio])) <= TIMES for ratio in ("first_ratio", "next_ratio"))}
            lines.append({**line, **told})
            print(json.dumps(lines[-1]), flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return 0 if all(line.get("holds", True) for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
