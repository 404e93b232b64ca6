"""The secret by which the nodes of one release know each other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

#: How long it is good for: longer than any Job may take, in both directions, for clocks that differ.
_VALID = timedelta(days=7)


def share_secret(now: datetime | None = None) -> dict[str, str]:
    """A new key (P-256) and a certificate of its own, as the data of a Secret of the type `kubernetes.io/tls`.

    The certificate is its own authority and names nothing: whoever has the key is one of them.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "slipway-prefetch")])
    begin = now or datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - timedelta(days=1))
        .not_valid_after(begin + _VALID)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {"tls.crt": certificate.public_bytes(serialization.Encoding.PEM).decode(), "tls.key": private.decode()}
