"""What lies between Slipway and its registry, and whether it serves."""

from __future__ import annotations

from collections.abc import Iterator

from blocks.facts.registry import RegistryPath, RegistryServer
from flows.doctor.rules.facts import Facts
from flows.doctor.rules.symptom import Symptom


def registry_symptoms(facts: Facts) -> Iterator[Symptom]:
    """No server that takes writes, hosts that are away, a schema that is open, and a direct address without notices."""
    path = facts.registry
    if path is None:
        return
    serving = any(server.takes_writes for server in path.servers)
    if not serving and any(not server.problem for server in path.servers):
        yield Symptom(
            kind="registry-read-only",
            about="registry",
            message=f"nothing can be recorded: {'; '.join(map(described, path.servers))}.",
            command="promote a standby, or name the primary in the registry's connection string",
        )
    for server in path.servers:
        if server.problem and serving:
            yield Symptom(
                kind="registry-host",
                about=server.address,
                message=f"of the registry's hosts one cannot be used, so that a failover may find none: {server.problem}.",
                command="start it, or take it out of the registry's connection string",
            )
    for schema in sorted({server.open_schema for server in path.servers if server.open_schema}):
        yield Symptom(
            kind="registry-open",
            about="registry",
            message=f"whoever can log in to the registry's database may create tables and functions in its schema {schema}.",
            command=f"REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC;",
        )
    if path.direct is not None and serving and not path.heard:
        why = path.direct.problem or f"{described(path.direct)}, and hears no notice of the registry"
        yield Symptom(
            kind="no-notices",
            about=path.direct.address,
            message=f"routers that listen at the registry's direct address hear of no change: {why}.",
            command="name the primary itself in the registry's direct_dsn",
        )


def told(path: RegistryPath) -> str:
    """What lies between and whether it serves, in a sentence or two."""
    said = f"The registry: {'; '.join(map(described, path.servers))}."
    pooled = any(server.pooled for server in path.servers)
    if pooled and path.direct is None:
        return f"{said} Routers hear of no change through the pooler: without a direct address they ask every minute."
    if path.heard:
        return f"{said} Notices of changes are heard at the direct address."
    return said


def described(server: RegistryServer) -> str:
    """What a server is, and whether it serves."""
    if server.problem:
        return server.problem
    way = " behind a pooler" if server.pooled else ""
    if server.standby:
        since = "" if server.behind_seconds is None else f", whose last transaction is {server.behind_seconds:.0f} s old"
        return f"{server.address} is a standby{way}{since} (PostgreSQL {server.version})"
    if not server.takes_writes:
        return f"{server.address} is a primary{way} that is set to be read only (PostgreSQL {server.version})"
    kept = "each when a standby has it" if server.synchronous else "without waiting for a standby, which a failover may show"
    return f"{server.address} is a primary{way} that takes writes, {kept} (PostgreSQL {server.version})"
