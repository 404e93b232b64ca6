"""Every error as problem details (RFC 9457), and which of ours is which answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from blocks.errors import PipelineError, RegistryRejected, RegistryUnreachable, Rejected, Transient
from blocks.wording import one_line
from flows.console.edge.requests import request_id
from flows.errors import ReleaseUnderWay

_LOG = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

#: Where a problem's kind is explained; a reference, relative to the console.
_KINDS = "/problems/"


class Wrong(BaseModel):
    """A part of a request that is wrong."""

    where: str = Field(description="Which part: `query.limit`, `body.reason`.")
    message: str = Field(description="What is expected there.")


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = Field(description="The kind of problem; it never changes.")
    title: str = Field(description="The kind in words.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="A sentence about this very case, and what to do.")
    request: str = Field(description="The request's id, as it is in the log and in the header `X-Request-Id`.")
    errors: list[Wrong] | None = Field(default=None, description="The parts of the request that are wrong.")


class ProblemError(HTTPException):
    """Ends a request with a problem; an `HTTPException`, since FastAPI makes an error of its own of any other while it reads a body.

    Args:
        status: The HTTP status.
        kind: The kind of problem: words and hyphens, never renamed.
        detail: A sentence about this case.
        headers: Sent along.
    """

    def __init__(self, status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, one_line(detail), dict(headers or {}))
        self.kind = kind


#: What shows a problem to a person; the API's own answers are JSON whatever a request accepts.
Page = Callable[[Request, Problem], Response]


def not_found(what: str) -> ProblemError:
    """That there is no such thing, or that the caller may not know whether there is."""
    return ProblemError(404, "not-found", f"There is no {what} that you may see.")


def of_ours(exc: PipelineError) -> ProblemError:
    """The problem that an error of ours is."""
    # What the registry and Prefect say of themselves names their addresses, and may quote what was sent: those words are the log's.
    if isinstance(exc, RegistryUnreachable):
        _LOG.warning("%s", exc.message)
        return ProblemError(503, "not-now", "The registry does not answer now: try again.", {"Retry-After": "5"})
    if isinstance(exc, RegistryRejected) and "database" in exc.facts:
        _LOG.error("%s", exc.message)
        return ProblemError(502, "rejected", "The registry refused this; the console's log has why, under this request's id.")
    if (status := exc.facts.get("prefect_status")) is not None:
        _LOG.warning("%s", exc.message)
        if status == 0 or status >= 500 or status in (408, 429):  # it is away, broken or busy
            return ProblemError(503, "not-now", "Prefect does not answer now: try again.", {"Retry-After": "5"})
        return ProblemError(502, "rejected", "Prefect refused this; the console's log has why, under this request's id.")
    if isinstance(exc, Transient):
        return ProblemError(503, "not-now", exc.message, {"Retry-After": "5"})
    if isinstance(exc, ReleaseUnderWay):
        return ProblemError(409, "under-way", exc.message)
    if isinstance(exc, Rejected):
        return ProblemError(502, "rejected", exc.message)
    return ProblemError(422, "refused", exc.message)


def answer(request: Request, error: ProblemError, wrong: list[Wrong] | None = None) -> Response:
    """The answer to a request that ended so: JSON, or a page where there are pages and it is not the API's."""
    problem = Problem(
        type=f"{_KINDS}{error.kind}",
        title=error.kind.replace("-", " ").capitalize(),
        status=error.status_code,
        detail=error.detail,
        request=request_id(request.scope),
        errors=wrong,
    )
    page: Page | None = getattr(request.app.state, "problem_page", None)
    if page is not None and not request.url.path.startswith("/api/"):
        response = page(request, problem)  # with a status of its own: who is not signed in is sent to where that is done
    else:
        response = JSONResponse(problem.model_dump(exclude_none=True), error.status_code, media_type=MEDIA_TYPE)
    response.headers.update(error.headers or {})
    return response


def handle_problems(app: FastAPI) -> None:
    """Have every error of the app be answered as a problem."""
    app.add_exception_handler(ProblemError, _of_problem)
    app.add_exception_handler(PipelineError, _of_pipeline)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(HTTPException, _of_http)


async def _of_problem(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, ProblemError)  # noqa: S101  # by its registration
    return answer(request, exc)


async def _of_pipeline(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, PipelineError)  # noqa: S101
    return answer(request, of_ours(exc))


async def _of_validation(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError)  # noqa: S101
    # Without what was given: it may be a secret, and may be long.
    wrong = [
        Wrong(where=one_line(".".join(map(str, each["loc"])), 200), message=one_line(str(each["msg"]), 300)) for each in exc.errors()[:20]
    ]
    first = f"{wrong[0].where}: {wrong[0].message}" if wrong else "the request"
    return answer(request, ProblemError(422, "invalid-request", f"The request is not as it must be: {first}."), wrong)


async def _of_http(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)  # noqa: S101
    status = HTTPStatus(exc.status_code)
    details = {404: "There is nothing at this address.", 405: f"This address does not take {one_line(request.method, 20)}."}
    kind = status.phrase.lower().replace(" ", "-")
    detail = details.get(exc.status_code, f"{status.phrase}.")
    return answer(request, ProblemError(exc.status_code, kind, detail, exc.headers))


def unforeseen(request: Request, exc: Exception) -> Response:
    """The answer to a request that ended in an error that nobody foresaw: the log has it, the answer only the request's id."""
    _LOG.error("A request ended in an error that nobody foresaw.", exc_info=exc)
    return answer(request, ProblemError(500, "unforeseen", "The console could not answer; its log has why, under this request's id."))


#: What each endpoint may answer beside what it is for; `api` adds it to the OpenAPI document.
def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The entries of an OpenAPI document for these errors."""
    schema = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": schema} for status in statuses}
