"""What a request is about: its path taken apart, its verb, its options and its sender."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.kubernetes.admission.access import Action, User
from sandbox.kubernetes.meta.errors import bad_request, method_not_allowed, no_such_route
from sandbox.kubernetes.meta.resources import Registry, Resource

_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a path of the API points at.

    Attributes:
        resource: The resource.
        namespace: The namespace, empty for cluster-wide ones and for lists over all namespaces.
        name: The object's name, empty for a collection.
        subresource: `status`, `log` and the like, or empty.
        rest: The rest of the path after `proxy`, with its leading slash, or empty.
    """

    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""


@dataclass(kw_only=True)
class Request:
    """One request, from whichever transport.

    Attributes:
        method: The HTTP method.
        path: The URL's path, decoded.
        query: The URL's parameters; the last of a name counts.
        body: The decoded body, or None.
        content_type: The body's media type without parameters.
        user: Who asks.
        agent: The `User-Agent`, which names the field manager if the request does not.
        accept: The `Accept` header.
        warnings: What the answer's `Warning` headers say.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    content_type: str = "application/json"
    user: User
    agent: str = ""
    accept: str = ""
    warnings: list[str] = field(default_factory=list)

    @property
    def watching(self) -> bool:
        """Whether it asks for a watch."""
        # `?watch` without a value means yes.
        return self.query.get("watch", "false") in ("true", "1", "")

    @property
    def dry_run(self) -> bool:
        """Whether nothing is to be stored.

        Raises:
            ApiError: 400; `dryRun` has a value other than `All`.
        """
        value = self.query.get("dryRun", "")
        if isinstance(self.body, dict) and self.method == "DELETE" and self.body.get("dryRun"):
            value = self.body["dryRun"][0]
        if value not in ("", "All"):
            raise bad_request(f'Invalid value: ["{value}"]: supported values: "All"')
        return value == "All"

    @property
    def manager(self) -> str:
        """The field manager: as asked for, or the first word of the agent."""
        return self.query.get("fieldManager") or self.agent.partition("/")[0] or "unknown"


def verb(request: Request, target: Target) -> str:
    """The verb in the words of role rules.

    Raises:
        ApiError: 405; the method means nothing for this path.
    """
    word = _VERBS.get(request.method)
    if target.name or target.subresource:
        if word is None:
            raise method_not_allowed()
        return word
    match request.method:
        case "GET" | "HEAD":
            return "watch" if request.watching else "list"
        case "POST":
            return "create"
        case "DELETE":
            return "deletecollection"
        case _:
            raise method_not_allowed()


def action(request: Request, target: Target) -> Action:
    """What the request wants to do, for the authorizer."""
    return Action(
        verb=verb(request, target),
        group=target.resource.group,
        resource=target.resource.plural,
        subresource=target.subresource,
        namespace=target.namespace or (target.name if target.resource.key == "/namespaces" else ""),
        name=target.name,
    )


def parse_path(path: str, registry: Registry) -> Target:
    """What a path under `/api` or `/apis` points at.

    Raises:
        ApiError: 404; it is no path of a resource that is served.
    """
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        raise no_such_route()
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    resource = registry.by_path(group, version, rest[0])
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    if resource is None or (namespace and not resource.namespaced) or (name and resource.namespaced and not namespace):
        raise no_such_route()
    if (subresource and subresource not in resource.subresources) or (len(rest) > 3 and subresource != "proxy"):
        raise no_such_route()
    # A proxied path keeps its slashes, also a trailing one: /proxy and /proxy/ differ for the program behind.
    marker = f"/{name}/proxy"
    tail = path[path.index(marker) + len(marker) :] if subresource == "proxy" else ""
    return Target(resource=resource, namespace=namespace, name=name, subresource=subresource, rest=tail)
