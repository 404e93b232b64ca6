"""The secrets of the approvers' authenticators: in a folder (a mounted Kubernetes Secret), or in Prefect's Secret blocks."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import cast

from prefect.blocks.system import Secret

#: Names a folder with one file for each approver, as a mounted Kubernetes Secret is. Without it, Prefect's Secret blocks are used.
FOLDER_VARIABLE = "SLIPWAY_APPROVER_SECRETS"

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def read_authenticator(approver: str) -> str | None:
    """The approver's secret (base 32); none if the approver has not enrolled.

    Args:
        approver: A name of `deployments/approvers.yaml`; anything else has no secret.
    """
    # What was typed into a form becomes a part of a path below.
    if not _NAME.fullmatch(approver):
        return None
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder:
        try:
            return Path(folder, approver).read_text(encoding="ascii").strip() or None
        except (OSError, UnicodeDecodeError):
            return None
    try:
        block = cast("Secret[str]", Secret.load(_block_name(approver), _sync=True))  # type: ignore[call-arg]
    # Prefect's word for a block that does not exist.
    except ValueError:
        return None
    secret: object = block.get()
    # Prefect keeps any JSON in such a block, and whoever may write to it may write another.
    return secret if isinstance(secret, str) and secret else None


def save_authenticator(approver: str, secret: str) -> str:
    """Keep the secret in a Prefect Secret block, replacing an earlier one; the block's name."""
    name = _block_name(approver)
    Secret(value=secret).save(name, overwrite=True, _sync=True)  # type: ignore[call-arg]
    return name


def _block_name(approver: str) -> str:
    return f"slipway-approver-{approver}"
