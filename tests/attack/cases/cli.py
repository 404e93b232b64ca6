"""The command line: what is wrong is one sentence, and nothing that is shown commands the terminal."""

from __future__ import annotations

import hashlib
import os
import pty
import re
import select
import subprocess
import sys
import time
import unicodedata
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest import mock

from blocks.registry import RegistryClient
from flows.cli import app
from flows.verification.measurement import Measurement
from sandbox.prefect import ROOT
from tests.attack.case import attacks
from tests.attack.shared import Shared
from tests.support.candidates import register
from tests.support.examples import evidence, verdict

COMMANDS = "\x1b[2J\x1b]0;title\x07\x1b]8;;https://evil.example\x1b\\\x9b31m\r\x08\u202e\x7f"


def said(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a command, run in this process; it must end by itself."""
    out, err = StringIO(), StringIO()
    with (
        mock.patch.object(sys, "argv", ["slipway", *arguments]),
        mock.patch.dict(os.environ, environment),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            app.main()
        except SystemExit as exc:
            return int(exc.code or 0), out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


def on_a_terminal(*arguments: str, environment: Mapping[str, str]) -> str:
    """What a terminal gets when a person types the command at it."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "flows.cli.app", *arguments]
    clean = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "TERM": "xterm-256color", "COLUMNS": "200", **environment}
    with subprocess.Popen(command, env=clean, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs) as child:
        os.close(theirs)
        got, deadline = b"", time.monotonic() + 50
        while time.monotonic() < deadline:
            if select.select([ours], [], [], 0.2)[0]:
                try:
                    piece = os.read(ours, 65536)
                except OSError:  # nobody has the other end open any more
                    break
                got += piece
            elif child.poll() is not None:
                break
        child.kill()
    os.close(ours)
    return got.decode("utf-8", "replace")


def commanded(shown: str) -> list[str]:
    """Signs that command the terminal, but for line ends and rich's own colours."""
    rest = re.sub(r"\x1b\[[0-9;]*m", "", shown.replace("\r\n", "\n"))
    return [repr(sign) for sign in rest if unicodedata.category(sign) in ("Cc", "Cf") and sign not in "\n\t"]


def kept(shared: Shared) -> tuple[RegistryClient, Path]:
    """A registry of one's own, and the file that names it to the command line."""
    dsn, file = shared.database(), shared.new_folder() / "dsn"
    file.write_text(dsn)
    return shared.open.enter_context(RegistryClient(dsn)), file


@attacks("an address of Prefect's API that is none is one sentence and no traceback")
def api_addresses() -> None:
    everywhere = (("status",), ("release", "tiny"), ("approve", "x", "--as", "ada", "--code", "1"), ("doctor",))
    wrong = ("http://[", "http://127.0.0.1:x/api", "ht tp://a", "http://\udcff", "//", "file:///etc/passwd", "http://h:99999", "\x1b[2J")
    for number, url in enumerate(wrong):
        for command in everywhere if number == 0 else everywhere[:2]:
            code, out, err = said(*command, PREFECT_API_URL=url, SLIPWAY_REGISTRY_DSN_FILE="")
            assert code in (1, 3), f"{url!r} {command}: {code}"
            assert not out, out
            assert err.startswith("slipway: "), err
            assert len(err.splitlines()) == 1, err
            assert not commanded(err), err


@attacks("an argument that is not UTF-8 is one sentence and exit code 2")
def arguments() -> None:
    for argument in ("\udcff", "tiny\udc80", "\ud800\x1b[2J"):
        for command in (
            ("release", argument),
            ("status", argument),
            ("evidence", argument),
            ("disable", "tiny", "--reason", argument, "--as", "a"),
            ("canary", "abort", "tiny", "production", "--reason", argument, "--as", "a"),
        ):
            code, out, err = said(*command)
            assert (code, out) == (2, ""), f"{argument!r}: {code} {out}"
            assert len(err.splitlines()) == 1, err


@attacks("an error prints nothing that commands a terminal, whatever it quotes")
def errors() -> None:
    code, _, err = said("status", SLIPWAY_REGISTRY_DSN_FILE=f"/nonexistent{COMMANDS}")
    assert code, "it did not fail"
    assert not commanded(err), commanded(err)
    assert len(err.splitlines()) == 1, err


@attacks("what is no command, option or value is quoted without anything that commands a terminal")
def usage() -> None:
    for arguments in ((COMMANDS,), ("status", f"--{COMMANDS}"), ("status", f"-{COMMANDS}"), ("fit", "x", "--concurrency", COMMANDS)):
        code, out, err = said(*arguments)
        assert code == 2, (arguments, code)
        # The usage is several lines; of the rest, what shows nothing or turns others round is seen as a sign.
        odd = {sign for sign in out + err if unicodedata.category(sign) in ("Cc", "Cf") and sign != "\n"}
        assert odd == set(), (arguments, odd)


@attacks("slipway evidence shows what a model answered without obeying it, on a real terminal")
def evidence_on_a_terminal(shared: Shared) -> None:
    text = f"before{COMMANDS}after [/] [bold] [link=https://evil.example]x[/link]"
    wrong = Measurement(name=text, kind="completion", outcome="failed", expected=text, seen=text)
    made = evidence(verdict(wrong, engine_version=text))
    registry, file = kept(shared)
    sha256 = registry.evidence.save("verification", made.document())
    for arguments in (("evidence", sha256), ("evidence", sha256, "--json")):
        shown = on_a_terminal(*arguments, environment={"SLIPWAY_REGISTRY_DSN_FILE": str(file)})
        assert "before" in shown, shown[-2000:]
        assert not commanded(shown), commanded(shown)


@attacks("evidence that a program hashes is printed byte by byte as it was kept")
def evidence_as_kept(shared: Shared) -> None:
    registry, file = kept(shared)
    sha256 = registry.evidence.save("verification", evidence(verdict(text="caf\u00e9 \u202e \u009b")).document())
    code, out, err = said("evidence", sha256, "--json", SLIPWAY_REGISTRY_DSN_FILE=str(file))
    assert code == 0, err
    assert hashlib.sha256(out.removesuffix("\n").encode()).hexdigest() == sha256


@attacks("slipway status shows a reason on its own line, whatever is in it, on a real terminal")
def status_on_a_terminal(shared: Shared) -> None:
    registry, file = kept(shared)
    fingerprint, commit = register(registry), "a" * 40
    place = {"model": "tiny", "environment": "staging", "fingerprint": fingerprint, "run_id": "run"}
    registry.lifecycle.begin(hub_revision=commit, namespace="models", endpoint="tiny.models.svc.cluster.local:8000", **place)
    registry.lifecycle.mark_ready(helm_revision=1, evidence_sha256=registry.evidence.save("verdict", {"a": 1}), **place)
    place.pop("run_id")
    registry.lifecycle.mark_degraded(reason=f"slow\nother  production  ready{COMMANDS}", **place)
    shown = on_a_terminal("status", environment={"SLIPWAY_REGISTRY_DSN_FILE": str(file)})
    assert "slow" in shown, shown
    assert not commanded(shown), commanded(shown)
    assert not re.search(r"^other", shown, re.MULTILINE), shown
