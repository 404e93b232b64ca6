"""Which type a resource's objects have: a published one, or the one that its CustomResourceDefinition describes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox.kubernetes.meta.resources import Resource
from sandbox.kubernetes.meta.schemas import ANY, Type, built_in_type, custom_type


class Types:
    """The types of the resources served, compiled once each."""

    def __init__(self) -> None:
        self._custom: dict[tuple[str, str], Type] = {}

    def of(self, resource: Resource) -> Type:
        """The type of a resource's objects."""
        if resource.custom:
            return self._custom.get((resource.api_version, resource.kind), ANY)
        return built_in_type(resource.api_version, resource.kind) or ANY

    def define(self, resource: Resource, schema: Mapping[str, Any]) -> None:
        """Take the type of a custom resource from its definition's `openAPIV3Schema`."""
        self._custom[(resource.api_version, resource.kind)] = custom_type(schema, resource.kind)
