"""How the stand-in engine ends: on a signal with and without patience, and by a fault."""

from __future__ import annotations

import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from sandbox.engine.faults import EngineFaults
from tests.sandbox.engines import PROMPT, Engine, free_port, launch, wait_for_port
from tests.support.waiting import HANGS_SECONDS, until


def test_sigterm_lets_running_requests_finish_within_the_time_out(engine: Engine, tmp_path: Path) -> None:
    port = free_port()
    faults = EngineFaults(tmp_path / "faults.json")
    options = ("--served-model-name", "tiny", "--port", str(port), "--shutdown-timeout", "60")
    process = launch(engine.folder, *options, faults=faults.path, SANDBOX_POD_IP="127.44.0.9")
    with httpx.Client(base_url=f"http://127.44.0.9:{port}", timeout=HANGS_SECONDS) as http, ThreadPoolExecutor(1) as pool:
        wait_for_port(http, process)
        faults.set("tiny", hang=True)
        answer = pool.submit(http.post, "/v1/completions", json={"model": "tiny", "prompt": PROMPT, "temperature": 0})
        with httpx.Client(base_url=http.base_url) as other:
            until(lambda: other.get("/load").json()["server_load"] == 1)

        process.send_signal(signal.SIGTERM)
        until(lambda: not _accepts("127.44.0.9", port))
        faults.clear()

        assert answer.result().json()["choices"][0]["text"] == " Paris."
        process.communicate(timeout=HANGS_SECONDS)
        assert process.returncode == 0


def _accepts(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def outcome(http: httpx.Client) -> int:
    """The status of a completion, 0 where the connection ended without one."""
    try:
        return http.post("/v1/completions", json={"model": "tiny", "prompt": PROMPT}).status_code
    except httpx.TransportError:
        return 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (None, 1)])
def test_a_signal_without_a_time_out_or_a_fault_cuts_requests(engine: Engine, tmp_path: Path, number: int | None, code: int) -> None:
    faults = EngineFaults(tmp_path / "faults.json")
    port = free_port()
    process = launch(engine.folder, "--served-model-name", "tiny", "--host", "127.0.0.1", "--port", str(port), faults=faults.path)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=HANGS_SECONDS) as http, ThreadPoolExecutor(1) as pool:
        wait_for_port(http, process)
        faults.set("tiny", hang=True)
        answer = pool.submit(outcome, http)
        with httpx.Client(base_url=http.base_url) as other:
            until(lambda: other.get("/load").json()["server_load"] == 1)

        if number is None:
            faults.set("tiny", hang=True, exit_after_seconds=0)
        else:
            process.send_signal(number)

        assert answer.result() in (0, 500)
        process.communicate(timeout=HANGS_SECONDS)
        assert process.returncode == code
