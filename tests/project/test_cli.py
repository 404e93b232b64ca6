"""The command line: one clear sentence and exit code 1 for what a user got wrong, and JSON for scripts."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from blocks.registry import RegistryClient
from sandbox.postgres import Postgres
from sandbox.prefect import ROOT, Prefect
from tests.support.waiting import HANGS_SECONDS


def slipway(*arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command with nothing of this machine's settings."""
    clean = {"PATH": os.environ["PATH"], "HOME": str(home), "PREFECT_HOME": str(home / "prefect"), "PREFECT_LOGGING_LEVEL": "CRITICAL"}
    command = [sys.executable, "-m", "flows.cli.app", *arguments]
    return subprocess.run(
        command, env={**clean, **environment}, cwd=ROOT, capture_output=True, text=True, timeout=HANGS_SECONDS, stdin=subprocess.DEVNULL
    )


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """What the command said; it must be one line on stderr, and nothing on stdout."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_without_a_prefect_server_it_says_how_to_name_one(tmp_path: Path) -> None:
    assert "set PREFECT_API_URL" in sentence(slipway("release", "tiny-llama", home=tmp_path))


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = slipway("status", home=tmp_path, PREFECT_API_URL="http://127.0.0.1:9/api")

    assert "The Prefect API at http://127.0.0.1:9/api cannot be reached" in sentence(done)


def test_what_the_server_does_not_know_is_named(prefect_api: str, tmp_path: Path) -> None:
    def ask(*arguments: str) -> str:
        return sentence(slipway(*arguments, home=tmp_path, PREFECT_API_URL=prefect_api, SLIPWAY_DEPLOYMENTS=str(tmp_path / "none")))

    assert "Prefect has no deployment 'release/release': run `prefect --no-prompt deploy --all`" in ask("release", "tiny-llama")
    assert "No run 'nothing' waits for approval" in ask("approve", "nothing", "--as", "somebody")
    assert "Prefect has no run 00000000-0000-0000-0000-000000000000" in ask(
        "approve", "0" * 8 + "-0000-0000-0000-" + "0" * 12, "--as", "somebody"
    )
    assert "Prefect has no block slipway-registry/default" in ask("status")


def test_a_server_that_asks_for_a_password_and_for_tokens(new_prefect_database: Path, tmp_path: Path) -> None:
    protected = {"PREFECT_SERVER_API_AUTH_STRING": "admin:secret", "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true"}
    prefect = Prefect(tmp_path / "server", protected)
    shutil.copy(new_prefect_database, prefect.database)
    with prefect:

        def ask(*arguments: str, **environment: str) -> str:
            return sentence(slipway(*arguments, home=tmp_path, PREFECT_API_URL=prefect.api_url, **environment))

        refused = f"The Prefect API at {prefect.api_url} refused: HTTP 401: Unauthorized."
        assert refused in ask("status")
        assert refused in ask("status", PREFECT_API_AUTH_STRING="admin:guess")
        assert "Prefect has no block slipway-registry/default" in ask("status", PREFECT_API_AUTH_STRING="admin:secret")
        # what waits is asked for by a filter, which is a POST request
        assert "No run 'nothing' waits" in ask("approve", "nothing", "--as", "ada", PREFECT_API_AUTH_STRING="admin:secret")


def test_a_second_demo_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    with (state / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        assert f"Another demo runs in {state}" in sentence(slipway("demo", "--state", str(state), home=tmp_path))


def test_all_blocks_are_registered_by_one_command(prefect_api: str, tmp_path: Path) -> None:
    command = ["prefect", "block", "register", "--module", "blocks.registration"]
    assert f"$ {' '.join(command)}\n" in (ROOT / "docs" / "operations.md").read_text()
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PREFECT_HOME": str(tmp_path), "PREFECT_API_URL": prefect_api}

    done = subprocess.run(
        [sys.executable, "-m", *command], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=HANGS_SECONDS
    )

    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("cluster", "endpoint", "health-cache", "helm", "hub", "registry"):
        assert httpx.get(f"{prefect_api}/block_types/slug/slipway-{name}", timeout=HANGS_SECONDS, trust_env=False).status_code == 200


def test_a_missing_argument_is_explained_by_usage(tmp_path: Path) -> None:
    done = slipway("rollback", "tiny-llama", home=tmp_path)

    assert done.returncode == 2
    assert "Missing argument" in done.stderr
    assert "environment" in done.stderr


@pytest.fixture(scope="module")
def registry_dsn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An empty registry."""
    with Postgres(tmp_path_factory.mktemp("postgres"), durable=False) as postgres:
        with RegistryClient(postgres.dsn) as registry:
            registry.migrate()
        yield postgres.dsn


