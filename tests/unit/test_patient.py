"""The tests' own Prefect client gets through to a server that is busy."""

from __future__ import annotations

import time

import httpx
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from tests.patient import RETRIES, patient_client


def test_whoever_is_turned_away_comes_back_soon_and_often() -> None:
    answers = iter([503] * 3 + [200])
    begin = time.monotonic()

    with temporary_settings({PREFECT_API_URL: "http://prefect.test/api", PREFECT_CLIENT_MAX_RETRIES: RETRIES}), patient_client() as client:
        client._client._transport = httpx.MockTransport(lambda request: httpx.Response(next(answers)))
        assert client.hello().status_code == 200

    assert time.monotonic() - begin < 8, "Prefect's own pauses are 14 s in all"
