"""Prefect's API by plain HTTP: as whom it asks, what it repeats, and that every fault is a sentence."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

from flows.errors import SpecInvalid
from flows.runtime.prefect_api import PrefectApi, required_block
from flows.runtime.prefect_settings import PrefectSettings

DOCUMENT = {"data": {"dsn": "postgresql://registry"}}


@dataclass
class Server:
    """Answers as it is told, the last answer for ever; notes what it was asked."""

    url: str = ""
    answers: list[tuple[int, dict[str, str], object]] = field(default_factory=list)
    asked: list[tuple[str, dict[str, str], object]] = field(default_factory=list)

    def tell(self, status: int, body: object, **headers: str) -> None:
        self.answers.append((status, {name.replace("_", "-"): value for name, value in headers.items()}, body))

    @property
    def paths(self) -> list[str]:
        return [path for path, _, _ in self.asked]

    def api(self, **settings: object) -> PrefectApi:
        return PrefectApi(PrefectSettings(**{"api_url": f"{self.url}/api", **settings}))  # type: ignore[arg-type]


@contextmanager
def serving(tls: trustme.LeafCert | None = None) -> Iterator[Server]:
    known = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            known.asked.append((self.path, dict(self.headers), json.loads(content) if content else None))
            status, headers, body = known.answers.pop(0) if len(known.answers) > 1 else known.answers[0]
            said = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(said))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            import ssl

            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.configure_cert(context)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        known.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield known
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


def refusal(api: PrefectApi) -> str:
    with pytest.raises(SpecInvalid) as refused:
        required_block(api, "slipway-registry", "default", "Slipway registry")
    return refused.value.message


def test_a_block_is_asked_for_by_name_with_its_secrets(server: Server) -> None:
    server.tell(200, DOCUMENT)

    assert required_block(server.api(), "slipway-registry", "a b", "Slipway registry") == DOCUMENT["data"]

    assert server.paths == ["/api/block_types/slug/slipway-registry/block_documents/name/a%20b?include_secrets=true"]


@pytest.mark.parametrize(
    ("settings", "authorization"),
    [
        ({}, None),
        ({"api_key": "pnu_1"}, "Bearer pnu_1"),
        ({"api_key": "pnu_1", "api_auth_string": "admin:secret"}, f"Basic {base64.b64encode(b'admin:secret').decode()}"),
    ],
)
def test_it_asks_as_whom_the_settings_say(server: Server, settings: dict[str, str], authorization: str | None) -> None:
    server.tell(200, DOCUMENT)

    server.api(**settings, client_custom_headers={"X-Team": "models", "User-Agent": "mine"}).block("slipway-registry", "default")

    headers = server.asked[0][1]
    assert headers.get("Authorization") == authorization
    assert headers["X-Team"] == "models"
    assert headers["User-Agent"] != "mine"


def test_what_is_not_there_is_said(server: Server) -> None:
    server.tell(404, {"detail": "Block document not found"})

    assert refusal(server.api()) == (
        "Prefect has no block slipway-registry/default (Slipway registry): create it in the UI under Blocks, or in Python with save()."
    )


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, {"exception_message": "Unauthorized"}, "refused: HTTP 401: Unauthorized."),
        (403, {"detail": "Not yours."}, "refused: HTTP 403: Not yours."),
        (500, "the server fell over", "refused: HTTP 500: the server fell over."),
        (500, [1], "refused: HTTP 500: [1]."),
    ],
)
def test_a_refusal_is_a_sentence(server: Server, status: int, body: object, said: str) -> None:
    server.tell(status, body)

    assert refusal(server.api(api_key="hunter2")) == f"The Prefect API at {server.url}/api {said}"
    assert len(server.asked) == 1


def test_what_is_no_api_is_said(server: Server) -> None:
    server.tell(200, "<html>")

    assert refusal(server.api()) == f"What answers at {server.url}/api is no Prefect API: PREFECT_API_URL usually ends in /api."


@pytest.mark.parametrize("url", ["no URL", "http://", "http://[", "http://127.0.0.1:port/api", "ftp://127.0.0.1/api", "http://\udcff/api"])
def test_what_is_no_address_is_said(url: str) -> None:
    with pytest.raises(SpecInvalid, match="which is no address: it looks like"):
        PrefectApi(PrefectSettings(api_url=url))


def test_a_server_that_is_not_there_is_named() -> None:
    url = "http://127.0.0.1:9/api"
    said = refusal(PrefectApi(PrefectSettings(api_url=url)))

    assert said == f"The Prefect API at {url} cannot be reached: start the server, or set PREFECT_API_URL to it."


def test_a_server_that_says_nothing_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/api"

        assert f"{url} cannot be reached" in refusal(PrefectApi(PrefectSettings(api_url=url, api_request_timeout=0.1)))


def test_a_request_that_is_turned_away_is_repeated(server: Server) -> None:
    server.tell(503, {}, Retry_After="0")
    server.tell(429, {}, Retry_After="0")
    server.tell(200, DOCUMENT)

    assert server.api().block("slipway-registry", "default") == DOCUMENT["data"]

    assert len(server.asked) == 3


def test_it_is_repeated_as_often_as_the_settings_say(server: Server) -> None:
    server.tell(503, {"detail": "busy"}, Retry_After="0")

    assert "HTTP 503: busy" in refusal(server.api(client_max_retries=1))
    assert len(server.asked) == 2


def test_a_server_that_protects_itself_gives_a_token(server: Server) -> None:
    server.tell(403, {"detail": "Missing CSRF token."})
    server.tell(200, {"token": "t", "client": "c"})
    server.tell(200, [{"id": "1"}])

    assert server.api().filtered("flow_runs", limit=1) == [{"id": "1"}]

    (path, _, body), (token_path, _, _), (again, headers, same) = server.asked
    assert path == again == "/api/flow_runs/filter"
    assert body == same == {"limit": 1}
    assert token_path == f"/api/csrf-token?client={headers['Prefect-Csrf-Client']}"
    assert headers["Prefect-Csrf-Token"] == "t"


def test_everything_is_asked_for_page_by_page(server: Server) -> None:
    server.tell(200, [{"id": "1"}, {"id": "2"}])
    server.tell(200, [{"id": "2"}])  # it moved meanwhile

    found = server.api().every("flow_runs", page=2, sort="START_TIME_ASC")

    assert [each["id"] for each in found] == ["1", "2"]
    assert [body for _, _, body in server.asked] == [
        {"sort": "START_TIME_ASC", "limit": 2, "offset": 0},
        {"sort": "START_TIME_ASC", "limit": 2, "offset": 2},
    ]


def test_who_asks_is_not_told_to_another_host(server: Server) -> None:
    with serving() as other:
        server.tell(307, {}, Location=f"{other.url}/api/x")
        other.tell(200, DOCUMENT)

        assert server.api(api_key="hunter2").block("slipway-registry", "default") == DOCUMENT["data"]

        assert "Authorization" not in other.asked[0][1]


def test_a_redirect_on_the_same_host_keeps_who_asks(server: Server) -> None:
    server.tell(307, {}, Location="/api/elsewhere")
    server.tell(200, DOCUMENT)

    server.api(api_key="key").block("slipway-registry", "default")

    assert server.asked[1][1]["Authorization"] == "Bearer key"


def test_certificates_are_checked_as_the_settings_say(tmp_path: Path) -> None:
    authority = trustme.CA()
    ours, foreign = tmp_path / "ours.pem", tmp_path / "foreign.pem"
    authority.cert_pem.write_to_path(ours)
    trustme.CA().cert_pem.write_to_path(foreign)
    with serving(authority.issue_cert("127.0.0.1")) as server:
        server.tell(200, DOCUMENT)

        assert server.api(api_ssl_cert_file=str(ours)).block("slipway-registry", "default") is not None
        assert server.api(api_tls_insecure_skip_verify=True).block("slipway-registry", "default") is not None
        assert "cannot be reached" in refusal(server.api(api_ssl_cert_file=str(foreign)))
        with pytest.raises(SpecInvalid, match=r"authorities cannot be read from .*none\.pem: set PREFECT_API_SSL_CERT_FILE"):
            server.api(api_ssl_cert_file=str(tmp_path / "none.pem"))


def test_without_a_server_it_says_how_to_name_one() -> None:
    with pytest.raises(SpecInvalid, match="No Prefect server is set: set PREFECT_API_URL"):
        PrefectApi(PrefectSettings())
