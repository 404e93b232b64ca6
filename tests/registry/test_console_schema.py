"""Whatever the OpenAPI document allows, and what it does not: no answer is a 500, and none is undocumented."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import schemathesis
from schemathesis import checks
from schemathesis.specs.openapi import checks as of_document

from blocks.registry import RegistryClient
from flows.console.edge.limits import Buckets, Limits, Rate
from tests.support.console import URL, console, folder, token
from tests.support.known_prefect import KnownPrefect
from tests.support.waiting import HANGS_SECONDS

if TYPE_CHECKING:
    from conftest import Releases

RUN = "5d0f5b0a-7d34-4c1c-9a7e-3f1c1f2b7a11"
HELD = (
    checks.not_a_server_error,
    of_document.status_code_conformance,
    of_document.content_type_conformance,
    of_document.response_schema_conformance,
    of_document.negative_data_rejection,
)


class Unlimited(Limits):
    """Rates that nobody meets."""

    def __init__(self) -> None:
        self.addresses = self.callers = self.writes = self.sign_ins = Buckets(Rate(per_second=1e9, burst=10**9))


def test_no_answer_is_an_error_of_ours_or_undocumented(tmp_path: Path, client: RegistryClient, releases: Releases) -> None:
    releases.release("a1", "run-1")
    prefect = KnownPrefect()
    prefect.add("release", {"model": "tiny", "environments": ["staging"]}, "COMPLETED", RUN)
    app = console(folder(tmp_path), client, prefect)
    app.state.limits = Unlimited()
    everything = token(client, role="admin", models=["*"], environments=["*"])
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", app, headers={"Host": "slipway.test"}, timeout=HANGS_SECONDS)
    asked = 0
    for result in schema.get_all_operations():
        operation = result.ok()

        @hypothesis.seed(1)
        @hypothesis.settings(max_examples=4, database=None, phases=[hypothesis.Phase.generate])
        @hypothesis.given(case=operation.as_strategy())
        def holds(case: schemathesis.Case) -> None:
            nonlocal asked
            asked += 1
            response = case.call(base_url=URL, headers={**everything, "Host": "slipway.test"}, timeout=HANGS_SECONDS)
            case.validate_response(response, checks=HELD)

        holds()

    assert asked > 60
