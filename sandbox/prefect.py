"""A real Prefect server and worker as child processes, on SQLite in a folder of their own.

What it does not emulate: nothing; it is Prefect itself. SQLite takes one writer at a time, so this is for one person and for
tests; `docs/operations.md` says how to run Prefect on PostgreSQL.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import trustme

from sandbox.children import Child

#: A new database took 20 s on two shared cores; this leaves room for a busier machine, and a server that ended is seen at once.
START_SECONDS = 300.0

#: Settings of the caller's own Prefect must not leak in, nor may ours depend on them.
_FOREIGN = ("PREFECT_",)

#: The checkout: `prefect.yaml` and `deployments/` are looked for there.
ROOT = Path(__file__).resolve().parents[1]

#: Runs a module as `python -m` does, in an interpreter that looks for garbage seldom. Prefect's imports leave half a million objects; to go
#: through them again and again was, with Python's own thresholds, an eighth of the server's CPU and a fifth of its start (3.9.1).
_RUN = """
import gc, runpy, sys
gc.set_threshold(50_000, 20, 100)
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""

#: Prefect's own types of blocks, and those of its collections, are not registered when the server starts: to import them all and to look
#: whether they are there was two of the nine seconds of CPU that the first start took (3.9.1). A type is there once a block of it is saved.
SAVED_BLOCKS_ALONE = {"PREFECT_API_BLOCKS_REGISTER_ON_START": "false"}

#: For several runs at a time: the states of their tasks are written once a second, not one by one, since each write keeps the other runs
#: waiting. Who looks at a run sees its steps a second late.
SEVERAL_RUNS = {
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    **SAVED_BLOCKS_ALONE,
}


class Prefect:
    """A Prefect server, and workers for it; use it as a context manager.

    Args:
        folder: Where its database, logs and results lie.
        settings: Further environment variables for the server and everything that talks to it.
        python: The interpreter whose Prefect it is; this one unless another is named.
        port: Where it listens; a free one unless it takes the place of another server.

    Attributes:
        api_url: Where its API is.
        ui_url: Where its UI is.
        database: The file of its SQLite; one that is there is used.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, str] | None = None, *, python: str = sys.executable, port: int | None = None
    ) -> None:
        self.folder = folder
        self.python = python
        self.port = port or _free_port()
        self.api_url = f"http://127.0.0.1:{self.port}/api"
        self.ui_url = f"http://127.0.0.1:{self.port}"
        self.database = folder / "prefect.db"
        self._authority = one_authority(folder)
        self._settings = dict(settings or {})
        self._children: list[Child] = []

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which `prefect`, `slipway` and flows talk to this server."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)}
        return {
            **inherited,
            "PATH": f"{Path(self.python).parent}{os.pathsep}{inherited.get('PATH', os.defpath)}",
            "PREFECT_HOME": str(self.folder / "home"),
            "PREFECT_PROFILES_PATH": str(self.folder / "home" / "profiles.toml"),
            "PREFECT_API_URL": self.api_url,
            "PREFECT_API_SSL_CERT_FILE": str(self._authority),
            "PREFECT_SERVER_API_HOST": "127.0.0.1",
            "PREFECT_SERVER_API_PORT": str(self.port),
            # Without it the UI would call port 4200, whatever port the server listens on.
            "PREFECT_SERVER_UI_API_URL": self.api_url,
            "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(self.folder / "ui"),
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{self.database}",
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            # A run that is cancelled before its process has begun is given up after this, instead of after five minutes.
            "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_CANCELLING_TIMEOUT_SECONDS": "20",
            "PREFECT_CLI_PROMPT": "false",
            "DO_NOT_TRACK": "1",
            **self._settings,
        }

    @property
    def _prefect(self) -> tuple[str, ...]:
        return self.python, "-c", _RUN, "prefect"

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            RuntimeError: It ended, or did not answer in time; with its last words.
        """
        (self.folder / "home").mkdir(parents=True, exist_ok=True)
        self.server = self._child("server", "server", "start", "--host", "127.0.0.1", "--port", str(self.port))
        self.wait_until_healthy()

    def wait_until_healthy(self) -> None:
        """Wait until the server answers.

        Raises:
            RuntimeError: It ended, or did not answer in time; with its last words.
        """
        deadline = time.monotonic() + START_SECONDS
        # One client for all questions: each that is made reads the authorities of all the world, 20 ms of CPU.
        with httpx.Client(timeout=5, trust_env=False) as client:
            while time.monotonic() < deadline and self.server.running:
                try:
                    if client.get(f"{self.api_url}/health").status_code == 200:
                        return
                except httpx.HTTPError:
                    pass
                time.sleep(0.1)
        raise RuntimeError(f"The Prefect server did not start:\n{self.server.last_words(20)}")

    def start_worker(self, pool: str, settings: Mapping[str, str] | None = None) -> Child:
        """Start a process worker for the work pool; the pool is there, with the worker's own template soon, when this returns.

        Args:
            pool: Its name.
            settings: Environment variables for the worker and its runs alone.

        Raises:
            RuntimeError: The server does not make the pool.
        """
        # Not by the command, whose imports cost more than all of this.
        made = httpx.post(f"{self.api_url}/work_pools/", json={"name": pool, "type": "process"}, timeout=30, trust_env=False)
        if made.status_code not in (201, 409):  # 409: it is there already
            raise RuntimeError(f"The work pool {pool} was not made: {made.text}")
        return self._child("worker", "worker", "start", "--pool", pool, "--type", "process", "--name", "sandbox", settings=settings)

    def run(self, *arguments: str, timeout_seconds: float = 300.0) -> str:
        """Run a `prefect` command to its end and return its output.

        Raises:
            RuntimeError: It failed; with what it printed.
        """
        command = [*self._prefect, *arguments]
        done = subprocess.run(
            command, env=self.environment, cwd=ROOT, capture_output=True, text=True, timeout=timeout_seconds, stdin=subprocess.DEVNULL
        )
        if done.returncode != 0:
            raise RuntimeError(f"prefect {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def close(self) -> None:
        """End the workers and the server. Safe to call twice."""
        for child in reversed(self._children):
            child.close()
        self._children.clear()

    def _child(self, name: str, *arguments: str, settings: Mapping[str, str] | None = None) -> Child:
        command = [*self._prefect, *arguments]
        environment = {**self.environment, **(settings or {})}
        child = Child(command, log=self.folder / "logs" / f"{name}.log", environment=environment, folder=ROOT)
        self._children.append(child)
        return child

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def one_authority(folder: Path) -> Path:
    """A file in the folder with one certificate authority, which nobody trusts.

    Prefect makes a client for each task, and each reads the authorities of all the world, 18 ms of CPU, even when it speaks plain HTTP.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "authority.pem"
    trustme.CA().cert_pem.write_to_path(path)
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
