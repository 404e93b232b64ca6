"""Starts the stand-in engine: load, then open the port, then serve until SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator

# A small matrix times a vector gains nothing from threads, and their memory counts. Read when numpy is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import uvicorn

from sandbox.engine.arguments import EngineArguments, parse
from sandbox.engine.core import EngineCore
from sandbox.engine.faults import FaultsView
from sandbox.engine.loading import ModelUnusable, load
from sandbox.engine.metrics import Metrics
from sandbox.engine.server import VERSION, EngineServer

POD_ADDRESS_VARIABLE = "SANDBOX_POD_IP"


class _Server(uvicorn.Server):
    """uvicorn that leaves signals to `_serve`: its own handling would end the process by the signal instead of with code 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def main() -> int:
    """Run the engine and return the exit code: 0 after SIGTERM or SIGINT, 1 where the model does not load."""
    arguments = parse(sys.argv[1:])
    faults = FaultsView(arguments.served_names)
    try:
        core = _load(arguments, faults)
        listener = _listen(arguments)
    except (ModelUnusable, OSError) as exc:
        print(exc, file=sys.stderr)
        # vLLM ends with this line, which does not tell why: whoever diagnoses has to read further up.
        print("RuntimeError: Engine core initialization failed. See root cause above.", file=sys.stderr)
        return 1
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(core, arguments, listener, faults))
    return 0


def _load(arguments: EngineArguments, faults: FaultsView) -> EngineCore:
    print(f"INFO vLLM API server version {VERSION}", f"INFO Loading weights from {arguments.model}", sep="\n", file=sys.stderr, flush=True)
    started = time.monotonic()
    model = load(arguments)
    # This is the fault itself, a slow load, not a wait for anything.
    time.sleep(faults.now().start_delay_seconds)
    crash = faults.now().crash_on_load
    if crash is not None:
        raise ModelUnusable(crash)
    print(f"INFO Loading weights took {time.monotonic() - started:.2f} seconds", file=sys.stderr, flush=True)
    return EngineCore(model, Metrics(arguments.served_names[0]), faults, max_num_seqs=arguments.max_num_seqs, seed=arguments.seed)


def _listen(arguments: EngineArguments) -> socket.socket:
    """Open the port. "All addresses" means the pod's own where there is one: every pod of the sandbox shares the machine."""
    host = arguments.host
    if host == "0.0.0.0":
        host = os.environ.get(POD_ADDRESS_VARIABLE, host)
    # asyncio turns off Nagle's algorithm only on sockets that name TCP; without that each answer takes 40 ms more.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, arguments.port))
    return listener


async def _serve(core: EngineCore, arguments: EngineArguments, listener: socket.socket, faults: FaultsView) -> None:
    config = uvicorn.Config(
        EngineServer(core, arguments).app(),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_keep_alive=5,
    )
    server = _Server(config)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    await _until_stopped(stop, faults)
    server.should_exit = True
    await asyncio.wait({serving}, timeout=arguments.shutdown_timeout_seconds + 0.2)
    if not serving.done():
        server.force_exit = True
        serving.cancel()


async def _until_stopped(stop: asyncio.Event, faults: FaultsView) -> None:
    """Wait for the signal to stop. Where the faults say to die, the process ends here as a crash would end it."""
    opened = time.monotonic()
    while True:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 0.1)
            return
        limit = faults.now().exit_after_seconds
        if limit is not None and time.monotonic() - opened >= limit:
            os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
