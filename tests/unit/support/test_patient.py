"""The tests' own Prefect client gets through to a server that is busy."""

from __future__ import annotations

import time

from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.serving import HttpServer, LoopThread
from tests.support.patient import RETRIES, patient_client


def test_whoever_is_turned_away_comes_back_soon_and_often() -> None:
    answers = iter([503] * 5 + [200])

    async def hello(request: Request) -> Response:
        return Response(status_code=next(answers))

    with LoopThread("busy") as loop:
        server = HttpServer(Starlette(routes=[Route("/api/hello", hello)]), loop)
        server.start()
        address = f"http://{server.host}:{server.port}/api"
        begin = time.monotonic()
        with temporary_settings({PREFECT_API_URL: address, PREFECT_CLIENT_MAX_RETRIES: RETRIES}), patient_client() as client:
            assert client.hello().status_code == 200
        server.close()

    assert time.monotonic() - begin < 60, "Prefect's own pauses are 62 s in all"
