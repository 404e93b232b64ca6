"""Text that others wrote, fit to be shown: every sign is seen, and it ends."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.wording import bounded, many_lines, one_line, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain – ünïcode 漢字 🎉", "plain – ünïcode 漢字 🎉"),
        ("\x1b[31mred\x1b[0m", "␛[31mred␛[0m"),
        ("\x1b]8;;https://evil\x07link", "␛]8;;https://evil␇link"),
        ("a\x00b\x7f", "a␀b␡"),
        ("one\ntwo\rthree", "one␊two␍three"),
        ("\x9b31m", "�31m"),
        ("safe\u202etxt.exe", "safe�txt.exe"),
        ("a\u200bb\u2066c\ufeff", "a�b�c�"),
        ("half \ud800", "half �"),
        ("\u2028line", "�line"),
        ("a\u3164b\u2800c\u034fd", "a�b�c�d"),
        ("hidden \U000e0101\ufe0e", "hidden ��"),
        ("e\u0301\u0302\u0303\u0304 ที่", "e\u0301\u0302\u0303\u0304 ที่"),
        ("e" + "\u0301" * 7, "e" + "\u0301" * 4 + "�" * 3),
    ],
)
def test_what_is_not_seen_is_replaced_by_a_sign_for_it(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text())
def test_nothing_that_is_shown_commands_or_hides(text: str) -> None:
    for shown in (visible(text), one_line(text)):
        assert not any(unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp") for sign in shown)
    assert len(visible(text)) == len(text)
    assert one_line(one_line(text)) == one_line(text)


def test_lines_stay_lines_where_they_may() -> None:
    assert many_lines("a\r\nb\tc\x1b") == "a\nb\tc␛"


def test_what_is_too_long_is_cut_and_says_so() -> None:
    assert bounded("abcd", 4) == "abcd"
    assert bounded("abcde", 4) == "abc…"
    assert len(one_line("x" * 30_000_000, 100)) == 100
