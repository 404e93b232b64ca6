"""From a request to its answer: authorization, the resource's handler, and the forms that objects are shown in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from sandbox.kubernetes.admission.access import Action, Authorizer, Tokens, User, denial
from sandbox.kubernetes.admission.legacy_events import missing, to_core, to_new
from sandbox.kubernetes.admission.requests import Request, Target, action, parse_path, verb
from sandbox.kubernetes.admission.store import JSON, Store
from sandbox.kubernetes.meta import errors
from sandbox.kubernetes.meta.errors import ApiError
from sandbox.kubernetes.meta.resources import Registry
from sandbox.kubernetes.meta.values import dig
from sandbox.kubernetes.objects.deletion import delete, delete_collection
from sandbox.kubernetes.objects.listing import Show, list_objects, open_watch
from sandbox.kubernetes.objects.objects import APPLY_PATCH, Objects
from sandbox.kubernetes.server.discovery import Discovery
from sandbox.kubernetes.server.reviews import Reviews
from sandbox.kubernetes.server.subresources import bind, evict, request_token, scale_of, write_scale


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a request is answered with: one object, or the events of a watch.

    Attributes:
        code: The HTTP status code.
        body: The object; it may be the stored one and is not to be changed.
        events: The events of a watch, instead of a body.
    """

    code: int = 200
    body: JSON | None = None
    events: AsyncIterator[JSON] | None = None


def _as_it_is(obj: JSON) -> JSON:
    return obj


class Router:
    """Everything that the API server answers except what it passes on (proxies and logs)."""

    def __init__(
        self, *, store: Store, registry: Registry, objects: Objects, tokens: Tokens, authorizer: Authorizer, discovery: Discovery
    ) -> None:
        self._store = store
        self._registry = registry
        self._objects = objects
        self._tokens = tokens
        self._authorizer = authorizer
        self._discovery = discovery
        self._reviews = Reviews(tokens, authorizer)

    def impersonated(self, user: User, name: str, groups: tuple[str, ...], request: Request) -> User:
        """The user that another one acts as, as `kubectl --as` asks for.

        Raises:
            ApiError: 403; the user may not. It is said of the request: an API server asks first whether the user may do just that as
                another one (constrained impersonation, which is not emulated beyond this).
        """
        for resource, wanted in (("users", name), *(("groups", group) for group in groups)):
            attempt = Action(verb="impersonate", resource=resource, name=wanted)
            if not self._authorizer.allowed(user, attempt):
                raise self._not_as_another(user, request)
        return User(name=name, groups=(*groups, "system:authenticated"))

    def _not_as_another(self, user: User, request: Request) -> ApiError:
        parts = request.path.strip("/").split("/")
        if not (parts[0] == "api" and len(parts) > 2) and not (parts[0] == "apis" and len(parts) > 3):
            asked = Action(verb=f"impersonate-on:user-info:{request.method.lower()}", path=request.path)
            return errors.ApiError(403, "Forbidden", f"forbidden: {denial(user, asked)}", details={})
        target = parse_path(request.path, self._registry)
        asked = action(request, target)
        asked = replace(asked, verb=f"impersonate-on:user-info:{asked.verb}")
        return errors.forbidden(*target.resource.names, target.name, denial(user, asked))

    def authorized_target(self, request: Request) -> Target | None:
        """What the request is about, once its user is known to be allowed to; None for a path that is no resource's.

        Raises:
            ApiError: 403, 404 or 405.
        """
        parts = request.path.strip("/").split("/")
        if not (parts[0] == "api" and len(parts) > 2) and not (parts[0] == "apis" and len(parts) > 3):
            wanted = Action(verb=request.method.lower(), path=request.path)
            if not self._authorizer.allowed(request.user, wanted):
                raise errors.ApiError(403, "Forbidden", f"forbidden: {denial(request.user, wanted)}", details={})
            return None
        target = parse_path(request.path, self._registry)
        self._authorize(request, target, action(request, target))
        return target

    def _authorize(self, request: Request, target: Target, wanted: Action) -> None:
        if not self._authorizer.allowed(request.user, wanted):
            raise errors.forbidden(*target.resource.names, target.name, denial(request.user, wanted))

    def answer(self, request: Request) -> Answer:
        """Answer a request.

        Raises:
            ApiError: It is refused.
        """
        target = self.authorized_target(request)
        if target is None:
            return self._about_itself(request)
        word = verb(request, target)
        show: Show = _as_it_is
        if target.resource.storage:
            if word == "create" and (lacking := missing(request.body)):
                causes = [errors.Cause(field=field, reason="FieldValueRequired", message="Required value") for field in lacking]
                raise errors.invalid("Event", "", dig(request.body, "metadata", "name", default=""), causes)
            request.body, show = to_core(request.body), to_new
            if word not in ("list", "watch"):
                stored = self._registry.by_path("", "v1", target.resource.plural)
                assert stored is not None
                target = replace(target, resource=stored)
        if target.subresource not in ("", "status", "finalize"):
            return self._subresource(request, target)
        if word not in target.resource.verbs and not target.subresource:
            raise errors.method_not_allowed()
        if "list" not in target.resource.verbs:
            return self._ask(request, target)
        match word:
            case "get":
                return Answer(body=show(self._objects.read(target.resource, target.namespace, target.name)))
            case "list":
                return Answer(body=list_objects(self._store, request, target, show))
            case "watch":
                return Answer(events=open_watch(self._store, request, target, show))
            case "delete":
                return Answer(body=show(delete(self._store, request, target)))
            case "deletecollection":
                return Answer(body=delete_collection(self._store, request, target))
            case "create":
                return Answer(code=201, body=show(self._objects.create(request, target).obj))
        made = request.content_type == APPLY_PATCH and self._store.get(target.resource.key, target.namespace, target.name) is None
        if made and dig(request.body, "metadata", "name"):
            # An apply that makes the object needs both rights; one without a name is refused before that.
            self._authorize(request, target, replace(action(request, target), verb="create"))
        written = self._objects.update(request, target) if word == "update" else self._objects.patch(request, target)
        return Answer(code=201 if written.created else 200, body=show(written.obj))

    def _about_itself(self, request: Request) -> Answer:
        document = self._discovery.answer(request.path, request.accept)
        if document is None or request.method not in ("GET", "HEAD"):
            raise errors.no_such_route()
        return Answer(body=document)

    def _ask(self, request: Request, target: Target) -> Answer:
        if target.resource.plural == "bindings":
            pods = self._registry.by_path("", "v1", "pods")
            assert pods is not None
            return Answer(code=201, body=bind(self._objects, request, replace(target, resource=pods)))
        return Answer(code=201, body=self._reviews.answer(request, target))

    def _subresource(self, request: Request, target: Target) -> Answer:
        match target.subresource, request.method:
            case "scale", "GET":
                return Answer(body=scale_of(self._objects.read(target.resource, target.namespace, target.name)))
            case "scale", "PUT" | "PATCH":
                return Answer(body=write_scale(self._objects, request, target))
            case "binding", "POST":
                return Answer(code=201, body=bind(self._objects, request, target))
            case "eviction", "POST":
                return Answer(code=201, body=evict(self._store, self._objects, request, target))
            case "token", "POST":
                return Answer(code=201, body=request_token(self._store, self._objects, self._tokens, request, target))
        raise errors.method_not_allowed()
