"""Many engines played by one small server, in a process of its own: it listens on every loopback address at one port."""

from __future__ import annotations

import socket

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


async def _health(request: Request) -> Response:
    return Response()


async def _complete(request: Request) -> Response:
    await request.body()
    return JSONResponse({"choices": [{"text": " there", "finish_reason": "length"}], "usage": {"completion_tokens": 1}})


def main() -> None:
    """Print the port, then serve until the process is ended."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("0.0.0.0", 0))  # noqa: S104  # 127.0.0.1 to 127.255.255.254, so that each engine has an address of its own
    print(listening.getsockname()[1], flush=True)
    routes = [Route("/health", _health), Route("/v1/completions", _complete, methods=["POST"])]
    config = uvicorn.Config(Starlette(routes=routes), log_level="critical", access_log=False, backlog=2048)
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
