"""Starts a real vLLM on this machine's CPU, and has it serve other files while it runs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from tests.bench.power import Files

#: Where `make engine` installs it.
ENGINE = Path("build") / "engine"
MODEL = "tiny"
#: Its three processes import for 25 s of CPU time each.
START_SECONDS, STOP_SECONDS = 1800, 30
#: One thread and one GiB of cache, no network, no statistics, and the endpoints that exchange what is served.
_SETTINGS = {
    "VLLM_SERVER_DEV_MODE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "PYTHONPATH": str(Path(__file__).parent / "inside"),
}


class EngineProcess:
    """A running engine."""

    def __init__(self, address: str) -> None:
        self.address = address

    def exchange(self, files: Files) -> None:
        """Have it serve these files, as if it had been started with them."""
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                Path(folder, name).write_bytes(content)
            self._post("/collective_rpc", json={"method": "reload_weights", "kwargs": {"weights_path": folder}})
            self._post("/collective_rpc", json={"method": "exchange", "args": [folder]})
            self._post("/exchange", content=folder.encode())
        self._post("/reset_prefix_cache")

    def _post(self, path: str, **body: object) -> None:
        httpx.post(f"http://{self.address}{path}", timeout=300, **body).raise_for_status()  # type: ignore[arg-type]  # json or content


@contextmanager
def engine(folder: Path, *arguments: str) -> Iterator[EngineProcess]:
    """An engine that serves the folder, from its start to its end.

    Raises:
        RuntimeError: It did not come up; its log says why.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder.parent / "engine.log"
    with log.open("wb") as written:
        # A group of its own: its processes do not all follow the first one while they start.
        process = subprocess.Popen(
            _command(folder, port, arguments), env={**os.environ, **_SETTINGS}, stdout=written, stderr=written, start_new_session=True
        )
        try:
            _await(process, f"127.0.0.1:{port}", log)
            yield EngineProcess(f"127.0.0.1:{port}")
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _command(folder: Path, port: int, arguments: Sequence[str]) -> Sequence[str]:
    fixed = ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", MODEL, "--max-model-len", "256", "--max-num-seqs", "16"]
    exchanged = ["--middleware", "exchange.Tokenizer", "--worker-extension-cls", "exchange.Worker"]
    # Beside whatever else this machine is for.
    return ["nice", "-n", "15", str(ENGINE / "bin" / "vllm"), "serve", str(folder), *fixed, *exchanged, *arguments]


def _await(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(f"http://{address}/health", timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(1)
    raise RuntimeError(f"The engine did not come up: {log}")
