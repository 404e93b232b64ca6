"""YAML by the C parser, which takes a tenth of the time of Python's; where there is none, by that.

The C parser recurses without a limit: a hundred thousand brackets, which Python's refuses, end the process (PyYAML 6.0.3). Its events come
without recursion, so how deep they go is looked at first.
"""

from __future__ import annotations

from typing import Any

import yaml

#: Collections in one another; no manifest and no kubeconfig comes near.
_DEEPEST = 500


class SafeLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # which one is known when it runs
    """Makes plain values and nothing else."""


def read_all(text: str, loader: type[Any] = SafeLoader) -> list[Any]:
    """All documents of the text.

    Raises:
        yaml.YAMLError: It is no YAML, or deeper than anybody writes.
    """
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise yaml.YAMLError(f"collections lie more than {_DEEPEST} deep in one another")
    return list(yaml.load_all(text, Loader=loader))  # a safe one


def read(text: str) -> Any:
    """The only document of the text; none where it is empty.

    Raises:
        yaml.YAMLError: It is no YAML, deeper than anybody writes, or several documents.
    """
    documents = read_all(text)
    if len(documents) > 1:
        raise yaml.YAMLError("expected a single document, and there are several")
    return documents[0] if documents else None
