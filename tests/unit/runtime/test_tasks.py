"""What no flow and no task relies on (Prefect's transactions, results of resumed runs), and what becomes of what nobody foresaw."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil

import httpx
import pytest
from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import Abort, CancelledRun, Pause, PausedRun

import flows
from blocks.errors import EndpointRejected, Unforeseen
from flows.errors import SpecInvalid
from flows.runtime.tasks import call, foreseen, patiently
from flows.spec.load import ROOT


def test_no_task_believes_what_it_answered_before() -> None:
    names = [
        module.name
        for module in pkgutil.walk_packages(flows.__path__, "flows.")
        if not module.name.startswith("flows.cli") and not module.name.endswith("__main__")
    ]
    modules = [importlib.import_module(name) for name in names]
    tasks = {task.name: task for module in modules for task in vars(module).values() if isinstance(task, Task)}

    assert len(tasks) > 10
    assert {name: task.cache_policy for name, task in tasks.items() if task.cache_policy != NO_CACHE or task.persist_result} == {}


def test_nothing_is_rolled_back_by_being_suspended() -> None:
    """Prefect's transactions roll back when a run is suspended inside of one; no flow uses them."""
    users = [path for path in (ROOT / "flows").rglob("*.py") if "prefect.transactions" in path.read_text()]

    assert users == []


@pytest.mark.parametrize(
    "error",
    [OverflowError("inf"), ValueError("hf_secret"), UnicodeError(), RecursionError(), MemoryError(), StopIteration(), KeyError("x")],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_step_raises_is_an_error_of_ours_that_names_step_and_kind(error: Exception) -> None:
    def measure_something() -> None:
        raise error

    async def both() -> None:
        with pytest.raises(Unforeseen, match=f"^measure_something ended in {type(error).__name__}, an error that nobody foresaw") as raised:
            await call(measure_something)
        assert raised.value.__cause__ is error
        assert "secret" not in str(raised.value)
        with pytest.raises(Unforeseen, match=f"^Releasing ended in {type(error).__name__}"), foreseen("Releasing"):
            raise error

    asyncio.run(asyncio.wait_for(both(), 10))


@pytest.mark.parametrize("error", [CancelledRun(), PausedRun(), httpx.ConnectError("away"), SpecInvalid("no"), EndpointRejected("odd")])
def test_what_is_prefects_or_ours_goes_its_own_way(error: Exception) -> None:
    with pytest.raises(type(error)), foreseen("Releasing"):
        raise error


@pytest.mark.parametrize("signal", [Pause, Abort, KeyboardInterrupt, asyncio.CancelledError])
def test_no_signal_is_held_up(signal: type[BaseException]) -> None:
    with pytest.raises(signal), foreseen("Releasing"):
        raise signal


def test_a_step_that_cannot_reach_something_over_http_did_not_meet_prefect() -> None:
    def ask() -> None:
        raise httpx.ConnectError("away")

    with pytest.raises(Unforeseen):
        asyncio.run(call(ask))


@pytest.mark.parametrize("said", ["x", "", "1,,2", "-1", "nan", "inf", "1e400", "3601"])
def test_pauses_that_are_none_are_one_sentence(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_RETRY_SECONDS", said)

    with pytest.raises(SpecInvalid, match=r"^SLIPWAY_RETRY_SECONDS is '.*': give seconds from 0 to 3,600 with commas between\.$"):
        patiently(lambda: None)
