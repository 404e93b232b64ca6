"""Where `deployments/` is."""

from __future__ import annotations

import os
from pathlib import Path

#: The checkout's root: the folder that holds `deployments/` and `charts/`.
ROOT = Path(__file__).resolve().parents[2]

#: Names another folder than the checkout's `deployments/`.
ENVIRONMENT_VARIABLE = "SLIPWAY_DEPLOYMENTS"


def deployments_folder() -> Path:
    """The folder that `SLIPWAY_DEPLOYMENTS` names, or the checkout's own."""
    return Path(os.environ.get(ENVIRONMENT_VARIABLE) or ROOT / "deployments")
