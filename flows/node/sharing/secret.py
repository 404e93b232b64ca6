"""What a snapshot's nodes know each other by: one key and its certificate, made for one release and mounted into its Jobs."""

from __future__ import annotations

import ssl
import time
from pathlib import Path
from typing import Any

from blocks.errors import NodeRejected

#: The files of the Secret (`kubernetes.io/tls`).
CERTIFICATE, KEY = "tls.crt", "tls.key"


class TimedSocket(ssl.SSLSocket):
    """A connection with a moment (on `time.monotonic`) from which on nothing is read: a byte now and then is a silence, too."""

    ends_at = float("inf")

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """As of a socket; TimeoutError after that moment."""
        if time.monotonic() > self.ends_at:
            raise TimeoutError("too slow")
        return super().recv_into(buffer, nbytes, flags)


def server_context(folder: Path) -> ssl.SSLContext:
    """TLS 1.3 towards those that connect; they must hold the key, too.

    Raises:
        NodeRejected: The files cannot be read.
    """
    return _context(ssl.PROTOCOL_TLS_SERVER, folder)


def client_context(folder: Path) -> ssl.SSLContext:
    """TLS 1.3 towards another node, which must hold the key; errors as of `server_context`."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT, folder)
    context.sslsocket_class = TimedSocket
    return context


def _context(protocol: int, folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # The certificate is its own authority and names no host: whoever has its key is one of us, wherever it runs.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(folder / CERTIFICATE, folder / KEY)
        context.load_verify_locations(folder / CERTIFICATE)
    except (OSError, ValueError) as exc:
        raise NodeRejected(
            f"The secret that nodes share by cannot be read in {folder} ({type(exc).__name__}): it is mounted there."
        ) from exc
    return context
