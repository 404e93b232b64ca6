"""What `tests.bench.sandbox` measures, each in a process of its own: a whole world, or the peer of its API server."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from sandbox.kubernetes.meta.certificates import certificate_files, self_signed
from sandbox.serving import HttpServer, LoopThread
from sandbox.world import World


def main(part: str, folder: Path) -> None:
    """Serve until SIGTERM; the one line of output says that it serves, as JSON."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    if part == "world":
        began = time.monotonic()
        with World(folder) as world:
            said = {"start_seconds": time.monotonic() - began, "kubeconfig": str(world.cluster.kubeconfig)}
            print(json.dumps(said), flush=True)
            signal.sigwait({signal.SIGTERM})
        return

    async def hello(request: Request) -> JSONResponse:
        return JSONResponse({"hello": "world"})

    with LoopThread() as loop, certificate_files(self_signed("127.0.0.1")) as files:
        server = HttpServer(Starlette(routes=[Route("/", hello)]), loop, certificate=files)
        server.start()
        print(json.dumps({"url": server.url}), flush=True)
        signal.sigwait({signal.SIGTERM})
        server.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
