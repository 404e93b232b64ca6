"""What people read of a run is a copy: while Prefect's API is gone the release goes on without it."""

from __future__ import annotations

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.runtime import artifacts
from flows.runtime.artifacts import ProgressArtifact, publish_plan, show_page, show_table
from flows.text.markdown import md
from flows.text.progress import Progress


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("call", [lambda: show_page("key", md("# Page"), md("Why")), lambda: show_table("key", [], md("All"))])
def test_a_page_that_cannot_be_published_stops_nothing(call: object) -> None:
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        call()  # type: ignore[operator]


def test_why_a_page_is_missing_is_logged_without_the_password_of_the_address(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object, **__: object) -> None:
        request = httpx.Request("POST", "http://user:hunter2@prefect.example/api/artifacts/")
        httpx.Response(500, request=request).raise_for_status()

    for name in ("create_markdown_artifact", "create_progress_artifact"):
        monkeypatch.setattr(artifacts, name, refuses)

    show_page("key", md("# Page"), md("Why"))
    ProgressArtifact("node").show(Progress(percent=1.0, message=md("some")))

    assert caplog.text.count("prefect.example") == 2
    assert "hunter2" not in caplog.text


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_plan_is_all_that_a_dry_run_makes() -> None:
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}), pytest.raises(httpx.ConnectError):
        publish_plan.fn("key", md("# Page"), {}, [])
