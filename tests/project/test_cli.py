"""The command line: one clear sentence and exit code 1 for what a user got wrong, and JSON for scripts."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from sandbox.prefect import ROOT


def slipway(*arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command with nothing of this machine's settings."""
    clean = {"PATH": os.environ["PATH"], "HOME": str(home), "PREFECT_HOME": str(home / "prefect"), "PREFECT_LOGGING_LEVEL": "CRITICAL"}
    command = [sys.executable, "-m", "flows.cli.app", *arguments]
    return subprocess.run(
        command, env={**clean, **environment}, cwd=ROOT, capture_output=True, text=True, timeout=90, stdin=subprocess.DEVNULL
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

    done = subprocess.run([sys.executable, "-m", *command], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=90)

    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("cluster", "endpoint", "health-cache", "helm", "hub", "registry"):
        assert httpx.get(f"{prefect_api}/block_types/slug/slipway-{name}", timeout=30, trust_env=False).status_code == 200


def test_a_missing_argument_is_explained_by_usage(tmp_path: Path) -> None:
    done = slipway("rollback", "tiny-llama", home=tmp_path)

    assert done.returncode == 2
    assert "Missing argument" in done.stderr
    assert "environment" in done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["release", "--help"], ["status", "--help"]])
def test_help_does_not_wait_for_prefect_to_be_imported(tmp_path: Path, arguments: list[str]) -> None:
    code = "import sys; from typer.main import get_command; from flows.cli.app import app; import contextlib\n"
    code += f"with contextlib.suppress(SystemExit): get_command(app).main({arguments!r})\n"
    code += (
        "import json; print(json.dumps([name for name in ('prefect', 'kubernetes', 'psycopg', 'huggingface_hub') if name in sys.modules]))"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)

    assert json.loads(done.stdout.splitlines()[-1]) == []
