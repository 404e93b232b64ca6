"""The stand-in Kubernetes API server.

It holds a cluster's objects in memory and serves them over HTTPS to the real `helm`, `kubectl` and Python client, and to controllers in
the same process. What each part leaves out stands at the head of its file; in general: no etcd, no persistence, one replica, no
admission webhooks, no aggregated APIs, no client certificates, no expiry of events, no exec, attach or port-forward.
"""

from __future__ import annotations

import base64
from collections import deque
from pathlib import Path

import trustme
import yaml

from sandbox.kubernetes.admission.access import MASTERS, User
from sandbox.kubernetes.meta.api import Client
from sandbox.kubernetes.meta.certificates import certificate_files
from sandbox.kubernetes.server.bootstrap import populate
from sandbox.kubernetes.server.connection import Exchange
from sandbox.kubernetes.server.http import HttpApp
from sandbox.kubernetes.server.local import LocalApi
from sandbox.kubernetes.server.proxy import Proxy
from sandbox.serving import HttpServer, LoopThread


class ApiServer:
    """One API server with its store.

    Args:
        folder: Where the certificate authority and the kubeconfig files are written.
        loop: The loop to serve on.
        host: The address to listen on.
        port: The port; 0 takes a free one.

    Attributes:
        url: The server's address.
        ca_file: The certificate authority that clients are to trust, PEM.
        admin_kubeconfig: A kubeconfig of a user who may do everything.
    """

    def __init__(self, folder: Path, loop: LoopThread, *, host: str = "127.0.0.1", port: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._loop = loop
        authority = trustme.CA(organization_name="Kubernetes stand-in")
        certificate = authority.issue_cert(host, "localhost", "kubernetes.default.svc")
        self.ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        self._local = LocalApi(self.ca_file.read_text())
        self.store, self.router, self._tokens = self._local.store, self._local.router, self._local.tokens
        self._proxy = Proxy(self.store)
        self._app = HttpApp(self.router, self._tokens, self._proxy)
        with certificate_files(certificate) as files:
            self._server = HttpServer(self._app, loop, host=host, port=port, certificate=files)
        self.url = self._server.url
        self.admin_kubeconfig = self.kubeconfig("kubernetes-admin", groups=(MASTERS,))

    def start(self) -> None:
        """Fill the cluster with what it has from the start, and serve it."""
        self._loop.run(self._populate())
        self._server.start()

    async def _populate(self) -> None:
        populate(self.store, self._server.port)

    def close(self) -> None:
        """End the watches and stop serving. Safe to call twice."""
        self._loop.run(self._end())
        self._server.close()

    async def _end(self) -> None:
        self.store.end_subscriptions()
        await self._proxy.close()

    @property
    def exchanges(self) -> deque[Exchange]:
        """The last requests that came over HTTP, oldest first; clear it to look at what follows."""
        return self._app.exchanges

    def token(self, user: str, groups: tuple[str, ...] = ()) -> str:
        """A token without an expiry for a user. For service accounts ask the API, as on any cluster."""
        return self._tokens.issue(User(name=user, groups=(*groups, "system:authenticated")))

    def kubeconfig(self, user: str, *, groups: tuple[str, ...] = (), token: str = "", namespace: str = "default") -> Path:
        """Write a kubeconfig for a user and return its path.

        Args:
            user: The user's name; also the file's.
            groups: The user's groups, such as `system:nodes`.
            token: The token to use, such as a service account's, instead of a new one of that user.
            namespace: The namespace of its context.
        """
        authority = base64.b64encode(self.ca_file.read_bytes()).decode()
        name = "slipway-sandbox"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [{"name": name, "cluster": {"server": self.url, "certificate-authority-data": authority}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": user, "namespace": namespace}}],
            "users": [{"name": user, "user": {"token": token or self.token(user, groups)}}],
        }
        path = self._folder / f"{user.replace(':', '-').replace('/', '-')}.kubeconfig"
        # Before the token is in it.
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    def local_client(self, user: str = "system:kube-controller-manager") -> Client:
        """A client that calls the server in this process, as a user who may do everything.

        To be used on the server's loop. Logs and proxied requests only go over HTTP: here they answer 405.
        """
        return self._local.client(user)
