"""`make demo APPROVE=yes` as a newcomer runs it: a real worker, the approval, production, and nothing left behind."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from flows.cli.demo import DemoFailed, _part
from flows.spec.load import ROOT
from sandbox.helm import helm_executable
from sandbox.prefect import SAVED_BLOCKS_ALONE, Prefect
from tests.support.waiting import HANGS_SECONDS


def processes_of(folder: Path) -> list[str]:
    """Command lines of processes that work in or on the folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd", "environ"]):
        text = " ".join(
            [process.info["cwd"] or "", *(process.info["cmdline"] or []), *(f"{k}={v}" for k, v in (process.info["environ"] or {}).items())]
        )
        if str(folder) in text:
            found.append(" ".join(process.info["cmdline"] or []))
    return found


#: Imported by every interpreter that finds it on PYTHONPATH: a machine on which one of Prefect's processes dies at once. Its server finds a
#: database that is made already, and registers no types of blocks: two thirds of its start.
DIES = """
import os, shutil, sys
if {word!r} in sys.orig_argv and "prefect" in sys.orig_argv:
    print("it rains", file=sys.stderr, flush=True)
    os._exit(3)
_, _, database = os.environ.get("PREFECT_API_DATABASE_CONNECTION_URL", "").partition("///")
if "server" in sys.orig_argv and database and not os.path.exists(database):
    shutil.copy({database!r}, database)
os.environ.update({settings!r})
"""

#: A helm that is new enough and refuses.
HELM = """#!/bin/sh
case "$1" in version) echo v4.9.9 ;; *) echo "Error: it rains" >&2; exit 1 ;; esac
"""


@pytest.mark.parametrize(
    ("dies", "said", "log"),
    [
        ("server", "the start of the Prefect server: The Prefect server did not start: it rains", "prefect/logs/server.log"),
        ("worker", "the release: the worker ended: it rains.", "prefect/logs/worker.log"),
        ("helm", "helm install of the environments: helm ended with 1: Error: it rains", "demo.log"),
    ],
)
def test_a_demo_that_fails_says_why_and_where_its_log_is(
    new_prefect_database: Path, tmp_path: Path, dies: str, said: str, log: str
) -> None:
    state, extra = tmp_path / "state", tmp_path / "extra"
    extra.mkdir()
    (extra / "sitecustomize.py").write_text(DIES.format(word=dies, database=str(new_prefect_database), settings=SAVED_BLOCKS_ALONE))
    path = os.environ["PATH"]
    if dies == "helm":
        (extra / "helm").write_text(HELM)
        (extra / "helm").chmod(0o755)
        path = f"{extra}{os.pathsep}{path}"

    done = subprocess.run(
        [sys.executable, "-m", "flows.cli.app", "demo", "--approve", "--state", str(state)],
        cwd=ROOT,
        env={"PATH": path, "HOME": str(tmp_path), "PYTHONPATH": str(extra)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=3 * HANGS_SECONDS,
    )

    assert done.returncode == 1, done.stdout + done.stderr
    *_, why, where = done.stdout.strip().splitlines()
    assert why == f"The demo failed at {said}"
    assert where.startswith(f"The log: {state / log};")
    assert (state / log).read_text()
    assert "Traceback" not in done.stdout + done.stderr
    assert processes_of(state) == []


def test_a_command_of_prefects_that_fails_is_named_with_its_first_and_last_line(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho clouds >&2; echo it rains >&2; exit 3\n")
    python.chmod(0o755)

    with pytest.raises(DemoFailed) as failed, _part("prefect deploy", tmp_path / "server.log"):
        Prefect(tmp_path, python=str(python)).run("--no-prompt", "deploy", "--all")

    assert (failed.value.part, failed.value.log) == ("prefect deploy", tmp_path / "server.log")
    assert failed.value.why == "prefect --no-prompt deploy --all failed: it rains"
    assert "clouds" in (tmp_path / "demo.log").read_text()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    state = tmp_path / "file" / "state"

    done = subprocess.run(
        [sys.executable, "-m", "flows.cli.app", "demo", "--state", str(state)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 1
    assert done.stderr == f"slipway: The demo cannot write to {state}: Not a directory; name another folder with --state.\n"


def assert_the_log_says_what_it_is_about(log: Path, shown: set[str]) -> None:
    """Every line of a run is a JSON object, and those of an environment's steps say which candidate went where."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    # At full minutes, and at night, the schedules' own runs may begin before the demo pauses them.
    steps = [line for line in lines if line.get("task") and line["flow"] == "release"]
    assert {line.get("environment") for line in steps} >= {"development", "staging", "production"}
    assert {line["model"] for line in steps} == {"tiny-llama"}
    assert len({line["run_id"] for line in steps}) == 1, "also after it was suspended"
    assert {line["candidate"][:12] for line in steps if "environment" in line} == {name[:12] for name in shown}
    # What is no JSON is the worker's own greeting: no step of a run is told twice.
    assert not [line for line in log.read_text().splitlines() if "Finished in state" in line and not line.startswith("{")]


def test_the_demo_releases_to_production_and_leaves_nothing_behind(tmp_path: Path) -> None:
    home, state = tmp_path / "home", tmp_path / "state"
    home.mkdir()
    # A terminal, a proxy or Prefect settings of the caller must not matter; the helm that is cached already need not be fetched again.
    environment = {"PATH": f"{helm_executable().parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(home)}

    # An environment that is not up to date is made with the caller's own home: pip and what it asks leave files there.
    subprocess.run(["make", "setup"], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=3 * HANGS_SECONDS)

    done = subprocess.run(
        ["make", "demo", "APPROVE=yes", f"STATE={state}"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=3 * HANGS_SECONDS,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("Console:     http://127.0.0.1:"), "the first thing that it says"
    assert "production waits for an approval" in done.stdout
    table = [
        re.split(r"\s*[│|]\s*", line.strip())
        for line in done.stdout.splitlines()
        if re.match(r"\s*(development|staging|production)\b.*│", line)
    ]
    assert [(row[0], row[3], row[4]) for row in table] == [(name, "ready", "passed") for name in ("development", "staging", "production")]
    assert len({row[1] for row in table}) == 1, "every environment has the same candidate"
    assert re.search(r"^curl http://127\.0\.0\.1:\d+/v1/completions", done.stdout, re.MULTILINE)
    assert "The capital of France is Paris." in done.stdout
    assert "Latency limits: a laptop's" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert_the_log_says_what_it_is_about(state / "prefect" / "logs" / "worker.log", {row[1] for row in table})
    assert processes_of(state) == []
    assert [path for path in home.rglob("*") if path.is_file()] == []
