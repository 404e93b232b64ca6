"""Text stays text: what YAML would read as a number, a date or nothing is a string in every object of the three charts."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from kubernetes_validate import utils
from packaging.version import Version

from flows.spec.load import ROOT

CHARTS = ("vllm-deployment", "environment", "monitoring")

#: Texts that are something else without quotes, and what they then are to helm and kubectl, which read YAML 1.1 as Go does.
NASTY: Mapping[str, Any] = {"123": 123, "0x1F": 31, "null": None, "1e3": 1000.0, "2024-01-01": None, "true": True}

#: Each value gets the first that its schema admits: once a number before all, and once others.
ORDERS = (("123", "0x1F", "null"), ("2024-01-01", "1e3", "true"))

#: The release's namespace, which is 1,000,000,000 without quotes.
NAMESPACE = "1e9"

#: What the chart's rules hold to another value.
HELD = (".weights.folder", ".weights.mountPath", ".weights.subfolder")


class GoLoader(yaml.SafeLoader):
    """PyYAML takes `1e3` for a string; Go's reader, and with it Kubernetes, for a number."""


GoLoader.yaml_implicit_resolvers = {key: list(value) for key, value in yaml.SafeLoader.yaml_implicit_resolvers.items()}
GoLoader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789"))


@pytest.fixture(autouse=True)
def schemas_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(utils, "schema_contents", functools.cache(utils.schema_contents))


@pytest.mark.parametrize("texts", ORDERS, ids=lambda texts: texts[0])
@pytest.mark.parametrize("name", CHARTS)
def test_a_text_that_looks_like_something_else_stays_a_text(chart: Any, tmp_path: Path, name: str, texts: tuple[str, ...]) -> None:
    folder = ROOT / "charts" / name
    schema = json.loads((folder / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((folder / "values.yaml").read_text(encoding="utf-8"))
    given = _merged(values, yaml.safe_load((folder / "ci" / "full.yaml").read_text(encoding="utf-8")))
    nasty = _nasty(given, schema, schema, texts)
    assert any(leaf in texts for leaf in _leaves(nasty)), "no value took one: the test says nothing"
    file = tmp_path / "values.yaml"
    file.write_text(json.dumps(nasty), encoding="utf-8")

    release = "development" if name == "environment" else texts[0]  # the environment's must begin with a letter
    done = chart.run("template", release, folder, f"--namespace={NAMESPACE}", f"--values={file}")

    assert done.returncode == 0, done.stderr
    documents = [document for document in yaml.load_all(done.stdout, GoLoader) if document]
    newest = max(utils.all_versions(), key=Version)
    for document in documents:
        metadata = document["metadata"]
        assert all(isinstance(leaf, str) for leaf in _leaves(metadata)), metadata
        if document["apiVersion"].partition("/")[0] in ("v1", "apps", "batch", "policy", "networking.k8s.io", "rbac.authorization.k8s.io"):
            kubernetes_validate.validate(document, newest, strict=True)
    for wrong in (1e9, *(NASTY[text] for text in texts)):
        if not isinstance(wrong, bool):
            assert [leaf for leaf in _leaves(documents) if type(leaf) is type(wrong) and leaf == wrong] == []


def _nasty(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], texts: tuple[str, ...], place: str = "") -> Any:
    """The values with such a text in every place that the schema lets one be in."""
    if "$ref" in schema:
        schema = {key: node for key, node in {**root["$defs"][schema["$ref"].rpartition("/")[2]], **schema}.items() if key != "$ref"}
    if isinstance(value, Mapping):
        inside, keys = schema.get("properties", {}), list(schema.get("patternProperties", {}))
        changed = {key: _nasty(below, inside.get(key, {}), root, texts, f"{place}.{key}") for key, below in value.items()}
        return changed | {text: text for text in texts if any(re.search(key, text) for key in keys)}
    if isinstance(value, list):
        # One of them: a list may hold each thing once.
        return [_nasty(below, schema.get("items", {}), root, texts, f"{place}[]") for below in value[:1]]
    # An empty one mostly switches something off.
    if schema.get("type") == "string" and value and place not in HELD:
        admits = jsonschema.Draft202012Validator(schema).is_valid
        return next((text for text in texts if admits(text)), value)
    return value


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield key
            yield from _leaves(below)
    elif isinstance(value, list):
        for below in value:
            yield from _leaves(below)
    else:
        yield value


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        merged[key] = _merged(merged[key], value) if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping) else value
    return merged
