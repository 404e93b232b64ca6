"""How the sandbox's own clients reach a cluster that a kubeconfig names."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from sandbox.kubernetes.meta.kubeconfig import read_kubeconfig
from sandbox.kubernetes.outside import OutsideCluster
from sandbox.serving import LoopThread


def write(folder: Path, cluster: dict[str, Any], user: dict[str, Any]) -> Path:
    config = {
        "current-context": "it",
        "contexts": [{"name": "other", "context": {}}, {"name": "it", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://cluster:6443", **cluster}}],
        "users": [{"name": "u", "user": user}],
    }
    path = folder / "config"
    path.write_text(yaml.safe_dump(config))
    return path


def who_is_it(client: ssl.SSLContext, authority: trustme.CA) -> str:
    """Shake hands with a server that asks for a certificate, in memory; the client's name by the server."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("cluster").configure_cert(server)
    authority.configure_trust(server)
    server.verify_mode = ssl.CERT_OPTIONAL
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(back, there, server_hostname="cluster")
    theirs = server.wrap_bio(there, back, server_side=True)
    for _ in range(4):
        for side in (ours, theirs):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    found: Any = theirs.getpeercert() or {}
    return str(dict(found["subject"][-1])["commonName"]) if found else ""


@pytest.mark.parametrize("inline", [True, False], ids=["in the file", "beside it"])
def test_a_user_with_a_certificate_shows_it(tmp_path: Path, inline: bool) -> None:
    authority = trustme.CA()
    leaf = authority.issue_cert("admin", common_name="admin")
    texts = {
        "certificate-authority": authority.cert_pem.bytes(),
        "client-certificate": b"".join(blob.bytes() for blob in leaf.cert_chain_pems),
        "client-key": leaf.private_key_pem.bytes(),
    }
    if inline:
        entries = {f"{name}-data": base64.b64encode(content).decode() for name, content in texts.items()}
    else:
        for name, content in texts.items():
            (tmp_path / name).write_bytes(content)
        entries = {name: name for name in texts}
    ours = {key: value for key, value in entries.items() if key.startswith("client")}

    access = read_kubeconfig(write(tmp_path, {key: value for key, value in entries.items() if key not in ours}, ours))

    assert (access.url, access.token, access.headers()) == ("https://cluster:6443", None, {})
    assert who_is_it(access.tls(), authority) == "admin"
    assert who_is_it(access.tls(anonymous=True), authority) == ""


def test_a_token_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")

    assert read_kubeconfig(write(tmp_path, {}, {"tokenFile": "token"})).headers() == {"Authorization": "Bearer secret"}


def test_what_authenticates_by_a_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the user u authenticates by a program \(exec\)"):
        read_kubeconfig(write(tmp_path, {}, {"exec": {"command": "login"}}))


def test_a_cluster_whose_certificate_is_not_to_be_checked_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the cluster c sets insecure-skip-tls-verify, which"):
        read_kubeconfig(write(tmp_path, {"insecure-skip-tls-verify": True}, {"token": "t"}))


def test_an_outside_cluster_tells_whom_to_trust_as_the_stand_in_does(tmp_path: Path) -> None:
    authority = trustme.CA().cert_pem.bytes()
    kubeconfig = write(tmp_path, {"certificate-authority-data": base64.b64encode(authority).decode()}, {"token": "x"})
    with LoopThread() as loop:
        cluster = OutsideCluster(kubeconfig, tmp_path / "cluster", loop, nodes=[], images={})
        assert cluster.ca_file.read_bytes() == authority
        cluster.close()
