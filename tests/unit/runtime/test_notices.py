"""What automations send to chats is text there, in any of them."""

from __future__ import annotations

import pytest

from flows.runtime.notices import LONGEST, quoted


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("P95 was 412 ms, allowed are 300 ms", "P95 was 412 ms, allowed are 300 ms"),
        ("<!channel> <https://evil.example|approve>", "‹!channel› ‹https:／／evil.example∣approve›"),
        ("@everyone [approve](https://evil.example)", "＠everyone ［approve］(https:／／evil.example)"),
        ("one\ntwo\u202e *bold* `code` &amp; www.evil.example", "one two� ∗bold∗ ˋcodeˋ ＆amp; www․evil.example"),
        ("_www.evil.example", "_www․evil.example"),
        ("password=hunter2", "password=∗∗∗"),
    ],
)
def test_a_message_mentions_links_and_forms_nothing(text: str, sent: str) -> None:
    assert quoted(text) == sent


def test_a_message_ends() -> None:
    assert len(quoted("x" * 1_000_000)) == LONGEST
