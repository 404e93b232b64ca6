"""A log record as a JSON line: what it is about, and nothing secret."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import sys

import pytest

from flows.runtime.json_logs import JsonLines, about


def line(message: str = "Finished", *args: object, **given: object) -> dict[str, str]:
    """What is written of a record that Prefect's loggers make."""
    record = logging.LogRecord("prefect.task_runs", logging.WARNING, "file.py", 1, message, args, None)
    vars(record).update(given)
    text = JsonLines().format(record)
    assert "\n" not in text
    written: dict[str, str] = json.loads(text)
    return written


def test_a_line_says_what_prefect_knows() -> None:
    written = line("task %s", "deploy", flow_run_id="0f", flow_run_name="release tiny main", flow_name="release", task_run_name="deploy")

    assert written.pop("time").endswith("+00:00")
    assert written == {
        "level": "warning",
        "logger": "prefect.task_runs",
        "message": "task deploy",
        "run_id": "0f",
        "run": "release tiny main",
        "flow": "release",
        "task": "deploy",
    }


def test_what_prefect_does_not_know_is_left_out() -> None:
    assert not {"run", "flow", "task"} & set(line(flow_run_name="<unknown>", flow_name=None))


def test_a_line_says_what_the_run_said_of_itself() -> None:
    def run() -> dict[str, str]:
        about(model="tiny", candidate="f" * 64)
        about(environment="staging")
        about(environment="production")
        return line()

    written = contextvars.Context().run(run)

    assert (written["model"], written["environment"], written["candidate"]) == ("tiny", "production", "f" * 64)
    assert "model" not in contextvars.Context().run(line)


def test_branches_that_run_side_by_side_do_not_mix() -> None:
    async def branch(name: str) -> str:
        about(environment=name)
        await asyncio.sleep(0)
        return line()["environment"]

    async def all_of_them() -> list[str]:
        return list(await asyncio.gather(*map(branch, ("development", "staging", "production"))))

    assert asyncio.run(all_of_them()) == ["development", "staging", "production"]


def test_an_error_is_one_line_with_its_trace() -> None:
    try:
        raise ValueError("no\nnumber")
    except ValueError:
        written = line(exc_info=sys.exc_info())

    assert (written["error_type"], written["error"]) == ("ValueError", "no\nnumber")
    assert "test_an_error_is_one_line_with_its_trace" in written["trace"]


@pytest.mark.parametrize(
    "secret", ["hf_abcdefgh12345678", "Bearer abc.def", "postgresql://slipway:hunter2@db/registry", "password=hunter2"]
)
def test_what_looks_like_a_secret_is_taken_out_wherever_it_is(secret: str) -> None:
    try:
        raise ValueError(f"cannot use {secret}")
    except ValueError:
        written = line(f"with {secret}", flow_run_name=f"release {secret}", exc_info=sys.exc_info())

    assert not any(part in json.dumps(written) for part in ("hunter2", "hf_abc", "abc.def"))
    assert "***" in written["message"]
