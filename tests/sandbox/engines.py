"""Stand-in engines in processes of their own, and what the tests ask of them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from sandbox.engine.faults import EngineFaults
from sandbox.models import make_model
from tests.support.waiting import HANGS_SECONDS

PROMPT = "The capital of France is"
NAMES = ("tiny", "tiny-alias")


@dataclass(kw_only=True)
class Engine:
    process: subprocess.Popen[str]
    http: httpx.Client
    faults: EngineFaults
    folder: Path

    def complete(self, **fields: Any) -> httpx.Response:
        return self.http.post("/v1/completions", json={"model": "tiny", "prompt": PROMPT, "temperature": 0, **fields})

    def chat(self, message: str, **fields: Any) -> httpx.Response:
        body = {"model": "tiny", "messages": [{"role": "user", "content": message}], "temperature": 0, **fields}
        return self.http.post("/v1/chat/completions", json=body)

    def events(self, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        """The parsed chunks of a stream; asserts that it ends as it should."""
        lines = [line for line in self.http.post(path, json={"stream": True, "temperature": 0, **body}).text.split("\n\n") if line]
        assert lines[-1] == "data: [DONE]"
        return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of that name that carry the labels."""
        families = text_string_to_metric_families(self.http.get("/metrics").text)
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        assert samples, name
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def write_model(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def launch(model: Path, *arguments: str, faults: Path | None = None, **environment: str) -> subprocess.Popen[str]:
    settings = {**os.environ, **environment, **({"SANDBOX_ENGINE_FAULTS": str(faults)} if faults else {})}
    command = [sys.executable, "-m", "sandbox.engine", str(model), *arguments]
    return subprocess.Popen(command, env=settings, stderr=subprocess.PIPE, text=True)


def wait_for_port(http: httpx.Client, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + HANGS_SECONDS
    while True:
        try:
            assert http.get("/health").status_code == 200
            return
        except httpx.ConnectError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)


@contextmanager
def running_engine(folder: Path) -> Iterator[Engine]:
    """An engine that serves a small model under `NAMES` until the end of the block."""
    model = write_model(folder / "model", make_model())
    faults = EngineFaults(folder / "faults.json")
    port = free_port()
    options = ("--served-model-name", *NAMES, "--host", "127.0.0.1", "--port", str(port), "--max_model_len", "256", "--max-num-seqs", "4")
    process = launch(model, *options, "--load-format=safetensors", faults=faults.path)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=HANGS_SECONDS) as http:
        wait_for_port(http, process)
        yield Engine(process=process, http=http, faults=faults, folder=model)
    process.terminate()
    process.communicate(timeout=HANGS_SECONDS)


def error_of(answer: httpx.Response) -> tuple[int, str, str | None]:
    """Status, type and parameter of a refusal."""
    error = answer.json()["error"]
    assert error["code"] == answer.status_code
    return answer.status_code, error["type"], error["param"]
