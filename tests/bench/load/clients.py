"""The load generator and its peers, each asked for the same: median, 95th percentile and rate of one load, measured on the first core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from blocks.endpoint import Endpoint
from flows.verification.percentiles import percentile
from flows.verification.requests import COMPLETIONS, load_requests
from tests.bench.load.server import CASES, CYCLE, LIKE_AN_ENGINE, Case

#: Where `make engine` installs it.
GUIDELLM = Path("build") / "engine" / "bin" / "guidellm"
ROUND_SECONDS = 2.0

_LUA = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local bodies, next_body = {}, 0
for line in io.lines("%s") do bodies[#bodies + 1] = line end
request = function()
  next_body = next_body %% #bodies + 1
  return wrk.format(nil, nil, nil, bodies[next_body])
end
done = function(summary, latency)
  io.write(string.format("p50=%%.6f p95=%%.6f requests=%%d microseconds=%%d bad=%%d\\n", latency:percentile(50) / 1e6,
    latency:percentile(95) / 1e6, summary.requests, summary.duration, summary.errors.status + summary.errors.timeout))
end
"""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What one client measured in one round."""

    p50_seconds: float
    p95_seconds: float
    requests_per_second: float


def _pinned(*command: str) -> Sequence[str]:
    return ["taskset", "-c", str(min(os.sched_getaffinity(0))), *command]


def bodies(case: Case, count: int) -> list[dict[str, object]]:
    """The bodies that verification would send, streamed or not."""
    asked = load_requests("tiny", range(100, 200), prompt_tokens=16, max_tokens=8, count=count, seed=1)
    return [{key: value for key, value in one.body.items() if case.streamed or not key.startswith("stream")} for one in asked]


def ours(case: Case, port: int) -> Figures:
    """Measured by the load generator, in a process of its own."""
    command = _pinned(sys.executable, "-m", "tests.bench.load.clients", str(CASES.index(case)), str(port))
    return Figures(**json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def load(case: Case, port: int) -> Figures:
    """What `ours` runs there."""
    expected = case.concurrency / case.delay_seconds * ROUND_SECONDS if case.delay_seconds else 12_000
    count = CYCLE if case in LIKE_AN_ENGINE else round(expected)
    with Endpoint(via="dns").client(f"127.0.0.1:{port}") as client:
        if case not in LIKE_AN_ENGINE:
            client.load(COMPLETIONS, bodies(case, 200), concurrency=case.concurrency, budget_seconds=60)
        taken = client.load(COMPLETIONS, bodies(case, count), concurrency=case.concurrency, budget_seconds=120)
    assert not [sample.error for sample in taken.samples if sample.error]
    seconds = [sample.seconds for sample in taken.samples]
    return Figures(
        p50_seconds=percentile(seconds, 50), p95_seconds=percentile(seconds, 95), requests_per_second=len(seconds) / taken.seconds
    )


def wrk(case: Case, port: int) -> Figures:
    """Measured by wrk, with one thread."""
    seconds = CYCLE * case.delay_seconds / case.concurrency if case in LIKE_AN_ENGINE else ROUND_SECONDS
    with tempfile.TemporaryDirectory() as folder:
        lines, script = Path(folder, "bodies"), Path(folder, "post.lua")
        lines.write_text("\n".join(json.dumps(body) for body in bodies(case, 500)) + "\n")
        script.write_text(_LUA % lines)
        command = _pinned("wrk", "-t1", f"-c{case.concurrency}", f"-d{seconds:.0f}s", "--timeout", "30s", "-s", str(script))
        done = subprocess.run([*command, f"http://127.0.0.1:{port}{COMPLETIONS}"], capture_output=True, text=True, check=True)
    told = dict(pair.split("=") for pair in done.stdout.strip().splitlines()[-1].split())
    assert told["bad"] == "0", done.stdout
    return Figures(
        p50_seconds=float(told["p50"]),
        p95_seconds=float(told["p95"]),
        requests_per_second=int(told["requests"]) / int(told["microseconds"]) * 1e6,
    )


def guidellm(case: Case, port: int) -> Figures:
    """Measured by guidellm 0.8.1, in one process, by as many requests as the load generator sends."""
    with tempfile.TemporaryDirectory() as folder:
        prompts, told = Path(folder, "prompts.txt"), Path(folder, "told.json")
        prompts.write_text("".join(f"river stone garden window paper {number}\n" for number in range(CYCLE)))
        asked = {
            "--backend": f"kind=openai_http,target=http://127.0.0.1:{port},model=tiny,request_format=/v1/completions",
            "--profile": f"kind=concurrent,streams={case.concurrency}",
            "--constraint": f"kind=max_requests,count={CYCLE}",
            "--data": f"kind=text_file,path={prompts}",
            "--output": f"kind=json,path={told}",
        }
        command = _pinned(str(GUIDELLM), "run", "--disable-console", *(part for pair in asked.items() for part in pair))
        settings = {"GUIDELLM__MAX_WORKER_PROCESSES": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        subprocess.run(command, env={**os.environ, **settings}, capture_output=True, check=True)
        metrics = json.loads(told.read_text())["benchmarks"][0]["metrics"]
    assert metrics["request_totals"]["successful"] == CYCLE, metrics["request_totals"]
    latency = metrics["request_latency"]["successful"]["percentiles"]
    return Figures(
        p50_seconds=latency["p50"],
        p95_seconds=latency["p95"],
        requests_per_second=metrics["requests_per_second"]["successful"]["mean"],
    )


if __name__ == "__main__":
    print(json.dumps(vars(load(CASES[int(sys.argv[1])], int(sys.argv[2])))))