@pytest.fixture(scope="module")
def deployments(prefect_api: str, registry_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout's `deployments/`, with a registry whose block Prefect has."""
    folder, name = tmp_path_factory.mktemp("checkout") / "deployments", f"cli-{uuid.uuid4().hex[:8]}"
    shutil.copytree(ROOT / "deployments", folder)
    (folder / "shared.yaml").write_text(f"registry: {name}\nhub: {name}\n")
    environment = {"PATH": os.environ["PATH"], "PREFECT_HOME": str(folder.parent), "PREFECT_API_URL": prefect_api, "DSN": registry_dsn}
    code = f"import os; from blocks.registry import Registry; Registry(dsn=os.environ['DSN']).save({name!r})"
    for _ in range(3):  # Prefect refuses one of two processes that register the same type at once, and others test at the same time
        saved = subprocess.run(
            [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=HANGS_SECONDS
        )
        if saved.returncode == 0:
            return folder
    pytest.fail(saved.stderr)


@pytest.mark.parametrize(
    ("arguments", "said", "without"),
    [
        (["status"], "Nothing has been released yet.", ("prefect", "kubernetes")),
        (["approvals"], "Nothing waits for approval.", ("prefect", "kubernetes")),
        (["audit", "verify"], "The record holds: 0 events.", ("prefect", "kubernetes")),
        (["audit", "export"], "", ("prefect", "kubernetes")),
        (["evidence", "0" * 64], "The registry has no evidence", ("prefect", "kubernetes")),
        (["evidence", "of no run"], "No run 'of no run' waits for approval", ("prefect", "kubernetes")),
        (["doctor"], "slipway", ("prefect",)),  # it looks at clusters
    ],
)
def test_what_only_reads_does_not_wait_for_prefect_to_be_imported(
    prefect_api: str, deployments: Path, tmp_path: Path, arguments: list[str], said: str, without: tuple[str, ...]
) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PREFECT_API_URL": prefect_api,
        "SLIPWAY_DEPLOYMENTS": str(deployments),
    }
    code = f"import atexit, json, sys; sys.argv = ['slipway', *{arguments!r}]; from flows.cli.app import main\n"
    code += f"atexit.register(lambda: print(json.dumps([name for name in {without!r} if name in sys.modules])))\n"
    code += "main()"

    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=HANGS_SECONDS)

    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_a_file_with_the_connection_string_needs_no_prefect(registry_dsn: str, tmp_path: Path) -> None:
    file = tmp_path / "dsn"
    file.write_text(registry_dsn)

    done = slipway("status", home=tmp_path, SLIPWAY_REGISTRY_DSN_FILE=str(file))
    assert done.stdout == "Nothing has been released yet.\n", done.stderr

    file.unlink()
    assert f"cannot be read from {file}" in sentence(slipway("status", home=tmp_path, SLIPWAY_REGISTRY_DSN_FILE=str(file)))


@pytest.mark.parametrize("arguments", [["--help"], ["release", "--help"], ["status", "--help"]])
def test_help_does_not_wait_for_prefect_to_be_imported(tmp_path: Path, arguments: list[str]) -> None:
    code = "import sys; from typer.main import get_command; from flows.cli.app import app; import contextlib\n"
    code += f"with contextlib.suppress(SystemExit): get_command(app).main({arguments!r})\n"
    code += (
        "import json; print(json.dumps([name for name in ('prefect', 'kubernetes', 'psycopg', 'huggingface_hub') if name in sys.modules]))"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=HANGS_SECONDS, check=True)

    assert json.loads(done.stdout.splitlines()[-1]) == []
