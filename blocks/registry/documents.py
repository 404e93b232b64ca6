"""Candidates and evidence: documents that are kept as they are, and what their JSON hashes to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from psycopg.types.json import Jsonb

from blocks.errors import RegistryRejected
from blocks.registry.connect import Connection
from blocks.registry.repeated import repeated
from blocks.registry.session import Session, change, row
from blocks.storable import storable


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class _Document:
    document: dict[str, object]


@dataclass(frozen=True, kw_only=True)
class StoredEvidence:
    """A document of evidence: its SHA-256 (hex), its kind, and itself."""

    sha256: str
    kind: str
    document: dict[str, object]


@dataclass(frozen=True, kw_only=True)
class StoredCandidate:
    """A candidate as the registry keeps it; the registry looks into none of it.

    Attributes:
        document: The candidate's JSON.
        model: The name that clients send.
        hub_revision: Commit SHA on the hub.
    """

    document: dict[str, object]
    model: str
    hub_revision: str


class Candidates:
    """Keeps candidates."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @repeated
    def register(self, fingerprint: str, document: Mapping[str, object], model: str, hub_revision: str) -> None:
        """Keep a candidate. Registering it again changes nothing.

        Raises:
            RegistryRejected: The fingerprint is taken by another document.
        """
        if storable(document) != plain(document):
            # Not altered, as everything else that is kept: its hash is its name.
            raise RegistryRejected(
                f"candidate {fingerprint[:12]} holds what no database keeps (a NUL, or a number without bounds): correct it, "
                "or release another revision",
                fingerprint=fingerprint,
            )
        with self._session.transaction() as connection:
            values = {"fingerprint": fingerprint, "document": Jsonb(plain(document)), "model": model, "hub_revision": hub_revision}
            change(connection, "add_candidate", values)
            # Read back: the statement leaves alone what is there, and does not say whether it is the same.
            stored = stored_candidate(connection, fingerprint)
            if canonical(stored.document) != canonical(document) or (stored.model, stored.hub_revision) != (model, hub_revision):
                raise RegistryRejected(f"candidate {fingerprint[:12]} is registered with another document", fingerprint=fingerprint)

    def get(self, fingerprint: str) -> dict[str, object] | None:
        """The document of a candidate, or None if it was never registered."""
        found = self._session.row("candidate", StoredCandidate, {"fingerprint": fingerprint})
        return found.document if found else None

    def kept(self, statuses: Collection[str]) -> list[dict[str, object]]:
        """The documents of all candidates that may serve again at once, in all environments; one statement, however many there are.

        Args:
            statuses: Those of entries that count as serving or about to. What a person took out counts, too, and so does the previous
                candidate of every model in every environment (and at the most one more).
        """
        return [each.document for each in self._session.rows("kept_candidates", StoredCandidate, {"statuses": list(statuses)})]

    def verified(self, model: str, environment: str, *, organisation: str | None = None) -> list[str]:
        """The fingerprints of all candidates that were ever ready there."""
        place = {"model": model, "environment": environment, "organisation": organisation}
        return [each.fingerprint for each in self._session.rows("verified_candidates", _Candidate, place)]


class EvidenceRecord:
    """Keeps documents of evidence by their hash."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @repeated
    def save(self, kind: str, document: Mapping[str, object]) -> str:
        """Keep a verdict document and return the SHA-256 (hex) of its canonical JSON. Saving it again changes nothing.

        Raises:
            RegistryRejected: It is no JSON, or the database would give it back otherwise (a number that it writes in another way).
        """
        sha256 = digest(document)
        with self._session.transaction() as connection:
            change(connection, "add_evidence", {"sha256": sha256, "kind": kind, "document": Jsonb(plain(document))})
            # jsonb writes numbers its own way: 1e+22 comes back as an integer, and the document would have another hash.
            stored = row(connection, "evidence", _Document, {"sha256": sha256})
            if stored is None or digest(stored.document) != sha256:
                raise RegistryRejected(
                    f"evidence of kind {kind} does not keep its SHA-256 in the registry: give extreme numbers as strings", kind=kind
                )
        return sha256

    def get(self, sha256: str) -> dict[str, object] | None:
        """The verdict document with that SHA-256, or None.

        Raises:
            RegistryRejected: The document that is kept does not have that hash: somebody changed it.
        """
        found = self._session.row("evidence", _Document, {"sha256": sha256})
        if found is None:
            return None
        if digest(found.document) != sha256:
            raise RegistryRejected(f"evidence {sha256[:12]} was altered in the registry", sha256=sha256)
        return found.document

    def find(self, prefix: str) -> StoredEvidence | None:
        """The document whose SHA-256 begins with `prefix`, or None.

        Raises:
            RegistryRejected: There are several, or the one that is kept does not have its hash: somebody changed it.
        """
        found = self._session.rows("evidence_named", StoredEvidence, {"prefix": prefix})
        if len(found) > 1:
            raise RegistryRejected(f"several documents have a hash that begins with {prefix}: give more of it", prefix=prefix)
        if found and digest(found[0].document) != found[0].sha256:
            raise RegistryRejected(f"evidence {found[0].sha256[:12]} was altered in the registry", sha256=found[0].sha256)
        return found[0] if found else None


def stored_candidate(connection: Connection, fingerprint: str) -> StoredCandidate:
    """The candidate with that fingerprint.

    Raises:
        RegistryRejected: It was never registered.
    """
    found = row(connection, "candidate", StoredCandidate, {"fingerprint": fingerprint})
    if found is None:
        raise RegistryRejected(f"candidate {fingerprint[:12]} is not registered: register it first", fingerprint=fingerprint)
    return found


def has_evidence(connection: Connection, sha256: str) -> bool:
    """Whether the verdict document with that SHA-256 was saved."""
    return row(connection, "evidence", _Document, {"sha256": sha256}) is not None


def canonical(document: Mapping[str, object]) -> str:
    """Canonical JSON: keys sorted, no white space, no escapes that are not needed.

    Raises:
        RegistryRejected: The document is no JSON (NaN, infinity, a type that JSON lacks, half a surrogate pair).
    """
    try:
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        # Half a surrogate pair is found by nothing else; `dumps` lets it through.
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise RegistryRejected(f"a document for the registry is not JSON: {error}") from error
    return text


def digest(document: Mapping[str, object]) -> str:
    """SHA-256 (hex) of the document's canonical JSON."""
    return hashlib.sha256(canonical(document).encode()).hexdigest()


def plain(document: Mapping[str, object]) -> object:
    """The document as it comes back from JSON."""
    # Through canonical JSON, so that what cannot be stored is refused here with one kind of error.
    return json.loads(canonical(document))
