"""What people read of a run is a copy: while Prefect's API is gone the release goes on without it."""

from __future__ import annotations

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.runtime.artifacts import publish_plan, show_page, show_table
from flows.text.markdown import md


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("call", [lambda: show_page("key", md("# Page"), md("Why")), lambda: show_table("key", [], md("All"))])
def test_a_page_that_cannot_be_published_stops_nothing(call: object) -> None:
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        call()  # type: ignore[operator]


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_plan_is_all_that_a_dry_run_makes() -> None:
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}), pytest.raises(httpx.ConnectError):
        publish_plan.fn("key", md("# Page"), {}, [])
