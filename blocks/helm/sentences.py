"""What the sentences of the `helm` command mean: the rows of `sentences.toml`, and an error of ours for each kind."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from blocks.errors import HelmRejected, HelmUnreachable, PipelineError

Kind = Literal["credentials", "certificate", "terminating", "no-api-server", "slow", "unreachable", "refused"]


class Row(NamedTuple):
    """Words, in lower case, what they mean, and where they were seen."""

    words: str
    kind: Kind
    source: str


@cache
def rows() -> tuple[Row, ...]:
    """The table, in its order."""
    table = tomllib.loads((Path(__file__).parent / "sentences.toml").read_text(encoding="utf-8"))
    return tuple(Row(words=row["words"].lower(), kind=row["kind"], source=row["source"]) for row in table["sentence"])


def kind_of(text: str) -> Kind | None:
    """What helm's words mean; none if they are in no row."""
    lowered = text.lower()
    return next((row.kind for row in rows() if row.words in lowered), None)


def error_of(kind: Kind | None, sentence: str) -> PipelineError:
    """The error for helm's sentence."""
    match kind:
        case "credentials":
            return HelmRejected(
                f"The cluster does not accept Helm's credentials (HTTP 401): the token or certificate {_RENEW} ({sentence})."
            )
        case "certificate":
            return HelmRejected(f"Helm does not trust the cluster's certificate: {_AUTHORITY} ({sentence}).")
        case "terminating":
            return HelmRejected(f"The namespace is being deleted: {_GONE} ({sentence}).")
        case "no-api-server":
            return HelmRejected(f"What answers Helm is no Kubernetes API server: check the kubeconfig's address ({sentence}).")
        case "slow":
            return HelmUnreachable(f"The cluster is too slow or too busy for Helm now: {sentence}.")
        case "unreachable":
            return HelmUnreachable(f"Helm cannot reach the cluster: {sentence}.")
        case "refused":
            return HelmRejected(f"Helm refused: {sentence}.")
    return HelmRejected(
        f"Helm refused: {sentence}. (These words are not known, so they are taken for final: run again if the cluster was in trouble.)"
    )


_RENEW = "of the Helm block's kubeconfig was revoked or has expired, so renew it"
_AUTHORITY = (
    "the kubeconfig names another authority than the one that signed it, or another address, or it has expired; renew the kubeconfig"
)
_GONE = "wait until it is gone, and install the environment anew (docs/environments.md)"
