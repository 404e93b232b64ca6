"""YAML that people and programs write in turn: what is read is what was wanted, and comments stay."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from flows.delivery.yaml_edit import rewritten
from flows.errors import SpecInvalid

THEIRS = """\
# Ask the platform team before you change this.
fullname: tiny-llama   # the Helm release
engine:
  # more than 0.9 runs out of memory on the small GPUs
  gpuMemoryUtilization: 0.9
  extraArgs:
    - --enable-auto-tool-choice  # tools
stale: 1
"""

#: What one version of YAML or another takes for something else than a string.
AMBIGUOUS = ["yes", "No", "on", "null", "~", "12e3", "1_0", "0x1f", "0o17", "1:30", "2024-01-01", ".5", "=", "<<", "a: b", "a #b", "- x"]
TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from([*AMBIGUOUS, "a\nb\n", " a\n", "a\n\n b\n", "a \nb\n", "\ufeff", "\u2028x\n", "{% if x %}\n  {{ y }}\n"]),
)
KEYS = st.one_of(st.sampled_from(["a", "b", "yes", "node-type", "nvidia.com/gpu", "1"]), st.text("abc./-", min_size=1, max_size=5))
VALUES = st.recursive(
    st.one_of(TEXTS, st.booleans(), st.none(), st.integers(), st.floats(allow_nan=False, allow_infinity=False)),
    lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(KEYS, below, max_size=3)),
    max_leaves=6,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=4)


@settings(max_examples=60)
@given(DOCUMENTS, DOCUMENTS)
def test_whatever_is_wanted_is_read_back_by_both_versions_of_yaml(first: dict[str, Any], then: dict[str, Any]) -> None:
    text = rewritten(rewritten(None, first, "values.yaml"), then, "values.yaml")

    assert yaml.safe_load(text) == then  # 1.1
    assert YAML(typ="safe", pure=True).load(text) == then  # 1.2
    assert rewritten(text, then, "values.yaml") == text


@pytest.mark.parametrize("value", AMBIGUOUS)
def test_strings_that_could_be_something_else_are_quoted(value: str) -> None:
    assert rewritten(None, {"key": value}, "values.yaml") == f'key: "{value}"\n'


def test_comments_and_the_order_of_people_stay_and_what_is_not_wanted_goes() -> None:
    wanted = {
        "engine": {"extraArgs": ["--enable-auto-tool-choice"], "gpuMemoryUtilization": 0.8, "dtype": "auto"},
        "fullname": "tiny-llama",
        "replicas": 2,
    }

    assert rewritten(THEIRS, wanted, "values.yaml") == THEIRS.replace("0.9\n", "0.8\n").replace(
        "stale: 1\n", "  dtype: auto\nreplicas: 2\n"
    )


def test_a_template_is_written_as_people_read_it() -> None:
    assert rewritten(None, {"chatTemplate": "{% for m in messages %}\n  {{ m }}\n{% endfor %}\n"}, "v") == (
        "chatTemplate: |\n  {% for m in messages %}\n    {{ m }}\n  {% endfor %}\n"
    )


@pytest.mark.parametrize("text", ["a: [", "a: 1\na: 2\n", "\tb"])
def test_what_is_no_yaml_is_named(text: str) -> None:
    with pytest.raises(SpecInvalid, match=r"values\.yaml: not valid YAML: .*mend it in Git") as caught:
        rewritten(text, {"a": 1}, "values.yaml")

    assert "\n" not in caught.value.message
