"""Published definitions of other projects' resources, and what an API server that validates strictly says to an object of theirs."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from flows.spec.load import ROOT
from tests.support.documents import read_all_yaml

#: They lie beside the project and are no part of it.
FOLDER = ROOT.parent / "shared" / "crds"


@functools.cache
def definition(file: str, kind: str) -> Mapping[str, Any]:
    """The schemas of a kind by version, as published in the file; skips the test where the file is not."""
    if not (FOLDER / file).is_file():
        pytest.skip(f"the published definitions are not here: {FOLDER / file}")
    documents = _read(FOLDER / file)
    (found,) = [each for each in documents if each["kind"] == "CustomResourceDefinition" and each["spec"]["names"]["kind"] == kind]
    return {version["name"]: _strict(version["schema"]["openAPIV3Schema"]) for version in found["spec"]["versions"] if version["served"]}


def problems(document: Mapping[str, Any], file: str) -> list[str]:
    """What is wrong with an object by the file's definition of its kind: unknown fields, too, as with `fieldValidation=Strict`."""
    schemas = definition(file, document["kind"])
    version = document["apiVersion"].rpartition("/")[2]
    if version not in schemas:
        return [f"{document['apiVersion']} is not served"]
    errors = jsonschema.Draft202012Validator(schemas[version]).iter_errors(document)
    return [f"{error.json_path}: {error.message[:300]}" for error in errors]


@functools.cache
def _read(path: Path) -> list[dict[str, Any]]:
    return read_all_yaml(path.read_text(encoding="utf-8"))


def _strict(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with its objects closed, and `nullable` and `x-kubernetes-int-or-string` as JSON Schema says them."""
    found = dict(schema)
    if "properties" in found:
        found["properties"] = {name: _strict(inner) for name, inner in found["properties"].items()}
        if "additionalProperties" not in found and not found.get("x-kubernetes-preserve-unknown-fields"):
            # What every object has is the server's own: the definitions say no more than that `metadata` is an object.
            found["additionalProperties"] = False
    if isinstance(found.get("additionalProperties"), Mapping):
        found["additionalProperties"] = _strict(found["additionalProperties"])
    if isinstance(found.get("items"), Mapping):
        found["items"] = _strict(found["items"])
    if found.pop("nullable", False) and "type" in found:
        found["type"] = [found["type"], "null"]
    found.pop("format", None)
    return found
