"""What a kubeconfig says of its current context: the server's address, whom to trust, and who one is.

Not emulated: users that authenticate by a program (exec, OIDC, cloud providers), proxies, and servers whose certificate is not to be
checked.
"""

from __future__ import annotations

import base64
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True, kw_only=True)
class Access:
    """How to reach an API server, and as whom.

    Attributes:
        url: The server's address.
        authority: The certificates to trust, PEM; None for those that the machine trusts.
        token: The user's bearer token, if it has one.
        certificate: The user's certificate chain and private key, PEM, if it has them.
    """

    url: str
    authority: str | None
    token: str | None
    certificate: tuple[str, str] | None

    def tls(self, *, anonymous: bool = False) -> ssl.SSLContext:
        """A context that trusts the server and offers the user's certificate, unless the user is to stay unknown."""
        context = ssl.create_default_context(cadata=self.authority)
        if self.certificate is not None and not anonymous:
            # The ssl module reads these from files only; they are needed for no longer than that.
            with tempfile.TemporaryDirectory() as folder:
                chain, key = Path(folder) / "chain.pem", Path(folder) / "key.pem"
                for path, text in zip((chain, key), self.certificate, strict=True):
                    path.touch(mode=0o600)
                    path.write_text(text)
                context.load_cert_chain(chain, key)
        return context

    def headers(self) -> dict[str, str]:
        """The headers that say who one is."""
        return {"Authorization": f"Bearer {self.token}"} if self.token is not None else {}


def read_kubeconfig(path: Path) -> Access:
    """What the current context of a kubeconfig says.

    Raises:
        ValueError: The file has no usable current context, or asks for what is not emulated.
        OSError: The file, or one that it names, cannot be read.
    """
    try:
        config = yaml.safe_load(path.read_text())
        context = _named(config["contexts"], config["current-context"])["context"]
        cluster = _named(config["clusters"], context["cluster"])["cluster"]
        user = _named(config["users"], context["user"])["user"] or {}
        url = str(cluster["server"])
    except (KeyError, TypeError, StopIteration, yaml.YAMLError) as exc:
        raise ValueError(f"{path}: no usable current context ({exc})") from exc
    if unknown := {"exec", "auth-provider"} & user.keys():
        raise ValueError(
            f"{path}: the user {context['user']} authenticates by a program ({unknown.pop()}); use one with a token or a certificate."
        )
    if unknown := {name for name in ("insecure-skip-tls-verify", "proxy-url", "tls-server-name") if cluster.get(name)}:
        raise ValueError(f"{path}: the cluster {context['cluster']} sets {unknown.pop()}, which the sandbox's clients do not know.")
    token = user.get("token")
    if token is None and (token_file := user.get("tokenFile")):
        token = (path.parent / token_file).read_text().strip()
    chain, key = _text(path, user, "client-certificate"), _text(path, user, "client-key")
    return Access(
        url=url,
        authority=_text(path, cluster, "certificate-authority"),
        token=token,
        certificate=(chain, key) if chain is not None and key is not None else None,
    )


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(entry for entry in entries if entry["name"] == name)


def _text(kubeconfig: Path, entry: dict[str, Any], name: str) -> str | None:
    """A PEM that stands in the file itself, or in another one; such paths are relative to the kubeconfig's own folder."""
    if data := entry.get(f"{name}-data"):
        return base64.b64decode(data).decode()
    return (kubeconfig.parent / entry[name]).read_text() if entry.get(name) else None
