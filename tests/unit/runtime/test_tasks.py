"""What no flow and no task relies on: Prefect's transactions, and results that it keeps for a run that is resumed."""

from __future__ import annotations

import importlib
import pkgutil

from prefect import Task
from prefect.cache_policies import NO_CACHE

import flows
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
