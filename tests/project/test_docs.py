"""The documentation tells the truth: its commands exist, its links lead somewhere, and it names every setting."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest
import typer.main

from flows.cli.app import app
from flows.spec.load import ROOT
from sandbox.helm import helm_executable, kubectl_executable
from tests.support.waiting import HANGS_SECONDS

PAGES = sorted(
    path for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*/README.md"), *ROOT.glob("charts/*/README.md")]
)
MAKEFILE = (ROOT / "Makefile").read_text()


def commands() -> list[tuple[Path, str]]:
    """Every line that a page tells people to type."""
    return [
        (page, line.removeprefix("$ "))
        for page in PAGES
        for block in re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL)
        for line in block.splitlines()
        if line.startswith("$ ")
    ]


def typed(program: str) -> list[str]:
    return sorted({line for _, line in commands() if shlex.split(line)[0] == program})


def test_there_are_pages_and_commands() -> None:
    assert len(PAGES) >= 6
    assert len(commands()) >= 10


@pytest.mark.parametrize("line", typed("slipway"))
def test_a_slipway_command_is_understood(line: str) -> None:
    _, name, *arguments = shlex.split(line)
    group = typer.main.get_command(app)
    assert isinstance(group, click.Group) or hasattr(group, "commands")
    command = group.commands[name]  # type: ignore[attr-defined]
    if hasattr(command, "commands"):
        name, *arguments = arguments
        command = command.commands[name]

    context = command.make_context(name, arguments)

    assert context.command.name == name


@pytest.mark.parametrize("line", typed("prefect"))
def test_a_prefect_command_is_understood(line: str) -> None:
    from prefect.cli._app import _app  # two seconds of imports

    _, *arguments = shlex.split(line)
    command, *_ = _app.parse_args([word for word in arguments if word != "--no-prompt"], exit_on_error=False, print_error=False)

    assert command.__name__.replace("_", "-") in arguments


@pytest.mark.parametrize("program", ["prefect", "helm", "kubectl", "docker"])
def test_the_files_that_a_command_names_exist(program: str) -> None:
    words = {word for line in typed(program) for word in shlex.split(line) if word.startswith(("deployments/", "charts/"))}

    for word in words:
        assert (ROOT / word).exists(), word


@pytest.mark.parametrize("line", typed("make"))
def test_a_make_target_exists(line: str) -> None:
    target = next(word for word in shlex.split(line)[1:] if "=" not in word)

    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)


@pytest.mark.parametrize("program", ["kubectl", "helm"])
def test_a_command_of_another_program_is_understood_by_it(program: str) -> None:
    executable = {"kubectl": kubectl_executable, "helm": helm_executable}[program]()
    for line in typed(program):
        arguments = shlex.split(line)[1:]
        end = arguments.index("--") if "--" in arguments else len(arguments)
        # Flags are read before help is given: a flag that there is not is an error, and so is a command.
        asked = [executable, *arguments[:end], "--help"]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=HANGS_SECONDS, check=False)
        assert done.returncode == 0, f"{line}: {done.stderr}"
        assert "Usage:" in done.stdout, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    for path, heading in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text()):
        target = page.parent / path if path else page
        assert target.exists(), path
        if heading:
            assert heading in _anchors(target.read_text()), f"{path}#{heading}"


def _anchors(text: str) -> set[str]:
    """What GitHub lets links lead to: headings in lower case, without punctuation, with hyphens for spaces."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_command_is_in_the_readme_or_the_docs() -> None:
    text = "\n".join(page.read_text() for page in PAGES)

    for command in typer.main.get_command(app).commands:  # type: ignore[attr-defined]
        assert f"slipway {command}" in text or f"make {command}" in text, command


def test_every_key_of_the_specs_is_explained() -> None:
    from dataclasses import fields

    from flows.spec import (
        ApprovalPolicy,
        Approver,
        BehaviourPolicy,
        DriftPolicy,
        EngineSettings,
        Environment,
        Expectation,
        FailurePolicy,
        Freeze,
        InjectionPolicy,
        LatencyPolicy,
        Model,
        PrefetchPolicy,
        RolloutPolicy,
        Shared,
        StabilityPolicy,
    )

    page = (ROOT / "docs" / "deployments.md").read_text()
    prefixes = {EngineSettings: "engine.", LatencyPolicy: "latency.", PrefetchPolicy: "prefetch.", ApprovalPolicy: "approval."}
    prefixes |= {Freeze: "freezes[].", Approver: "approvers[]."}
    prefixes |= {StabilityPolicy: "stability.", BehaviourPolicy: "behaviour.", RolloutPolicy: "rollout.", FailurePolicy: "failure."}
    prefixes |= {InjectionPolicy: "injected.", DriftPolicy: "drift."}
    nested = {"engine", "latency", "prefetch", "approval", "stability", "behaviour", "rollout", "failure", "injected", "drift"}
    for spec in (Model, Environment, Expectation, Shared, *prefixes):
        for field in fields(spec):
            if field.name not in nested:
                assert f"`{prefixes.get(spec, '')}{field.name}`" in page, f"{spec.__name__}.{field.name}"


def test_every_diagnosis_is_explained() -> None:
    from flows.rollout.diagnosis import REMEDIES

    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    for category in REMEDIES:
        assert f"| `{category}` |" in page, category


def test_every_symptom_is_explained() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    kinds = {
        kind for path in (ROOT / "flows" / "doctor" / "rules").glob("*.py") for kind in re.findall(r'kind="([a-z-]+)"', path.read_text())
    }

    assert len(kinds) > 20
    assert {kind for kind in kinds if f"`{kind}`" not in page} == set()


def test_every_phase_is_explained() -> None:
    from flows.record.phases import PHASES

    rows = re.findall(r"^\| ([a-z, -]+) \|", (ROOT / "docs" / "verification.md").read_text(), re.MULTILINE)

    assert set(PHASES) <= {word for row in rows for word in row.split(", ")}


def test_every_kind_of_check_is_explained() -> None:
    page = (ROOT / "docs" / "deployments.md").read_text()

    for kind in json.loads((ROOT / "deployments" / "checks" / "schema.json").read_text())["properties"]["checks"]["items"]["discriminator"][
        "mapping"
    ]:
        assert f"| `{kind}` |" in page, kind


def test_the_published_schemas_are_those_of_the_code() -> None:
    from flows.cli.schemas import SCHEMAS, schema_text

    for name, of in SCHEMAS.items():
        assert (ROOT / name).read_text() == schema_text(of), f"run `python -m flows.cli.schemas`: {name}"


def test_nothing_names_a_machine_or_its_registry() -> None:
    forbidden = re.compile(r"(?<![\w./-])/(work|root|farm)/|/home/\w+/")
    for pattern in ("*.md", "*.toml", "*.yaml", "docs/**/*.*", "flows/**/*.py", "blocks/**/*.py", "requirements.lock", "Makefile"):
        for path in ROOT.glob(pattern):
            assert not forbidden.search(path.read_text(errors="replace").replace("/home/vllm/", "")), path
