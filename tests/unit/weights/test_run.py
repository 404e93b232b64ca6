"""A Job on a node that shares: its last word is its end for those that wait for it, though it stays for the others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Literal

import pytest

from blocks.facts import JobState
from flows.weights.tasks.job import run_on_node
from tests.support.examples import environment

JOB = {"metadata": {"name": "job"}, "spec": {"template": {"spec": {"containers": [{"name": "prefetch"}]}}}}


@pytest.mark.parametrize(
    ("outcome", "line", "ends"),
    [
        (None, {"event": "complete", "fetched": True, "bytes": 9, "hub_bytes": 4, "peer_bytes": {"1": 5}}, True),
        (None, {"event": "complete", "fetched": True, "bytes": 9}, False),  # it does not share: its end is near, and is waited for
        (None, {"event": "progress", "peer_bytes": {}}, False),
        ("succeeded", {"event": "complete", "fetched": True, "bytes": 9}, True),
    ],
)
def test_a_node_that_says_that_it_is_complete_is_not_waited_for_any_longer(
    monkeypatch: pytest.MonkeyPatch, outcome: Literal["succeeded"] | None, line: Mapping[str, Any], *, ends: bool
) -> None:
    looked = iter([0.0, 1.0])
    monkeypatch.setattr("flows.weights.tasks.job.looks", lambda *_: looked)
    deleted: list[str] = []
    jobs = SimpleNamespace(
        create=lambda *_: None,
        wait=lambda *_: None,
        get=lambda *_: JobState(name="job", outcome=outcome),
        pods=lambda *_: [],
        events=lambda *_: (),
        log=lambda *_, lines: json.dumps(line),
        delete=lambda _, name: deleted.append(name),
    )
    client: Any = SimpleNamespace(jobs=jobs, nodes=SimpleNamespace(list=lambda _: ()))
    told: list[Mapping[str, Any]] = []

    if ends:
        assert run_on_node(client, environment(), "gpu-1", JOB, {}, told.append) == line
        assert (told, deleted) == ([], [])  # it gives on
        assert next(looked) == 1.0
    else:
        with pytest.raises(Exception, match="did not end within"):
            run_on_node(client, environment(), "gpu-1", JOB, {}, told.append)
        assert told == [line, line]
