"""What CONTRIBUTING.md says on how to add something is followed: in a copy, each entry makes the tests fail that the page names, until the
page was followed to its end."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.spec.load import ROOT
from tests.support.waiting import HANGS_SECONDS

PAGES = ("CONTRIBUTING.md", "docs/architecture.md", "docs/glossary.md")
GUIDES: dict[str, str] = dict(
    re.findall(r"^### (an? [^\n]+)\n(.*?)(?=^##|\Z)", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE | re.DOTALL)
)
#: What the tests that the page names need around them.
COPIED = (
    "flows",
    "blocks",
    "sandbox",
    "tests",
    "docs",
    "charts",
    "deployments",
    "CONTRIBUTING.md",
    "README.md",
    "CHANGELOG.md",
    "Makefile",
)


def promised(guide: str) -> list[str]:
    """The tests that a guide says hold it, as pytest names them; those that need a Prefect server are tried where they are."""
    held = re.findall(r"((?:`test_\w+`(?:,? and )?\s*)+)in\s+`(tests/[\w/]+\.py)`", GUIDES[guide])
    return [f"{path}::{name}" for names, path in held for name in re.findall(r"`(\w+)`", names) if not path.startswith("tests/flows/")]


@pytest.mark.parametrize("page", PAGES)
def test_every_file_and_name_is_where_the_page_says(page: str) -> None:
    text = (ROOT / page).read_text()
    paths = set(re.findall(r"`((?:flows|blocks|tests|docs|charts|deployments|sandbox)/[\w./-]*)`", text))
    named = re.findall(r"`([\w.]+)`(?: and `([\w.]+)`)?\s+in\s+`([\w/.-]+\.py)`", text)

    assert len(paths) > 3
    assert {path for path in paths if not (ROOT / path).exists()} == set()
    for one, other, path in named:
        for name in filter(None, (one, other)):
            assert re.search(rf"\b{re.escape(name.rpartition('.')[2])}\b", (ROOT / path).read_text()), f"{name} in {path}"


def test_there_is_a_guide_for_whatever_is_added_often() -> None:
    wanted = [
        "a check",
        "a step of the release",
        "a diagnosis",
        "a symptom of the doctor",
        "a chart value",
        "an environment field",
        "a migration",
    ]

    assert list(GUIDES) == wanted
    assert {guide for guide in GUIDES if not promised(guide)} == set()


class Copy:
    """The project in a folder of its own, in which one thing is added the way a guide says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, folder / name)
        shutil.copy(ROOT / "pyproject.toml", folder)

    def edit(self, path: str, before: str, after: str) -> None:
        """Put a text in the place of another, which is there."""
        text = (self.folder / path).read_text()
        assert before in text, f"{before!r} in {path}"
        (self.folder / path).write_text(text.replace(before, after, 1))

    def module(self, *arguments: str) -> str:
        """Run a module of the copy, and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.folder)},
            capture_output=True,
            text=True,
            check=False,
            timeout=HANGS_SECONDS,
        )
        return done.stdout + done.stderr

    def failed(self, tests: list[str]) -> set[str]:
        """Which of the tests fail in the copy."""
        said = self.module("pytest", "-n", "0", "-p", "no:randomly", "-p", "no:cacheprovider", "-rfEs", "--tb=short", *tests)
        assert not re.search(r"^(ERROR|SKIPPED)|no tests ran", said, re.MULTILINE), said
        assert re.search(r"\d+ (passed|failed)", said), said
        return {test for test in tests if re.search(rf"^FAILED {re.escape(test)}\b", said, re.MULTILINE)}


def add_check(copy: Copy) -> Callable[[], None]:
    copy.edit(
        "flows/spec/checks.py",
        "\nCheck = Annotated[\n",
        '\n@dataclass(frozen=True, kw_only=True)\nclass MadeUpCheck(_Prompted):\n    """Made up."""\n\n    kind: Literal["made-up"]\n\n\n'
        "Check = Annotated[\n    MadeUpCheck |\n",
    )

    def rest() -> None:
        copy.module("flows.cli.schemas")
        copy.edit("docs/deployments.md", "| `chat` |", "| `made-up` | nothing | |\n| `chat` |")

    return rest


def add_step(copy: Copy) -> Callable[[], None]:
    copy.edit("flows/record/phases.py", '"deploy", ', '"deploy", "made-up", ')
    return lambda: copy.edit("docs/verification.md", "| schedule |", "| made-up | nothing | nowhere |\n| schedule |")


def add_diagnosis(copy: Copy) -> Callable[[], None]:
    copy.edit("flows/rollout/finding.py", '    "no-gpu",', '    "made-up",\n    "no-gpu",')
    copy.edit("flows/rollout/diagnosis.py", '    "no-gpu":', '    "made-up": "Nothing.",\n    "no-gpu":')
    return lambda: copy.edit("docs/troubleshooting.md", "| `no-gpu` |", "| `made-up` | nothing | not at all |\n| `no-gpu` |")


def add_symptom(copy: Copy) -> Callable[[], None]:
    copy.edit(
        "flows/doctor/rules/prefect_site.py",
        "    seen = facts.prefect\n",
        '    seen = facts.prefect\n    yield Symptom(kind="made-up", about="", message="", command="")\n',
    )
    return lambda: copy.edit("docs/operations.md", "| `crashed`:", "| `made-up`: nothing | no |\n| `crashed`:")


def add_chart_value(copy: Copy) -> Callable[[], None]:
    chart = "charts/vllm-deployment"
    schema = json.loads((copy.folder / chart / "values.schema.json").read_text())
    schema["properties"]["madeUp"] = {"type": "string", "description": "nothing"}
    (copy.folder / chart / "values.schema.json").write_text(json.dumps(schema, indent=2))
    with (copy.folder / chart / "values.yaml").open("a") as values:
        values.write('\n# Made up.\nmadeUp: ""\n')

    def rest() -> None:
        copy.module("tests.charts.renew")

    return rest


def add_environment_field(copy: Copy) -> Callable[[], None]:
    copy.edit(
        "flows/spec/environment.py",
        '    delivery: Literal["helm", "argocd"]',
        '    made_up: str = ""\n    delivery: Literal["helm", "argocd"]',
    )
    return lambda: copy.edit("docs/deployments.md", "| `delivery` |", "| `made_up` | nothing | |\n| `delivery` |")


def add_migration(copy: Copy) -> Callable[[], None]:
    folder = copy.folder / "blocks" / "registry" / "migrations"
    number = len(list(folder.glob("*.sql"))) + 1
    script = "COMMENT ON COLUMN slipway_migrations.name IS 'Made up.';\n"
    (folder / f"{number + 1:04}_made_up.sql").write_text(script)

    def rest() -> None:
        (folder / f"{number + 1:04}_made_up.sql").rename(folder / f"{number:04}_made_up.sql")
        with (copy.folder / "blocks" / "registry" / "schema.sql").open("a") as schema:
            schema.write(script)

    return rest


ADDED: dict[str, Callable[[Copy], Callable[[], None]]] = {
    "a check": add_check,
    "a step of the release": add_step,
    "a diagnosis": add_diagnosis,
    "a symptom of the doctor": add_symptom,
    "a chart value": add_chart_value,
    "an environment field": add_environment_field,
    "a migration": add_migration,
}


def test_what_is_added_fails_where_the_page_says_until_the_page_is_followed_to_its_end(tmp_path: Path) -> None:
    copy, tests = Copy(tmp_path), [test for guide in ADDED for test in promised(guide)]
    rests = {guide: add(copy) for guide, add in ADDED.items()}

    failed = copy.failed(tests)

    # The kind of a check is read from its schema, which is written later.
    assert failed == set(tests) - {"tests/project/test_docs.py::test_every_kind_of_check_is_explained"}
    # and what the page asks for besides puts all of it right
    for rest in rests.values():
        rest()
    assert copy.failed(tests) == set()
