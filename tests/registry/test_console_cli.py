"""The command line where `SLIPWAY_URL` names a console: it asks that, at once, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import uvicorn
from typer.testing import CliRunner, Result

from blocks.facts.kinds import EventKind
from blocks.registry import Gate, RegistryClient
from flows.cli.app import app
from flows.cli.console_client import console_client
from flows.console.serving import listening
from flows.errors import SpecInvalid
from flows.spec.load import ROOT
from tests.support.console import console, folder, token
from tests.support.known_prefect import KnownPrefect
from tests.support.waiting import HANGS_SECONDS

if TYPE_CHECKING:
    from conftest import Releases

MODEL = "tiny-llama"
RUN = "5d0f5b0a-7d34-4c1c-9a7e-3f1c1f2b7a11"


@dataclass
class World:
    """A console that listens, and somebody at a command line."""

    url: str
    prefect: KnownPrefect
    registry: RegistryClient
    secret: str

    def __call__(self, *arguments: str, **environment: str) -> Result:
        return CliRunner().invoke(app, list(arguments), env={"SLIPWAY_URL": self.url, "SLIPWAY_TOKEN": self.secret, **environment})


@pytest.fixture
def world(tmp_path: Path, client: RegistryClient) -> Iterator[World]:
    prefect = KnownPrefect()
    approvers = "approvers:\n  - {name: desk, roles: [release-manager], environments: [production], aliases: [ada]}\n"
    with listening("127.0.0.1", 0) as sockets:
        url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
        served = console(folder(tmp_path, approvers=approvers), client, prefect, url=url)
        server = uvicorn.Server(uvicorn.Config(served, log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run, args=(sockets,), daemon=True)
        thread.start()
        headers = token(client, acts_as="ada", role="admin", models=["*"], environments=["*"])
        yield World(url=url, prefect=prefect, registry=client, secret=headers["Authorization"].removeprefix("Bearer "))
        server.should_exit = True
        thread.join(HANGS_SECONDS)


def test_status_is_told_at_once_without_prefect_and_without_a_database_driver(world: World, releases: Releases) -> None:
    releases.release("a1", "run-1")
    environment = {"SLIPWAY_URL": world.url, "SLIPWAY_TOKEN": world.secret, "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    command = [sys.executable, "-X", "importtime", "-m", "flows.cli.app", "status"]

    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=600)

    assert "tiny   production   ready" in done.stdout
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert not {name.partition(".")[0] for name in imported} & {"prefect", "psycopg", "psycopg_pool", "fastapi", "httpx", "kubernetes"}
    # Imports are what it takes, 0.3 s on a machine that does nothing else: some 490; Prefect alone would bring 1100.
    assert len(imported) < 600


def test_a_release_is_started_and_followed(world: World) -> None:
    def ends() -> None:
        while not world.prefect.runs:
            time.sleep(0.01)
        next(iter(world.prefect.runs.values())).update(state_type="COMPLETED", state_name="Completed")

    threading.Thread(target=ends, daemon=True).start()
    done = world("release", MODEL, "--environment", "staging", "--json")

    (run,) = world.prefect.runs.values()
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["state"] == "Completed"
    assert (run["parameters"]["requester"], run["parameters"]["environments"]) == ("ada", ["staging"])


def test_a_run_that_fails_ends_the_command_as_it_does_without_a_console(world: World) -> None:
    started = world("rollback", MODEL, "production", "--reason", "answers changed", "--no-wait")
    (run,) = world.prefect.runs.values()

    assert started.exit_code == 0, started.output
    assert (run["parameters"]["actor"], run["parameters"]["reason"]) == ("ada", "answers changed")
    assert f"{world.url}/runs/{run['id']}" in started.output


def test_what_waits_is_shown_and_answered(world: World) -> None:
    gate = Gate(run_id=RUN, name="production-0123456789abcdef", model=MODEL, environment="production", fingerprint="f" * 64)
    detail = {"requester": "otto", "evidence_sha256": "e" * 64, "request_hours": 72.0, "environment": "production"}
    world.registry.approvals.mark(gate, EventKind.APPROVAL_REQUESTED, detail)
    world.prefect.add("release", {"model": MODEL, "environments": []}, "PAUSED", RUN, f"{gate.name}-1")

    shown = world("approvals")
    answered = world("approve", f"release {MODEL}", "--code", "123456", "--reason", "verified")

    assert f"{MODEL} to production: candidate ffffffffffff, asked for by otto" in shown.output
    assert answered.exit_code == 0, answered.output
    assert world.prefect.resumed[RUN] == {"decision": "approve", "approver": "desk", "code": "123456", "reason": "verified"}


def test_a_model_is_taken_out(world: World, releases: Releases) -> None:
    releases.release("a1", "run-1")

    done = world("disable", "tiny", "--reason", "answers leak prompts", "--json")

    assert json.loads(done.stdout) == {
        "model": "tiny",
        "environment": "production",
        "status": "disabled",
        "candidate": releases.fingerprint("a1"),
    }
    assert world.registry.events.latest("tiny", limit=1)[0].actor == "ada"


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["status"], {"SLIPWAY_TOKEN": "slipway_" + "x" * 43}, "unknown, revoked or expired"),
        (["status"], {"SLIPWAY_TOKEN": ""}, "SLIPWAY_TOKEN_FILE"),
        (["status"], {"SLIPWAY_TOKEN": "", "SLIPWAY_TOKEN_FILE": "/nothing/here"}, "/nothing/here cannot be read"),
        (["status"], {"SLIPWAY_TOKEN": "a b"}, "SLIPWAY_TOKEN holds no token"),
        (["status"], {"SLIPWAY_URL": "http://slipway.test"}, "must be an https address"),
        (["status"], {"SLIPWAY_URL": "https://slipway.test/x"}, "without a path"),
        (["status"], {"SLIPWAY_URL": "http://127.0.0.1:9"}, "cannot be reached"),
        (["release", "nothing"], {}, "There is no model 'nothing'"),
        (["release", MODEL, "--as", "otto"], {}, "--as is not for use with SLIPWAY_URL"),
        (["approve", RUN, "--code", "123456"], {}, "that you may see waits for approval"),
    ],
)
def test_what_is_wrong_is_told_in_one_sentence(world: World, arguments: list[str], environment: dict[str, str], said: str) -> None:
    done = world(*arguments, **environment)

    assert isinstance(done.exception, SpecInvalid)
    assert said in done.exception.message
    assert world.secret not in done.exception.message


def test_a_redirect_takes_the_token_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def redirecting(scope: dict[str, object], receive: object, send: object) -> None:
        asked.append(str(scope["path"]))
        await send({"type": "http.response.start", "status": 302, "headers": [(b"location", b"/elsewhere")]})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": b""})  # type: ignore[operator]

    with listening("127.0.0.1", 0) as sockets:
        server = uvicorn.Server(uvicorn.Config(redirecting, log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run, args=(sockets,), daemon=True)
        thread.start()
        monkeypatch.setenv("SLIPWAY_URL", f"http://127.0.0.1:{sockets[0].getsockname()[1]}")
        monkeypatch.setenv("SLIPWAY_TOKEN", "slipway_token")
        client = console_client()
        assert client is not None
        with pytest.raises(SpecInvalid, match="no console of Slipway"):
            client.get("me")
        server.should_exit = True
        thread.join(HANGS_SECONDS)

    assert asked == ["/api/v1/me"]


GARBAGE = [
    b"{}",
    b"[]",
    b"null",
    b"[1]",
    b'{"items": 1}',
    b'{"items": [1]}',
    b'{"items": [{}]}',
    b"[" * 100_000,
    b"\xff",
    b'[{"request": {}}]',
]
COMMANDS = [["status"], ["approvals"], ["plan", MODEL], ["disable", "tiny", "--reason", "because"], ["approve", RUN, "--code", "123456"]]


def test_what_answers_something_else_is_said_to_be_no_console(world: World) -> None:
    said: list[bytes] = []

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200)
            self.send_header("Content-Length", str(len(said[0])))
            self.end_headers()
            self.wfile.write(said[0])

        do_POST = do_GET

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for said[:] in ([each] for each in GARBAGE):
            for command in COMMANDS:
                done = world(*command, SLIPWAY_URL=f"http://127.0.0.1:{server.server_port}", http_proxy="http://127.0.0.1:9")
                told = done.exception.message if isinstance(done.exception, SpecInvalid) else repr((done.exception, done.output))
                nothing = said == [b"[]"] and command[0] in ("approvals", "approve")
                assert nothing or "no console of Slipway" in told, (said, command, told)
        server.shutdown()
