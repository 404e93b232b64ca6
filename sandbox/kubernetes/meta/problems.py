"""Collects what is wrong with an object, in Kubernetes' words, so that one answer names all of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from sandbox.kubernetes.meta.errors import Cause

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(rf"{_LABEL.pattern}(\.{_LABEL.pattern})*")
_QUALIFIED_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric "
    "character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_NAME_PART_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_LABEL_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


class Problems:
    """The causes found so far, in the order found."""

    def __init__(self) -> None:
        self.causes: list[Cause] = []

    def _add(self, field: str, reason: str, message: str) -> None:
        self.causes.append(Cause(field=field, reason=reason, message=message))

    def required(self, field: str, detail: str = "") -> None:
        """A field is missing."""
        self._add(field, "FieldValueRequired", f"Required value: {detail}" if detail else "Required value")

    def invalid(self, field: str, value: Any, detail: str) -> None:
        """A field holds a value that is not allowed."""
        self._add(field, "FieldValueInvalid", f"Invalid value: {show(value)}: {detail}")

    def unsupported(self, field: str, value: Any, allowed: Iterable[str]) -> None:
        """A field holds none of the values that it may."""
        texts = ", ".join(f'"{item}"' for item in allowed)
        self._add(field, "FieldValueNotSupported", f"Unsupported value: {show(value)}: supported values: {texts}")

    def forbidden(self, field: str, detail: str) -> None:
        """A field may not be set, or not be changed like this."""
        self._add(field, "FieldValueForbidden", f"Forbidden: {detail}")

    def duplicate(self, field: str, value: Any) -> None:
        """A value occurs twice where it may occur once."""
        self._add(field, "FieldValueDuplicate", f"Duplicate value: {show(value)}")

    def not_found(self, field: str, value: Any) -> None:
        """A value names something that the object does not have."""
        self._add(field, "FieldValueNotFound", f"Not found: {show(value)}")

    def immutable(self, field: str, value: Any) -> None:
        """A field was changed that cannot be."""
        self.invalid(field, value, "field is immutable")

    def check_label_name(self, field: str, value: str) -> None:
        """A name that must be a DNS label of at most 63 characters."""
        if len(value) > 63:
            self.invalid(field, value, "must be no more than 63 characters")
        if not _LABEL.fullmatch(value):
            self.invalid(field, value, _LABEL_TEXT)

    def check_subdomain(self, field: str, value: str) -> None:
        """A name that must be a DNS subdomain of at most 253 characters."""
        if len(value) > 253:
            self.invalid(field, value, "must be no more than 253 characters")
        if not _SUBDOMAIN.fullmatch(value):
            self.invalid(field, value, _SUBDOMAIN_TEXT)

    def check_labels(self, field: str, labels: Mapping[str, str]) -> None:
        """Labels: qualified names as keys, short plain texts as values."""
        for key, value in labels.items():
            self.check_qualified_name(field, key)
            if len(value) > 63:
                self.invalid(field, value, "must be no more than 63 characters")
            if not _LABEL_VALUE.fullmatch(value):
                self.invalid(field, value, _LABEL_VALUE_TEXT)

    def check_qualified_name(self, field: str, key: str) -> None:
        """A name with an optional DNS prefix: `example.com/name`."""
        prefix, slash, name = key.rpartition("/")
        if slash and not _SUBDOMAIN.fullmatch(prefix):
            self.invalid(field, key, f"prefix part {_SUBDOMAIN_TEXT}")
        if not name:
            self.invalid(field, key, "name part must be non-empty")
        elif len(name) > 63:
            self.invalid(field, key, "name part must be no more than 63 characters")
        if not _QUALIFIED_NAME.fullmatch(name):
            self.invalid(field, key, _NAME_PART_TEXT)

    def check_port(self, field: str, value: Any) -> None:
        """A port number from 1 to 65535."""
        if isinstance(value, int) and not 1 <= value <= 65535:
            self.invalid(field, value, "must be between 1 and 65535, inclusive")

    def check_not_negative(self, field: str, value: Any) -> None:
        """A number that may not be negative; absent is fine."""
        if isinstance(value, int) and value < 0:
            self.invalid(field, value, "must be greater than or equal to 0")


def show(value: Any) -> str:
    """A value as error messages show it: compact JSON with sorted keys."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
