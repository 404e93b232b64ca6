"""What `slipway status` prints: one line an entry that no terminal breaks, and everything about it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from blocks.registry import Entry
from flows.cli.status import status_lines

READY = Entry(
    organisation=None,
    model="llama-3.1-8b-instruct",
    hub_revision="c" * 40,
    environment="development",
    namespace="llm-development",
    endpoint="llama-3-1-8b-instruct-development-vllm.llm-development.svc.cluster.local:8000",
    status="ready",
    status_reason=None,
    disabled_from=None,
    fingerprint="6a13b2f79a05" + "0" * 52,
    helm_revision=3,
    git_commit=None,
    verified_at=datetime(2026, 11, 28, 22, 10, tzinfo=UTC),
    last_health_check_at=None,
    created_at=None,
    updated_at=None,
)
PENDING = replace(READY, environment="production", status="pending", endpoint=None, fingerprint=None, helm_revision=None, verified_at=None)
DEGRADED = replace(READY, status="degraded", status_reason="2 of 27 checks say no", helm_revision=None, git_commit="d" * 40)


def test_a_line_fits_into_80_columns_and_its_details_follow() -> None:
    heading, row, details = status_lines([READY])

    assert heading.split() == ["model", "environment", "status", "candidate", "verified"]
    assert row == "llama-3.1-8b-instruct  development  ready   6a13b2f79a05  2026-11-28 22:10Z"
    assert details == f"    {READY.endpoint}, Helm revision 3"
    assert row.index("ready") == heading.index("status")


def test_what_is_not_there_is_left_out_and_reasons_are_whole() -> None:
    lines = list(status_lines([PENDING, DEGRADED]))

    assert [line.split() for line in lines[1:3]] == [
        ["llama-3.1-8b-instruct", "production", "pending", "never"],
        ["llama-3.1-8b-instruct", "development", "degraded", "6a13b2f79a05", "2026-11-28", "22:10Z"],
    ]
    assert lines[3:] == [f"    {READY.endpoint}, Git commit dddddddddddd", "    2 of 27 checks say no"]
