"""A kubeconfig is read as the Kubernetes client reads it, which is asked only about what has more than certificates and tokens."""

from __future__ import annotations

import base64
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from kubernetes.client import Configuration
from kubernetes.config import load_kube_config

from blocks import kubeconfig as module
from blocks.errors import ClusterRejected
from blocks.kubeconfig import load_access

#: What the file says of the user and the cluster; values of `…-data` are files, which are written into it.
PLAIN: dict[str, dict[str, Any]] = {
    "a token": {"user": {"token": "secret"}},
    "a file with a token": {"user": {"tokenFile": "token"}},
    "a certificate": {"user": {"client-certificate": "client.pem", "client-key": "client.key"}},
    "a certificate in it": {"user": {"client-certificate-data": "client.pem", "client-key-data": "client.key"}},
    "files": {"cluster": {"certificate-authority": "ca.pem"}, "user": {"token": "secret"}},
    "a certificate beside an empty one": {
        "user": {"client-certificate-data": "", "client-certificate": "client.pem", "client-key": "client.key"}
    },
    "nobody": {"user": {}},
    "plain HTTP": {"cluster": {"server": "http://127.0.0.1:8001/"}},
}

LIBRARY: dict[str, dict[str, Any]] = {
    "a password": {"user": {"username": "me", "password": "secret"}},
    "a proxy": {"cluster": {"proxy-url": "http://127.0.0.1:3128"}},
    "a name in TLS": {"cluster": {"tls-server-name": "kubernetes"}},
    "two tokens": {"user": {"token": "secret", "tokenFile": "token"}},
}

WRONG = {
    "no such context": "Expected object with name here",
    "contexts: [": "not valid YAML",
    "contexts: " + "[" * 100_000: "not valid YAML",
    "[]": "No cluster can be reached",
    "current-context: here": "contexts",
}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def folder(tmp_path: Path, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of certificates, where no proxy is set."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    client = authority.issue_cert("me@example.com")
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
    (tmp_path / "client.pem").write_bytes(client.cert_chain_pems[0].bytes())
    (tmp_path / "client.key").write_bytes(client.private_key_pem.bytes())
    (tmp_path / "token").write_text("from-a-file\n")
    return tmp_path


def written(folder: Path, said: dict[str, Any]) -> Path:
    def inline(entry: dict[str, Any]) -> dict[str, Any]:
        return {
            key: base64.b64encode((folder / value).read_bytes()).decode() if key.endswith("-data") and value else value
            for key, value in entry.items()
        }

    cluster = said.get("cluster", {"certificate-authority-data": "ca.pem"})
    user = said.get("user", {})
    document = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "one", "user": "me"}}, {"name": "there", "context": {"cluster": "two"}}],
        "clusters": [
            {"name": "one", "cluster": {"server": "https://127.0.0.1:6443", **inline(cluster)}},
            {"name": "two", "cluster": {"server": "https://127.0.0.2:6443"}},
        ],
        "users": [{"name": "me", "user": inline(user) if user is not None else None}],
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(document))
    return path


def by_library(path: Path, context: str | None = None) -> tuple[str, str | None]:
    configuration = Configuration()
    load_kube_config(config_file=str(path), context=context, client_configuration=configuration, persist_config=False)
    said = configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
    return str(configuration.host), said.strip() if said else None


@pytest.mark.parametrize("kind", PLAIN)
def test_what_is_plain_is_read_without_the_library(folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(folder, PLAIN[kind])
    monkeypatch.setattr(module, "_by_library", None)

    access = load_access(path, None)

    assert (access.host, access.authorization()) == by_library(path)
    assert (access.tls is None) == access.host.startswith("http:")
    assert "secret" not in repr(access)
    assert load_access(path, "there").host == "https://127.0.0.2:6443"


@pytest.mark.parametrize("kind", LIBRARY)
def test_what_is_not_is_the_library_s(folder: Path, kind: str) -> None:
    path = written(folder, LIBRARY[kind])

    assert module._plain(path, None) is None

    access = load_access(path, None)
    assert (access.host, access.authorization()) == by_library(path)


def test_the_proxies_of_the_environment_are_the_library_s(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:3128")

    assert str(load_access(written(folder, PLAIN["a token"]), None).pool.proxy) == "http://127.0.0.1:3128"


@pytest.mark.parametrize("kind", [kind for kind in PLAIN if "certificate" in kind])
def test_it_knows_the_server_and_says_who_we_are(folder: Path, authority: trustme.CA, kind: str) -> None:
    tls = load_access(written(folder, {**PLAIN[kind], "cluster": {"certificate-authority": "ca.pem"}}), None).tls
    assert tls is not None
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(server)
    authority.issue_cert("127.0.0.1").configure_cert(server)

    assert "me@example.com" in str(met(tls, server).getpeercert())

    stranger = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(stranger)
    with pytest.raises(ssl.SSLCertVerificationError):
        met(tls, stranger)


def met(client: ssl.SSLContext, server: ssl.SSLContext) -> ssl.SSLObject:
    """The server's side of a connection, once both have seen each other's certificates."""
    one, two = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [client.wrap_bio(one, two, server_hostname="127.0.0.1"), server.wrap_bio(two, one, server_side=True)]
    for side in (*sides, *sides, *sides):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return sides[1]


def test_a_token_of_a_pod_is_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "ca.crt").write_bytes((folder / "ca.pem").read_bytes())
    monkeypatch.setattr(module, "SERVICE_ACCOUNT", folder)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")

    access = load_access(None, None)
    before = access.authorization()
    (folder / "token").write_text("another")

    assert (access.host, before, access.authorization()) == ("https://[fd00::1]:443", "Bearer from-a-file", "Bearer another")

    (folder / "token").unlink()
    with pytest.raises(ClusterRejected, match="token cannot be read"):
        access.headers()
    with pytest.raises(ClusterRejected, match=r"No cluster can be reached with the pod's service account: .*; outside a cluster"):
        load_access(None, None)


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_said_in_a_sentence(folder: Path, text: str) -> None:
    path = written(folder, {})
    path.write_text(path.read_text().replace("name: here", "name: elsewhere") if text == "no such context" else text)

    with pytest.raises(ClusterRejected, match=WRONG[text]):
        load_access(path, None)


def test_a_certificate_without_its_key_is_said_and_nobody_is_asked_without_it(folder: Path) -> None:
    with pytest.raises(ClusterRejected, match="No cluster can be reached with the kubeconfig"):
        load_access(written(folder, {"user": {"client-certificate": "client.pem"}}), None)


def test_a_look_at_a_cluster_does_not_import_the_library(folder: Path) -> None:
    path = written(folder, PLAIN["a token"])
    code = f"import sys, pathlib; from blocks.cluster import client; client.load_access(pathlib.Path({str(path)!r}), None); "

    done = subprocess.run([sys.executable, "-c", code + "sys.exit('kubernetes' in sys.modules)"], check=False)

    assert done.returncode == 0
