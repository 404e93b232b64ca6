"""Throw-away certificates as the files that a server reads."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme


@contextmanager
def certificate_files(certificate: trustme.LeafCert) -> Iterator[tuple[Path, Path]]:
    """The certificate chain and the private key as files, which are gone after the block: a server reads them once."""
    with tempfile.TemporaryDirectory() as folder:
        chain, key = Path(folder) / "chain.pem", Path(folder) / "key.pem"
        chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        key.touch(mode=0o600)
        key.write_bytes(certificate.private_key_pem.bytes())
        yield chain, key


def self_signed(name: str) -> trustme.LeafCert:
    """A certificate that nobody has a reason to trust, as a kubelet has one."""
    return trustme.CA(organization_name="Kubernetes stand-in").issue_cert(name)
