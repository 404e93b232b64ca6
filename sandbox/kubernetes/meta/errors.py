"""The errors of the API server: one exception that carries a Kubernetes `Status`, and a constructor for each kind of refusal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


class ApiError(Exception):
    """A request that the API server refused.

    Attributes:
        code: The HTTP status code.
        status: The `Status` object of the response, ready to be sent.
    """

    def __init__(self, code: int, reason: str, message: str, *, details: dict[str, Any] | None = None) -> None:
        super().__init__(code, reason, message, details)
        self.code = code
        self.status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            **({"details": details} if details else {}),
            "code": code,
        }

    @classmethod
    def from_status(cls, code: int, status: dict[str, Any]) -> ApiError:
        """The error that a `Status` body received from a server stands for."""
        error = cls(code, str(status.get("reason", "")), str(status.get("message", "")))
        error.status = status
        return error

    @property
    def reason(self) -> str:
        """The machine-readable reason, such as `NotFound`."""
        return str(self.status.get("reason", ""))

    @property
    def message(self) -> str:
        """The sentence for people."""
        return str(self.status.get("message", ""))

    def __reduce__(self) -> tuple[Any, ...]:
        return ApiError.from_status, (self.code, self.status)

    def __str__(self) -> str:
        return f"{self.code} {self.reason}: {self.message}"


@dataclass(frozen=True, kw_only=True)
class Cause:
    """One field that validation refused.

    Attributes:
        field: The path of the field, such as `spec.selector`.
        reason: Kubernetes' reason: `FieldValueRequired`, `FieldValueInvalid`, `FieldValueForbidden`, `FieldValueNotSupported`…
        message: What is wrong with it, without the field's name.
    """

    field: str
    reason: str
    message: str

    def as_json(self) -> dict[str, str]:
        """The cause as it stands in `details.causes`."""
        return {"reason": self.reason, "message": self.message, "field": self.field}


def _details(name: str, group: str, kind: str) -> dict[str, Any]:
    return {**({"name": name} if name else {}), **({"group": group} if group else {}), "kind": kind}


def _qualified(plural: str, group: str) -> str:
    return f"{plural}.{group}" if group else plural


def not_found(plural: str, group: str, name: str) -> ApiError:
    """404: there is no such object."""
    return ApiError(404, "NotFound", f'{_qualified(plural, group)} "{name}" not found', details=_details(name, group, plural))


def no_such_route() -> ApiError:
    """404: the path names no resource that is served."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", details={})


def already_exists(plural: str, group: str, name: str) -> ApiError:
    """409: an object of that name is there."""
    return ApiError(409, "AlreadyExists", f'{_qualified(plural, group)} "{name}" already exists', details=_details(name, group, plural))


def conflict(plural: str, group: str, name: str, why: str = "") -> ApiError:
    """409: the object changed since it was read, or does not have the expected identity."""
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {_qualified(plural, group)} "{name}": {why}'
    return ApiError(409, "Conflict", message, details=_details(name, group, plural))


def invalid(kind: str, group: str, name: str, causes: Sequence[Cause]) -> ApiError:
    """422: fields hold values that are not allowed."""
    texts = [f"{cause.field}: {cause.message}" for cause in causes]
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details = {**_details(name, group, kind), "causes": [cause.as_json() for cause in causes]}
    return ApiError(422, "Invalid", f'{_qualified(kind, group)} "{name}" is invalid: {text}', details=details)


def bad_request(message: str) -> ApiError:
    """400: the request cannot be understood."""
    return ApiError(400, "BadRequest", message)


def unauthorized() -> ApiError:
    """401: no credentials, or ones that are not valid."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def forbidden(plural: str, group: str, name: str, why: str) -> ApiError:
    """403: the user may not, or an admission rule says no."""
    subject = f'{_qualified(plural, group)} "{name}"' if name else _qualified(plural, group)
    return ApiError(403, "Forbidden", f"{subject} is forbidden: {why}", details=_details(name, group, plural))


def expired(message: str) -> ApiError:
    """410: the resource version or continue token is older than the history kept."""
    return ApiError(410, "Expired", message)


def method_not_allowed() -> ApiError:
    """405: the resource does not have that verb."""
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", details={})


def unsupported_media_type(content_type: str, supported: Sequence[str]) -> ApiError:
    """415: the body is in a format that the verb does not take."""
    message = f"the body of the request was in an unknown format - accepted media types include: {', '.join(supported)}"
    return ApiError(415, "UnsupportedMediaType", message, details={"causes": [{"message": content_type}]})


def service_unavailable(message: str) -> ApiError:
    """503: what the request is to be sent on to is not there."""
    return ApiError(503, "ServiceUnavailable", message)


def too_many_requests(message: str, causes: Sequence[Cause] = ()) -> ApiError:
    """429: not now, as for an eviction that a disruption budget refuses."""
    return ApiError(429, "TooManyRequests", message, details={"causes": [cause.as_json() for cause in causes]} if causes else None)
