"""How a block reaches a cluster: a kubeconfig file, or the service account of the pod that it runs in.

Files that hold certificates or tokens are read here. Whatever else a kubeconfig may say (plugins, identity providers, proxies, names in
TLS) is the Kubernetes client's, as is what an environment says of proxies; it is imported for these alone, since that takes as long as all
else that a run imports.
"""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import getproxies

import urllib3
import yaml

from blocks.errors import ClusterRejected
from blocks.yaml_text import read

#: Where a pod finds its service account.
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

#: Connections that are kept to one API server; as many threads ask it at once at most.
_KEPT_CONNECTIONS = 64

#: What is read here; a cluster or user that says anything else is the library's.
_CLUSTER = {"server", "certificate-authority", "certificate-authority-data", "extensions"}
_USER = {"client-certificate", "client-certificate-data", "client-key", "client-key-data", "token", "tokenFile", "extensions"}


@dataclass(frozen=True, kw_only=True)
class ClusterAccess:
    """How an API server is reached, and who we are there.

    Attributes:
        host: Its URL, without a slash at the end.
        tls: Verifies it against its authority and offers our certificate; none for plain HTTP.
        pool: Connections to it.
        authorization: What the header of that name says now; none where it is the certificate that tells who we are.
    """

    host: str
    tls: ssl.SSLContext | None
    pool: urllib3.PoolManager
    authorization: Callable[[], str | None] = field(repr=False)

    def headers(self) -> dict[str, str]:
        """The headers that tell who we are."""
        said = self.authorization()
        return {"Authorization": said} if said else {}


def load_access(kubeconfig: Path | None, context: str | None) -> ClusterAccess:
    """How the cluster is reached.

    Args:
        kubeconfig: The kubeconfig file; none means the pod's own service account.
        context: A context of that file; none means its current one.

    Raises:
        ClusterRejected: There is no such file, context or service account.
    """
    if not getproxies().keys() - {"no"}:
        # Whatever is wrong with it, the library has the words for it.
        with suppress(yaml.YAMLError, OSError, TypeError, ValueError, LookupError, AttributeError):
            plain = _service_account() if kubeconfig is None else _plain(kubeconfig, context)
            if plain is not None:
                return plain
    return _by_library(kubeconfig, context)


def _service_account() -> ClusterAccess:
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    tls = ssl.create_default_context(cafile=SERVICE_ACCOUNT / "ca.crt")
    return _access(f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}", tls, _token_in(SERVICE_ACCOUNT / "token"))


def _plain(kubeconfig: Path, context: str | None) -> ClusterAccess | None:
    document = read(kubeconfig.read_text(encoding="utf-8"))
    chosen = _named(document["contexts"], context or document["current-context"])["context"]
    cluster = _named(document["clusters"], chosen["cluster"])["cluster"]
    user = _named(document["users"], chosen["user"])["user"] if chosen.get("user") else {}
    if cluster.keys() - _CLUSTER or user.keys() - _USER or {"token", "tokenFile"} <= user.keys():
        return None
    host, folder = cluster["server"].rstrip("/"), kubeconfig.parent
    if not host.startswith(("https://", "http://")):
        return None
    tls = _tls(cluster, user, folder) if host.startswith("https:") else None
    if "tokenFile" in user:
        return _access(host, tls, _token_in(folder / user["tokenFile"]))
    token = user.get("token")
    return _access(host, tls, lambda: f"Bearer {token}" if token else None)


def _named(entries: list[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    (found,) = (entry for entry in entries if entry["name"] == name)
    return found


def _tls(cluster: Mapping[str, Any], user: Mapping[str, Any], folder: Path) -> ssl.SSLContext:
    authority = _pem(cluster, "certificate-authority", folder)
    context = ssl.create_default_context(cadata=authority.decode("ascii") if authority else None)
    certificate, key = _pem(user, "client-certificate", folder), _pem(user, "client-key", folder)
    if bool(certificate) != bool(key):
        raise LookupError("a certificate without its key, or a key alone")
    if certificate and key:
        # OpenSSL takes them from a file alone, which is there for no longer than that.
        with tempfile.NamedTemporaryFile() as file:
            file.write(certificate.rstrip() + b"\n" + key)
            file.flush()
            context.load_cert_chain(file.name)
    return context


def _pem(entry: Mapping[str, Any], key: str, folder: Path) -> bytes | None:
    if entry.get(f"{key}-data"):  # an empty one is none, to every client
        return base64.b64decode(entry[f"{key}-data"])
    return (folder / entry[key]).read_bytes() if entry.get(key) else None


def _token_in(file: Path) -> Callable[[], str]:
    # Each time: the kubelet writes another one long before it expires.
    def authorization() -> str:
        try:
            return f"Bearer {file.read_text(encoding='ascii').strip()}"
        except (OSError, UnicodeDecodeError) as exc:
            raise ClusterRejected(f"The token in {file} cannot be read: {type(exc).__name__}.") from exc

    file.read_bytes()  # whether it is there at all, is for the library to say
    return authorization


def _access(host: str, tls: ssl.SSLContext | None, authorization: Callable[[], str | None]) -> ClusterAccess:
    pool = urllib3.PoolManager(maxsize=_KEPT_CONNECTIONS, ssl_context=tls)
    return ClusterAccess(host=host, tls=tls, pool=pool, authorization=authorization)


def _by_library(kubeconfig: Path | None, context: str | None) -> ClusterAccess:
    from kubernetes import config as kubernetes_config
    from kubernetes.client import Configuration
    from kubernetes.client.rest import RESTClientObject
    from kubernetes.config.config_exception import ConfigException

    # One of our own: the client's default is the whole process's, and an environment may lie on another cluster.
    configuration = Configuration()
    try:
        if kubeconfig is None:
            kubernetes_config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            # Not persisted: the client would write refreshed tokens back into the file, which may be shared, or a mounted Secret.
            kubernetes_config.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=str(kubeconfig), context=context, client_configuration=configuration, persist_config=False
            )
        tls = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
        if configuration.cert_file:
            tls.load_cert_chain(configuration.cert_file, configuration.key_file)
    except (yaml.YAMLError, RecursionError):
        # Not chained: the parser's error quotes the file, and with it what it holds.
        raise ClusterRejected(f"The kubeconfig {kubeconfig} is not valid YAML: mend it, or name another in the block.") from None
    except (ConfigException, OSError, TypeError, ValueError, LookupError, AttributeError) as exc:
        where = f"the kubeconfig {kubeconfig}" if kubeconfig else "the pod's service account"
        hint = "" if kubeconfig else "; outside a cluster, set the block's kubeconfig"
        raise ClusterRejected(f"No cluster can be reached with {where}: {str(exc).rstrip('.')}{hint}.") from exc
    return ClusterAccess(
        host=str(configuration.host),
        tls=tls,
        pool=RESTClientObject(configuration).pool_manager,  # with its proxies, and what it says of names in TLS
        authorization=partial(configuration.get_api_key_with_prefix, "BearerToken", alias="authorization"),
    )
