"""Pods that find each other by one name and know each other by one secret: a headless Service and a Secret of that name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from blocks.kubernetes_api import KubernetesApi, path_of, selector


class Groups:
    """Makes and removes groups; every write can be repeated."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api

    def create(
        self,
        namespace: str,
        name: str,
        labels: Mapping[str, str],
        pods: Mapping[str, str],
        port: int,
        secret: Callable[[], Mapping[str, str]],
    ) -> None:
        """Have the group's Service and Secret; a Secret that is there keeps what it has.

        Args:
            namespace: Where its pods run.
            name: Its name, and the host name under which its pods' addresses are found.
            labels: What else Service and Secret are labelled with.
            pods: What its pods are labelled with.
            port: The port that its pods listen on.
            secret: Makes the texts of the Secret (`kubernetes.io/tls`); called only if there is none.
        """
        metadata = {"name": name, "labels": dict(labels)}
        if self._api.find(path_of(namespace, "secrets", name)) is None:
            made = {"metadata": metadata, "type": "kubernetes.io/tls", "stringData": dict(secret()), "immutable": True}
            self._api.create(path_of(namespace, "secrets"), made)
        spec = {
            "clusterIP": "None",
            # A pod that fetches is ready for nobody else, and is to be found all the same.
            "publishNotReadyAddresses": True,
            "selector": dict(pods),
            "ports": [{"name": "share", "port": port, "protocol": "TCP"}],
        }
        self._api.create(path_of(namespace, "services"), {"metadata": metadata, "spec": spec})

    def belong(self, namespace: str, name: str, labels: Mapping[str, str]) -> None:
        """Have Service and Secret go with the last of the Jobs that carry these labels, if nobody removes them before."""
        found = self._api.list(path_of(namespace, "jobs", group="batch/v1"), labels=selector(labels))
        owners = [{"apiVersion": "batch/v1", "kind": "Job", "name": job.metadata.name, "uid": job.metadata.uid} for job in found]
        self._api.patch(path_of(namespace, "services", name), {"metadata": {"ownerReferences": owners}}, missing_ok=True)
        # The rights of the pipeline have no `patch` for Secrets: Helm, for which they are, does without.
        if (secret := self._api.find(path_of(namespace, "secrets", name))) is not None:
            secret["metadata"]["ownerReferences"] = owners
            self._api.call("PUT", path_of(namespace, "secrets", name), body=secret)

    def delete(self, namespace: str, name: str) -> None:
        """Remove Service and Secret; pods that mount it keep what they have."""
        self._api.delete(path_of(namespace, "services", name))
        self._api.delete(path_of(namespace, "secrets", name))
