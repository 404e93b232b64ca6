"""A request that is answered with an error, in the form that vLLM gives it."""

from __future__ import annotations

from typing import Any


class RequestRefused(Exception):
    """A request is answered with an error.

    Args:
        message: What is wrong.
        status: The HTTP status, also the body's `code`.
        param: The field that is wrong, if it is one.
        kind: The body's `type`; by default the one that belongs to the status.
    """

    def __init__(self, message: str, *, status: int = 400, param: str | None = None, kind: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.param = param
        self.kind = kind

    def body(self) -> dict[str, Any]:
        """Return the JSON body of the answer."""
        kinds = {400: "BadRequestError", 404: "NotFoundError", 500: "InternalServerError", 503: "ServiceUnavailableError"}
        kind = self.kind or kinds.get(self.status, "APIError")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.status}}
