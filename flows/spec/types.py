"""Constrained strings and numbers that the specs share; pydantic checks them when a file is read."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

#: Every spec refuses keys that it does not know, and numbers that no limit can be: YAML has infinity, and a NaN that is never exceeded.
STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)

#: A DNS label (RFC 1123, 63 characters at most).
DnsLabel = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]

#: An environment's name. No hyphens: `{model}-{environment}` must not be readable in two ways.
EnvironmentName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]{0,19}$")]

#: A model's name: what clients send as `model`, and the name of its file.
ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,94}[A-Za-z0-9])?$")]

#: A repository of the hub, `organisation/name`.
RepositoryName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}$")]

#: A folder of a repository that holds a model of its own; empty for the top.
Subfolder = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9][A-Za-z0-9._-]{0,99}){0,4})?$")]

#: A container image by digest; a tag could be moved under a running release.
ImageByDigest = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._/:-]*@sha256:[0-9a-f]{64}$")]

#: A licence as the hub names it, or the name that a model card gives to a licence of its own.
Licence = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9 ._+-]{0,79}$")]

#: A commit of the hub.
CommitSha = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
