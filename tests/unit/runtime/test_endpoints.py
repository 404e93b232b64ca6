"""Keys of engines are read anew for each look, and one that cannot be read hides its own environment alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from blocks.endpoint import Endpoint
from blocks.errors import ClusterRejected, ClusterUnreachable, PipelineError
from flows.runtime.endpoints import Ways


@dataclass
class Secrets:
    """A cluster whose Secret says, one after another, what it is told to."""

    says: list[str | PipelineError] = field(default_factory=list)

    @contextmanager
    def client(self) -> Iterator[Any]:
        yield SimpleNamespace(secrets=self)

    def text(self, namespace: str, name: str, key: str) -> str:
        assert (namespace, name, key) == ("llm", "engine-key", "api-key")
        said = self.says.pop(0)
        if isinstance(said, PipelineError):
            raise said
        return said


def ways(*says: str | PipelineError) -> Ways:
    environment = SimpleNamespace(name="production", namespace="llm", api_key_secret="engine-key")
    endpoints = {"staging": Endpoint(), "production": Endpoint()}
    return Ways(endpoints, {"production": (Secrets(list(says)), environment)})  # type: ignore[dict-item]


def sent(endpoint: Endpoint) -> dict[str, str]:
    return endpoint.access().headers


def test_a_key_that_was_changed_is_sent_from_the_next_look_on() -> None:
    watched, told = ways("former", "latter"), list[str]()

    looks = [watched.now(told.append) for _ in range(2)]

    assert [sent(look["production"]) for look in looks] == [{"Authorization": "Bearer former"}, {"Authorization": "Bearer latter"}]
    assert all(sent(look["staging"]) == {} for look in looks)
    assert told == []


@pytest.mark.parametrize(
    ("trouble", "reached"),
    [
        (ClusterUnreachable("The API server did not answer."), {"staging", "production"}),
        (ClusterRejected("The namespace llm has no Secret engine-key; create it: docs/environments.md."), {"staging"}),
    ],
)
def test_a_key_that_cannot_be_read_hides_no_other_environment(trouble: PipelineError, reached: set[str]) -> None:
    watched, told = ways("former", trouble), list[str]()
    watched.now(told.append)

    now = watched.now(told.append)

    assert set(now) == reached
    assert told == [f"The key of the engines in production cannot be read: {trouble.message}"]
    # before any key was known there is none to go on with
    assert set(ways(trouble).now(told.append)) == {"staging"}
