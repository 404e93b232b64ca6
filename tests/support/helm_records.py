"""Helm's own records of releases, as it keeps them in Secrets: what a test or benchmark needs to make one as if Helm had."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any


def read_record(content: str) -> dict[str, Any]:
    """The record in the key `release` of a Secret's data: gzipped JSON, encoded by Helm and once more by Kubernetes."""
    record: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(base64.b64decode(content))))
    return record


def write_record(record: dict[str, Any]) -> str:
    """The same way back."""
    return base64.b64encode(base64.b64encode(gzip.compress(json.dumps(record).encode()))).decode()
