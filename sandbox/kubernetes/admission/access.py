"""Who asks and what they may do: bearer tokens, users, and role-based access control.

Not emulated: client certificates, OpenID Connect, audit, aggregated cluster roles, the node authorizer, and the check that nobody
grants more than what they may do themselves (`escalate`, `bind`).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.kubernetes.admission.store import Store
from sandbox.kubernetes.meta.values import dig

ISSUER = "https://kubernetes.default.svc"
MASTERS = "system:masters"
_RBAC = "rbac.authorization.k8s.io"


@dataclass(frozen=True, kw_only=True)
class User:
    """An authenticated user: the name, the groups, and what came with the token."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Action:
    """What a request wants to do, in the words of role rules."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


def service_account_user(namespace: str, name: str, uid: str = "", extra: Mapping[str, list[str]] | None = None) -> User:
    """The user that a service account acts as."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return User(name=f"system:serviceaccount:{namespace}:{name}", groups=groups, uid=uid, extra=extra or {})


def _encode(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Tokens:
    """Issues and checks bearer tokens: random ones for named users, JSON web tokens with an expiry for service accounts."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._key = secrets.token_bytes(32)
        self._static: dict[str, User] = {}

    def issue(self, user: User) -> str:
        """A token without an expiry for a user."""
        token = secrets.token_urlsafe(24)
        self._static[token] = user
        return token

    def issue_for_service_account(
        self, account: Mapping[str, Any], seconds: int, audiences: Iterable[str] = (ISSUER,), pod: Mapping[str, Any] | None = None
    ) -> str:
        """A web token for a service account; it is void when the account, or the pod it is bound to, is deleted."""
        namespace, name = account["metadata"]["namespace"], account["metadata"]["name"]
        issued = int(time.time())
        bound: dict[str, Any] = {"namespace": namespace, "serviceaccount": {"name": name, "uid": account["metadata"]["uid"]}}
        if pod is not None:
            bound["pod"] = {"name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
        claims = {
            "aud": list(audiences),
            "exp": issued + seconds,
            "iat": issued,
            "iss": ISSUER,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": bound,
            "nbf": issued,
            "sub": f"system:serviceaccount:{namespace}:{name}",
        }
        head = _encode(json.dumps({"alg": "HS256", "kid": "sandbox"}).encode())
        body = _encode(json.dumps(claims, separators=(",", ":")).encode())
        return f"{head}.{body}.{self._sign(f'{head}.{body}')}"

    def _sign(self, text: str) -> str:
        return _encode(hmac.new(self._key, text.encode(), hashlib.sha256).digest())

    def user(self, token: str) -> User | None:
        """Whose token it is; None if it is unknown, expired or void."""
        if token in self._static:
            return self._static[token]
        signed, _, signature = token.rpartition(".")
        if not signed or not hmac.compare_digest(self._sign(signed), signature):
            return None
        claims = json.loads(_decode(signed.partition(".")[2]))
        if claims["exp"] <= time.time() or ISSUER not in claims["aud"]:
            return None
        bound = claims["kubernetes.io"]
        if not self._alive("/serviceaccounts", bound["namespace"], bound["serviceaccount"]):
            return None
        extra = {"authentication.kubernetes.io/credential-id": [f"JTI={claims['jti']}"]}
        if (pod := bound.get("pod")) is not None:
            if not self._alive("/pods", bound["namespace"], pod):
                return None
            extra["authentication.kubernetes.io/pod-name"] = [pod["name"]]
            extra["authentication.kubernetes.io/pod-uid"] = [pod["uid"]]
        account = bound["serviceaccount"]
        return service_account_user(bound["namespace"], account["name"], account["uid"], extra)

    def _alive(self, resource: str, namespace: str, reference: Mapping[str, str]) -> bool:
        obj = self._store.get(resource, namespace, reference["name"])
        return obj is not None and obj["metadata"]["uid"] == reference["uid"]


class Authorizer:
    """Answers whether a user may do something, from the Roles and bindings in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def allowed(self, user: User, action: Action) -> bool:
        """Whether any binding that names the user or one of its groups grants the action."""
        if MASTERS in user.groups:
            return True
        return any(_grants(rule, action) for rule in self.rules(user, action.namespace))

    def rules(self, user: User, namespace: str) -> Iterable[Mapping[str, Any]]:
        """All rules that hold for the user in the namespace; only cluster-wide ones without a namespace."""
        bindings = list(self._store.objects(f"{_RBAC}/clusterrolebindings"))
        if namespace:
            bindings += self._store.objects(f"{_RBAC}/rolebindings", namespace)
        for binding in bindings:
            if any(
                _is_subject(user, subject, dig(binding, "metadata", "namespace", default="")) for subject in binding.get("subjects", ())
            ):
                reference = binding["roleRef"]
                cluster_wide = reference["kind"] == "ClusterRole"
                role_namespace = "" if cluster_wide else binding["metadata"]["namespace"]
                role = self._store.get(f"{_RBAC}/{'clusterroles' if cluster_wide else 'roles'}", role_namespace, reference["name"])
                yield from dig(role, "rules", default=[])


def _is_subject(user: User, subject: Mapping[str, str], namespace: str) -> bool:
    match subject["kind"]:
        case "User":
            return subject["name"] == user.name
        case "Group":
            return subject["name"] in user.groups
        case _:
            return user.name == f"system:serviceaccount:{subject.get('namespace') or namespace}:{subject['name']}"


def _grants(rule: Mapping[str, Any], action: Action) -> bool:
    verbs = rule.get("verbs", ())
    if "*" not in verbs and action.verb not in verbs:
        return False
    if action.path:
        return any(
            url in ("*", action.path) or (url.endswith("*") and action.path.startswith(url[:-1])) for url in rule.get("nonResourceURLs", ())
        )
    groups, resources, names = rule.get("apiGroups", ()), rule.get("resources", ()), rule.get("resourceNames", ())
    if "*" not in groups and action.group not in groups:
        return False
    wanted = f"{action.resource}/{action.subresource}" if action.subresource else action.resource
    if not {"*", wanted, f"*/{action.subresource}" if action.subresource else "*"} & set(resources):
        return False
    return not names or action.name in names


def denial(user: User, action: Action) -> str:
    """Why a user is forbidden an action, in Kubernetes' words."""
    if action.path:
        return f'User "{user.name}" cannot {action.verb} path "{action.path}"'
    resource = f"{action.resource}/{action.subresource}" if action.subresource else action.resource
    where = f'in the namespace "{action.namespace}"' if action.namespace else "at the cluster scope"
    return f'User "{user.name}" cannot {action.verb} resource "{resource}" in API group "{action.group}" {where}'
