"""Each fault of the stand-in hub, as a client sees it on the wire."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from huggingface_hub import snapshot_download

from sandbox.hub import Fault, Hub
from sandbox.serving import LoopThread
from tests.support.waiting import HANGS_SECONDS

REPO = "slipway-demo/tiny-llama"
WEIGHTS = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with LoopThread("hub-faults") as loop, Hub(tmp_path_factory.mktemp("hub"), loop) as running:
        running.add(REPO, {"config.json": b"{}", "model.safetensors": WEIGHTS})
        yield running


@pytest.fixture
def hub(server: Hub) -> Hub:
    """The hub without faults and with an empty log."""
    server.faults.clear()
    server.requests.clear()
    return server


def get(hub: Hub, name: str = "model.safetensors", **headers: str) -> httpx.Response:
    return httpx.get(f"{hub.url}/{REPO}/resolve/main/{name}", headers=headers, follow_redirects=True, timeout=HANGS_SECONDS)


def received(hub: Hub, read_seconds: float = HANGS_SECONDS) -> tuple[bytes, type[Exception] | None]:
    """Return the bytes of the weights that came, and the error that ended them."""
    content = b""
    try:
        with httpx.stream(
            "GET",
            f"{hub.url}/{REPO}/resolve/main/model.safetensors",
            follow_redirects=True,
            timeout=httpx.Timeout(HANGS_SECONDS, read=read_seconds),
        ) as answer:
            for chunk in answer.iter_raw():
                content += chunk
    except httpx.TransportError as exc:
        return content, type(exc)
    return content, None


def test_a_status_with_headers_a_set_number_of_times(hub: Hub) -> None:
    hub.faults.add(Fault(origin="hub", path="*/config.json", times=2, status=429, headers={"Retry-After": "1"}, body=b"slow down"))

    answers = [get(hub, "config.json") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert answers[0].headers["retry-after"] == "1"
    assert answers[0].content == b"slow down"
    assert get(hub).content == WEIGHTS


def test_a_fault_may_wait_for_its_turn_and_for_its_method(hub: Hub) -> None:
    hub.faults.add(Fault(origin="cdn", method="GET", skip=1, times=1, status=503))

    assert [get(hub).status_code for _ in range(3)] == [200, 503, 200]


def test_a_reset_cuts_the_connection(hub: Hub) -> None:
    hub.faults.add(Fault(origin="cdn", reset_after_bytes=300_000))
    hub.faults.add(Fault(origin="cdn", reset_after_bytes=0))

    content, error = received(hub)
    nothing, early = received(hub)

    assert len(content) <= 300_000
    assert WEIGHTS.startswith(content)
    assert error is httpx.ReadError
    assert (nothing, early) == (b"", httpx.ReadError)
    assert get(hub).content == WEIGHTS


def test_a_truncated_body_ends_early(hub: Hub) -> None:
    hub.faults.add(Fault(origin="cdn", truncate_after_bytes=70_000))

    assert received(hub) == (WEIGHTS[:70_000], httpx.RemoteProtocolError)


def test_a_stall_sends_nothing_more_and_ends_with_the_client(hub: Hub) -> None:
    hub.faults.add(Fault(origin="cdn", stall_after_bytes=70_000))

    assert received(hub, read_seconds=1.5) == (WEIGHTS[:70_000], httpx.ReadTimeout)
    assert get(hub).content == WEIGHTS


@pytest.mark.parametrize("header", [None, "bytes=1000-5000"])
def test_a_flipped_byte_is_the_only_difference(hub: Hub, header: str | None) -> None:
    hub.faults.add(Fault(origin="cdn", flip_byte_at=1234))

    content = get(hub, **({"Range": header} if header else {})).content

    expected = bytearray(WEIGHTS)
    expected[1234] ^= 0xFF
    assert content == bytes(expected[1000:5001] if header else expected)


def test_a_flipped_byte_outside_the_range_changes_nothing(hub: Hub) -> None:
    hub.faults.add(Fault(origin="cdn", flip_byte_at=1234))

    assert get(hub, Range="bytes=5000-5999").content == WEIGHTS[5000:6000]


def test_a_refused_range_gets_the_whole_file(hub: Hub) -> None:
    hub.faults.add(Fault(origin="cdn", ignore_range=True))

    answer = get(hub, Range="bytes=10-19")

    assert (answer.status_code, answer.content) == (200, WEIGHTS)


def test_a_slow_body_takes_its_time(hub: Hub) -> None:
    hub.faults.add(Fault(origin="cdn", bytes_per_second=4 * 1024**2))

    started = time.monotonic()

    assert get(hub).content == WEIGHTS
    assert 0.2 <= time.monotonic() - started < HANGS_SECONDS


def test_a_delay_comes_before_the_answer(hub: Hub) -> None:
    hub.faults.add(Fault(origin="hub", delay_seconds=1))

    with pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{hub.url}/api/models/{REPO}", timeout=httpx.Timeout(HANGS_SECONDS, read=0.2))


def test_expired_links_are_refused_and_fresh_ones_work(hub: Hub) -> None:
    link = httpx.head(f"{hub.url}/{REPO}/resolve/main/model.safetensors").headers["location"]

    hub.expire_links()

    assert httpx.get(link).status_code == 403
    assert get(hub).content == WEIGHTS


def test_headers_can_be_taken_away(hub: Hub) -> None:
    hub.faults.add(Fault(origin="hub", headers={"x-repo-commit": ""}))

    answers = [httpx.head(f"{hub.url}/{REPO}/resolve/main/model.safetensors") for _ in range(2)]

    assert ["x-repo-commit" in answer.headers for answer in answers] == [False, True]


def test_cleared_faults_are_over(hub: Hub) -> None:
    hub.faults.add(Fault(times=None, status=500))
    assert get(hub).status_code == 500

    hub.faults.clear()

    assert get(hub).status_code == 200


def test_the_log_tells_what_went_out_although_it_was_cut(hub: Hub) -> None:
    hub.faults.add(Fault(origin="cdn", truncate_after_bytes=70_000))
    received(hub)

    assert [(entry.origin, entry.method, entry.status, entry.bytes_sent) for entry in hub.requests] == [
        ("hub", "GET", 302, 0),
        ("cdn", "GET", 200, 70_000),
    ]


def test_the_real_client_stores_a_flipped_byte_without_noticing(hub: Hub, tmp_path: Path) -> None:
    """The fact that Slipway's own hashing is there for."""
    hub.faults.add(Fault(origin="cdn", flip_byte_at=99, times=None))

    folder = snapshot_download(REPO, cache_dir=tmp_path, endpoint=hub.url, token=False)

    stored = Path(folder, "model.safetensors").read_bytes()
    assert len(stored) == len(WEIGHTS)
    assert hashlib.sha256(stored).digest() != hashlib.sha256(WEIGHTS).digest()
