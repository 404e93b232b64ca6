"""Questions about access: subject access reviews, token reviews and who am I. They are answered and not stored."""

from __future__ import annotations

from typing import Any

from sandbox.kubernetes.admission.access import Action, Authorizer, Tokens, User
from sandbox.kubernetes.admission.requests import Request, Target
from sandbox.kubernetes.admission.store import JSON
from sandbox.kubernetes.meta.errors import no_such_route
from sandbox.kubernetes.meta.values import dig


class Reviews:
    """The resources of `authorization.k8s.io` and `authentication.k8s.io`."""

    def __init__(self, tokens: Tokens, authorizer: Authorizer) -> None:
        self._tokens = tokens
        self._authorizer = authorizer

    def answer(self, request: Request, target: Target) -> JSON:
        """The review with its status.

        Raises:
            ApiError: 404; the resource is no review.
        """
        spec = dict(dig(request.body, "spec", default={}))
        match target.resource.plural:
            case "subjectaccessreviews":
                user = User(name=spec.get("user", ""), groups=tuple(spec.get("groups", ())))
                status = self._access(user, spec)
            case "localsubjectaccessreviews":
                spec["resourceAttributes"] = {**spec.get("resourceAttributes", {}), "namespace": target.namespace}
                status = self._access(User(name=spec.get("user", ""), groups=tuple(spec.get("groups", ()))), spec)
            case "selfsubjectaccessreviews":
                status = self._access(request.user, spec)
            case "selfsubjectrulesreviews":
                status = self._rules(request.user, spec.get("namespace", ""))
            case "tokenreviews":
                status = self._token(spec.get("token", ""))
            case "selfsubjectreviews":
                status = {"userInfo": _user_info(request.user)}
            case _:
                raise no_such_route()
        metadata: dict[str, Any] = {}
        shown = {"spec": spec} if spec else {}
        return {"kind": target.resource.kind, "apiVersion": target.resource.api_version, "metadata": metadata, **shown, "status": status}

    def _access(self, user: User, spec: JSON) -> JSON:
        if (attributes := spec.get("nonResourceAttributes")) is not None:
            action = Action(verb=attributes.get("verb", ""), path=attributes.get("path", ""))
        else:
            attributes = spec.get("resourceAttributes", {})
            names = ("verb", "group", "resource", "subresource", "namespace", "name")
            action = Action(**{name: attributes.get(name, "") for name in names})
        return {"allowed": self._authorizer.allowed(user, action)}

    def _rules(self, user: User, namespace: str) -> JSON:
        if "system:masters" in user.groups:
            rules: list[Any] = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, {"verbs": ["*"], "nonResourceURLs": ["*"]}]
        else:
            rules = list(self._authorizer.rules(user, namespace))
        return {
            "resourceRules": [rule for rule in rules if "resources" in rule],
            "nonResourceRules": [rule for rule in rules if "nonResourceURLs" in rule],
            "incomplete": False,
        }

    def _token(self, token: str) -> JSON:
        user = self._tokens.user(token)
        if user is None:
            return {"authenticated": False, "user": {}, "error": "invalid bearer token"}
        return {"authenticated": True, "user": _user_info(user)}


def _user_info(user: User) -> JSON:
    info: JSON = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        info["uid"] = user.uid
    return {**info, "extra": {key: list(value) for key, value in user.extra.items()}} if user.extra else info
