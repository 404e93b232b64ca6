"""The commands of operators, and of those who keep watch: these, which stay up, each in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from prefect.settings import get_current_settings
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from blocks.errors import RegistryRejected
from blocks.registry import Registry
from blocks.registry.statements import migrations
from flows.cli.app import app
from flows.errors import Refusal
from flows.spec.load import ROOT
from tests.flows.conftest import Site
from tests.support.waiting import HANGS_SECONDS

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def slipway(site: Site) -> Iterator[Start]:
    """Starts the command with the site's settings."""
    environment = {**os.environ, "PREFECT_API_URL": str(get_current_settings().api.url), "PREFECT_LOGGING_LEVEL": "CRITICAL"}
    del environment["PREFECT_API_SSL_CERT_FILE"]  # it only saves the tests time, and an operator's shell has none
    with ExitStack() as stack:

        def start(*arguments: str) -> subprocess.Popen[str]:
            command = [sys.executable, "-m", "flows.cli.app", *arguments]
            process = subprocess.Popen(
                command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
            )
            stack.callback(process.communicate)
            stack.callback(process.kill)
            return process

        yield start


def test_out_and_in_again_and_watched_meanwhile(site: Site, slipway: Start, tmp_path: Path) -> None:
    # given what serves, watched by the long-running commands
    assert site.release().is_completed()
    monitor = slipway("monitor", "--interval", "3600", "--json")
    dsn = tmp_path / "dsn"  # as a mounted Secret: of an operator, who may read
    dsn.write_text(make_conninfo(site.database, options="-c role=slipway_operator"))
    exporter = slipway("exporter", "--port", "0", "--address", "127.0.0.1", "--dsn-file", str(dsn))
    assert monitor.stdout is not None
    assert exporter.stdout is not None
    seen = json.loads(monitor.stdout.readline())
    assert (seen["checked"], seen["failing"]) == (1, 0)
    metrics = exporter.stdout.readline().strip()
    assert f'slipway_model_status{{environment="development",model="{site.model}",organisation="",status="ready"}} 1.0' in fetch(metrics)

    # (a second exporter says that the port is taken)
    port = metrics.removesuffix("/metrics").rpartition(":")[2]
    second = slipway("exporter", "--port", port, "--address", "127.0.0.1")
    assert second.communicate(timeout=HANGS_SECONDS)[1].startswith(f"slipway: The exporter cannot listen on 127.0.0.1:{port} (")
    assert second.returncode == 1

    # when an operator takes it out, then the reason is what routers say
    who = ("--environment", "development", "--as", "ada")
    out = json.loads(done("disable", site.model, *who, "--reason", "it leaks", "--json"))
    assert (out["model"], out["status"]) == (site.model, "disabled")
    with site.registry() as registry:
        assert registry.route(site.model, "development").message == f"model {site.model} is disabled in development: it leaks"

    # when it does not answer, then it is not put back
    site.world.engine_faults.set(site.model, error_status=500)
    refused = told("enable", site.model, *who, "--reason", "mended").exception
    assert isinstance(refused, Refusal)
    assert str(refused) == f"{site.model} stays out of development: /v1/completions answered HTTP 500. Mend it, or release it again."
    assert site.statuses() == {"development": "disabled"}

    # when it does, then it is
    site.world.engine_faults.clear()
    assert done("enable", site.model, *who, "--reason", "mended") == f"{site.model} is ready in development.\n"
    assert site.statuses() == {"development": "ready"}

    # and the watchers end when they are told to
    for process in (monitor, exporter):
        process.send_signal(signal.SIGTERM)
        assert process.wait(HANGS_SECONDS) == 0


def test_the_owner_migrates_and_the_pipeline_may_not(site: Site) -> None:
    empty = site.world.postgres.create_database(f"empty_{site.name}")
    Registry(dsn=SecretStr(make_conninfo(empty, options="-c role=slipway_admin"))).save(site.blocks, overwrite=True)
    Registry(dsn=SecretStr(empty)).save(f"{site.blocks}-owner")

    refused = told("migrate").exception
    assert isinstance(refused, RegistryRejected)  # a technical fault, not our no
    assert "does not allow this to its user" in str(refused)
    applied = json.loads(done("migrate", "--block", f"{site.blocks}-owner", "--json"))["applied"]
    assert applied == [migration.name for migration in migrations()]
    assert json.loads(done("status", "--json")) == []


def told(*arguments: str) -> Result:
    """Run the command in this process; errors of ours come out as they are."""
    return CliRunner().invoke(app, arguments)


def done(*arguments: str) -> str:
    """What it printed; it must have ended well."""
    ended = told(*arguments)
    assert ended.exit_code == 0, ended.output
    return ended.stdout


def fetch(url: str) -> str:
    return httpx.get(url, timeout=HANGS_SECONDS, trust_env=False).text
