"""Secrets whose text a step needs itself. What only pods need is mounted, and never read here."""

from __future__ import annotations

import base64

from blocks.errors import ClusterRejected
from blocks.kubernetes_api import KubernetesApi, path_of


class Secrets:
    """Reads single texts of Secrets."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api

    def text(self, namespace: str, name: str, key: str) -> str:
        """What the Secret has under the key, without the line's end that files bring along.

        Raises:
            ClusterRejected: There is no such Secret or key, it may not be read, or it is no text that a header can hold.
            ClusterUnreachable: The API server did not answer.
        """
        found = self._api.find(path_of(namespace, "secrets", name))
        data = (found.data or {}) if found is not None else {}
        if key not in data:
            missing = "no Secret" if found is None else f"no key {key!r} in the Secret"
            raise ClusterRejected(f"The namespace {namespace} has {missing} {name}; create it: docs/environments.md.")
        try:
            text = base64.b64decode(data[key], validate=True).decode("ascii").rstrip("\r\n")
        except ValueError:
            text = ""
        # Nothing of it may be shown, not even what is wrong.
        if not text or not text.isprintable() or len(text) > MOST_CHARACTERS:
            raise ClusterRejected(f"The key {key!r} of the Secret {name} in {namespace} is empty, or holds what no header can.")
        return text


#: Longer than any key; what is longer would not pass the limits on headers either.
MOST_CHARACTERS = 4096
