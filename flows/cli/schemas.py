"""The published JSON Schemas, made of the dataclasses that read the documents. `python -m flows.cli.schemas` writes them anew."""

from __future__ import annotations

import json
from typing import Any

from pydantic import TypeAdapter

from flows.cli.output import say
from flows.spec import CheckSuite
from flows.spec.checks import SCHEMA_FILE
from flows.spec.load import ROOT
from flows.verification.evidence import Evidence

#: Where each is, in the checkout, and what it describes.
SCHEMAS: dict[str, type[Any]] = {
    f"deployments/checks/{SCHEMA_FILE}": CheckSuite,
    "docs/evidence.schema.json": Evidence,
}


def schema_text(of: type[Any]) -> str:
    """The JSON Schema (Draft 2020-12) of a dataclass, as the file holds it."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **TypeAdapter(of).json_schema()}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write all of them."""
    for name, of in SCHEMAS.items():
        (ROOT / name).write_text(schema_text(of), encoding="utf-8")
        say(f"wrote {name}")


if __name__ == "__main__":
    main()
