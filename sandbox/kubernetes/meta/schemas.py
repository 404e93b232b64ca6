"""The types of Kubernetes' objects, from the published schemas that `kubernetes-validate` carries, and of custom resources.

A type knows its fields, which lists are merged by key, and which maps and lists are replaced as a whole. Decoding, patching and
server-side apply all work on these types. They are read when the first object is decoded and resolved as far as they are used.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources as package_resources
from typing import Any

SCHEMA_RELEASE = "v1.36.0"

Resolve = Callable[[str], "Type"]


@dataclass(kw_only=True, slots=True)
class Type:
    """What may stand at one place of an object.

    Attributes:
        kind: `struct`, `map`, `list`, `set` (a list of distinct scalars), `keyed` (a list of structs with keys), a scalar's name
            (`string`, `integer`, `number`, `boolean`, `int-or-string`, `quantity`, `time`) or `any`.
        name: The Go name of a struct, for messages.
        atomic: Whether it is owned and replaced as a whole.
        fields: A struct's fields.
        item: What a map's values or a list's items are.
        keys: The fields that identify an item of a keyed list for server-side apply.
        merge_key: The field that identifies an item for strategic merge patches; empty: the list is replaced.
        merges: Whether a strategic merge patch merges a list of scalars.
        retain_keys: Whether a strategic merge patch drops the keys that it does not name.
        required: A struct's required fields.
        preserve: Whether unknown fields are kept.
    """

    kind: str
    name: str = ""
    atomic: bool = False
    fields: dict[str, Callable[[], Type]] = field(default_factory=dict)
    item: Callable[[], Type] | None = None
    keys: tuple[str, ...] = ()
    merge_key: str = ""
    merges: bool = False
    retain_keys: bool = False
    required: tuple[str, ...] = ()
    preserve: bool = False

    def child(self, name: str) -> Type | None:
        """The type of a field of a struct or of a value of a map; None if there is no such field."""
        if self.kind == "struct":
            resolve = self.fields.get(name)
            if resolve is not None:
                return resolve()
            return ANY if self.preserve else None
        return self.items() if self.kind == "map" else ANY

    def items(self) -> Type:
        """The type of the items of a list or the values of a map."""
        return self.item() if self.item is not None else ANY


ANY = Type(kind="any", preserve=True)
_SCALARS = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": Type(kind="int-or-string"),
    "io.k8s.apimachinery.pkg.api.resource.Quantity": Type(kind="quantity"),
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": Type(kind="time"),
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": Type(kind="time"),
    "io.k8s.apimachinery.pkg.runtime.RawExtension": ANY,
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": ANY,
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON": ANY,
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray": ANY,
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool": ANY,
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray": ANY,
}


@functools.cache
def _definitions() -> dict[str, Any]:
    folder = package_resources.files("kubernetes_validate").joinpath("kubernetes-json-schema", f"{SCHEMA_RELEASE}-local")
    definitions: dict[str, Any] = json.loads(folder.joinpath("_definitions.json").read_bytes())["$defs"]
    # Descriptions are nine tenths of the text; the process keeps the rest for good.
    for definition in definitions.values():
        definition.pop("description", None)
        for schema in definition.get("properties", {}).values():
            schema.pop("description", None)
    return definitions


@functools.cache
def _kinds() -> dict[tuple[str, str], str]:
    index: dict[tuple[str, str], str] = {}
    for name, definition in _definitions().items():
        for kind in definition.get("x-kubernetes-group-version-kind", ()):
            api_version = f"{kind['group']}/{kind['version']}" if kind["group"] else kind["version"]
            index.setdefault((api_version, kind["kind"]), name)
    return index


@functools.cache
def _named(name: str) -> Type:
    if name in _SCALARS:
        return _SCALARS[name]
    return _compile(_definitions()[name], name.rsplit(".", 1)[-1], _named)


def built_in_type(api_version: str, kind: str) -> Type | None:
    """The type of a kind that Kubernetes publishes, or None."""
    name = _kinds().get((api_version, kind))
    return _named(name) if name else None


def custom_type(schema: Mapping[str, Any], kind: str) -> Type:
    """The type that a CustomResourceDefinition's `openAPIV3Schema` describes; the object's own metadata is added."""
    compiled = _compile(schema, kind, _named)
    if compiled.kind != "struct":
        compiled = Type(kind="struct", name=kind, preserve=True)
    string = Type(kind="string")
    metadata = functools.partial(_named, "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
    fields: dict[str, Callable[[], Type]] = {
        **compiled.fields,
        "apiVersion": lambda: string,
        "kind": lambda: string,
        "metadata": metadata,
    }
    return Type(kind="struct", name=kind, fields=fields, required=compiled.required, preserve=compiled.preserve)


def _compile(schema: Mapping[str, Any], name: str, resolve: Resolve) -> Type:
    if "$ref" in schema:
        return _refined(resolve(schema["$ref"].rsplit("/", 1)[-1]), schema)
    if schema.get("x-kubernetes-int-or-string"):
        return Type(kind="int-or-string")
    declared = schema.get("type")
    kind = next((item for item in declared if item != "null"), "any") if isinstance(declared, list) else declared
    atomic = schema.get("x-kubernetes-map-type") == "atomic"
    preserve = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    strategy = str(schema.get("x-kubernetes-patch-strategy", ""))
    if "properties" in schema:
        fields = {key: _later(value, key, resolve) for key, value in schema["properties"].items()}
        required = tuple(schema.get("required", ()))
        return Type(kind="struct", name=name, atomic=atomic, fields=fields, required=required, preserve=preserve)
    if kind == "object":
        values = schema.get("additionalProperties")
        if isinstance(values, dict):
            return Type(kind="map", atomic=atomic, item=_later(values, name, resolve), retain_keys="retainKeys" in strategy)
        return ANY if preserve or values or "additionalProperties" not in schema else Type(kind="struct", name=name)
    if kind == "array":
        return _compile_list(schema, name, resolve, strategy)
    return Type(kind=kind) if isinstance(kind, str) else ANY


def _compile_list(schema: Mapping[str, Any], name: str, resolve: Resolve, strategy: str) -> Type:
    list_type = schema.get("x-kubernetes-list-type", "")
    # Lists that only say how patches merge them get their key for server-side apply from that, as the API server does.
    keys = tuple(schema.get("x-kubernetes-list-map-keys", ()))
    merge_key = str(schema.get("x-kubernetes-patch-merge-key", ""))
    if not list_type and "merge" in strategy:
        list_type, keys = ("map", (merge_key,)) if merge_key else ("set", ())
    kind = {"map": "keyed", "set": "set"}.get(list_type, "list")
    return Type(
        kind=kind,
        atomic=kind == "list",
        item=_later(schema.get("items", {}), name, resolve),
        keys=keys,
        merge_key=merge_key if "merge" in strategy else "",
        merges="merge" in strategy,
    )


def _refined(target: Type, schema: Mapping[str, Any]) -> Type:
    """A referenced type with what the referring field says about it."""
    said = schema.get("x-kubernetes-map-type")  # the field's own word wins, such as "granular" for a volume's claimRef
    atomic = said == "atomic" if said else target.atomic
    retain = "retainKeys" in str(schema.get("x-kubernetes-patch-strategy", ""))
    if atomic == target.atomic and not retain:
        return target
    return Type(
        kind=target.kind,
        name=target.name,
        atomic=atomic,
        fields=target.fields,
        item=target.item,
        keys=target.keys,
        merge_key=target.merge_key,
        merges=target.merges,
        retain_keys=retain,
        required=target.required,
        preserve=target.preserve,
    )


def _later(schema: Mapping[str, Any], name: str, resolve: Resolve) -> Callable[[], Type]:
    # Compiled on first use: some types contain themselves, and most are never asked for.
    return functools.cache(lambda: _compile(schema, name, resolve))
