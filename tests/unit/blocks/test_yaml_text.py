"""YAML of others is read fast, as Python's own parser reads it, and ends no process."""

from __future__ import annotations

import pytest
import yaml

from blocks.yaml_text import read, read_all

TEXT = """
a: &x [1, 2.5, true, null, "text", 2026-12-01]
b: *x
---
---
c: |
  lines
"""


def test_it_is_what_the_other_parser_reads() -> None:
    assert read_all(TEXT) == list(yaml.safe_load_all(TEXT))
    assert read(TEXT.split("---", maxsplit=1)[0]) == yaml.safe_load(TEXT.split("---", maxsplit=1)[0])
    assert (read(""), read_all("")) == (None, [])


@pytest.mark.parametrize("text", ["[" * 1_000_000, "[" * 1000 + "]" * 1000, "{a: " * 1000 + "}" * 1000, "- " * 1000], ids=range(4))
def test_what_is_deeper_than_anybody_writes_is_refused(text: str) -> None:
    with pytest.raises(yaml.YAMLError, match="more than 500 deep"):
        read(text)


@pytest.mark.parametrize("text", ["a: [", "!!python/object:os.system {}", "a: *nothing", TEXT])
def test_what_is_no_plain_document_is_refused(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        read(text)
