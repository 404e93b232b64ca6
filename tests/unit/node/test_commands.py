"""What Slipway's program on the nodes does for `helm test`, and for an engine that keeps its compiled code."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from blocks.errors import EndpointRejected, EndpointUnreachable, NodeRejected
from flows.node.ask import ask
from flows.node.prepare import prepare


@dataclass
class Answering:
    """An HTTP server that answers one thing, and keeps what it was asked."""

    status: int = 200
    body: Any = None
    asked: list[tuple[str, Any]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def engine() -> Iterator[Answering]:
    answering = Answering(body={"choices": [{"text": " there."}], "usage": {"completion_tokens": 2}})

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answering.asked.append((self.path, json.loads(body)))
            self.send_response(answering.status)
            self.end_headers()
            self.wfile.write(answering.body if isinstance(answering.body, bytes) else json.dumps(answering.body).encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        answering.url = f"http://127.0.0.1:{server.server_port}"
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        yield answering
        server.shutdown()
        serving.join()


def test_an_engine_that_answers_is_told_of_in_one_sentence(engine: Answering) -> None:
    said = ask(engine.url, "tiny", 10)

    assert said.startswith("tiny answered 2 token(s) in ")
    ((path, body),) = engine.asked
    assert path == "/v1/completions"
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("tiny", 8, 0)


def test_a_refusal_is_told_with_the_engines_own_words(engine: Answering) -> None:
    engine.status, engine.body = 404, {"error": {"message": "The model `tiny` does not exist."}}

    with pytest.raises(EndpointRejected, match=r"HTTP 404: .*does not exist"):
        ask(engine.url, "tiny", 10)


@pytest.mark.parametrize(
    "body", [b"<html>welcome</html>", [], {"choices": [], "usage": {"completion_tokens": 1}}, {"choices": [{"text": ""}], "usage": None}]
)
def test_an_answer_that_is_no_completion_is_none(engine: Answering, body: Any) -> None:
    engine.body = body

    with pytest.raises(EndpointRejected, match="not with a completion of tiny"):
        ask(engine.url, "tiny", 10)


def test_no_answer_is_an_error_that_names_the_endpoint(engine: Answering) -> None:
    with pytest.raises(EndpointUnreachable, match=r"http://127\.0\.0\.1:1 did not answer"):
        ask("http://127.0.0.1:1", "tiny", 10)
    with pytest.raises(EndpointRejected, match="give http://HOST:PORT"):
        ask("127.0.0.1:8000", "tiny", 10)


def test_a_folder_is_made_once_and_keeps_what_lies_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "production" / "image-gpu" / "candidate"
    prepare(folder)
    (folder / "kernel.so").write_bytes(b"compiled")

    prepare(folder)

    assert (folder / "kernel.so").read_bytes() == b"compiled"
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    for wanted in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(NodeRejected, match=str(wanted)):
            prepare(wanted)
