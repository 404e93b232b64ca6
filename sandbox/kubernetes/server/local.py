"""An API server without a network: objects, admission, reading and watching, for whoever is in the same process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from sandbox.kubernetes.admission.access import MASTERS, Authorizer, Tokens, User
from sandbox.kubernetes.admission.admission import Admission
from sandbox.kubernetes.admission.quota import Quotas
from sandbox.kubernetes.admission.requests import Request
from sandbox.kubernetes.admission.store import Store
from sandbox.kubernetes.meta.api import Client
from sandbox.kubernetes.meta.resources import Registry
from sandbox.kubernetes.meta.types import Types
from sandbox.kubernetes.meta.values import clone
from sandbox.kubernetes.objects.objects import Objects
from sandbox.kubernetes.objects.reactions import Definitions, Namespaces
from sandbox.kubernetes.server.discovery import Discovery
from sandbox.kubernetes.server.routing import Router


class LocalApi:
    """What an API server does with requests, wherever they come from.

    Args:
        authority: The certificate authority that new namespaces are told of, PEM.

    Attributes:
        store: The objects.
        tokens: Who has which token.
        router: Answers requests.
    """

    def __init__(self, authority: str) -> None:
        self.store = Store()
        registry, types = Registry(), Types()
        self.tokens = Tokens(self.store)
        quotas = Quotas(self.store)
        objects = Objects(self.store, types, Admission(self.store, quotas))
        self.router = Router(
            store=self.store,
            registry=registry,
            objects=objects,
            tokens=self.tokens,
            authorizer=Authorizer(self.store),
            discovery=Discovery(registry),
        )
        Namespaces(self.store, registry, objects, authority)
        Definitions(self.store, registry, types)
        self.store.react(lambda change: quotas.refresh(change.key[0]) if change.key[0] else None)

    def client(self, user: str = "system:kube-controller-manager") -> Client:
        """A client of a user who may do everything, to be used on the loop that the rest runs on.

        Logs and proxied requests only go over HTTP: here they answer 405.
        """
        return _LocalClient(self.router, User(name=user, groups=(MASTERS, "system:authenticated")))


class _LocalClient:
    def __init__(self, router: Router, user: User) -> None:
        self._router = router
        self._user = user
        self._agent = user.name.rpartition(":")[2]

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        answer = self._router.answer(self._request(method, path, query, clone(body), content_type))
        return clone(answer.body or {})

    async def watch(self, path: str, *, query: Mapping[str, str] | None = None) -> AsyncIterator[dict[str, Any]]:
        answer = self._router.answer(self._request("GET", path, {**(query or {}), "watch": "true"}, None, "application/json"))
        assert answer.events is not None
        async for event in answer.events:
            yield clone(event)

    def _request(self, method: str, path: str, query: Mapping[str, str] | None, body: Any, content_type: str) -> Request:
        return Request(
            method=method, path=path, query=query or {}, body=body, content_type=content_type, user=self._user, agent=self._agent
        )
