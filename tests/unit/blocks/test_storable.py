"""Whatever others write, it becomes something that can be recorded."""

from __future__ import annotations

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from blocks.storable import storable, storable_text


def test_what_a_database_lacks_is_replaced_and_the_rest_is_left_alone() -> None:
    assert storable_text("Paris \0 \ud800 🙂 é") == "Paris \u2400 ? 🙂 é"
    assert storable({"a\0": [math.nan, -math.inf, 1.5, 7, None, True, ("x",)]}) == {"a\u2400": ["nan", "-inf", 1.5, 7, None, True, ["x"]]}
    assert storable(10**5000) == "an integer of 16610 bits"


def test_what_holds_itself_ends() -> None:
    endless: list[object] = []
    endless.append(endless)

    assert "nested too deeply" in json.dumps(storable(endless))


def anything() -> st.SearchStrategy[object]:
    texts = st.text(st.characters(exclude_categories=()), max_size=8) | st.just("\0\ud800")
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.integers(300, 400).map(lambda power: 10**power)
    return st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=10)


@given(anything())
def test_all_of_it_is_json_that_postgresql_takes(value: object) -> None:
    text = json.dumps(storable(value), ensure_ascii=False, allow_nan=False)

    assert "\\u0000" not in text
    text.encode()
