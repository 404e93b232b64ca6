"""Whatever is put into a page is text there: read back by a Markdown parser, it is what it was, in the place that it was given."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from blocks.wording import one_line
from flows.text.markdown import Markdown, code, heads, joined, md, page, row, text_of, verbatim

#: With GitHub's tables and strike-through, as Prefect's UI has them. Bare addresses, of which it makes links, are looked for below.
PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])

FORGERIES = [
    "x | y |\n| licence | apache-2.0 |",
    "<!-- hidden",
    "--> shown",
    "a\r\n\r\n# Verified",
    "[approve](https://evil.example)",
    "![](https://evil.example/pixel)",
    "https://evil.example/approve",
    "www.evil.example",
    "mail@evil.example",
    "<script>alert(1)</script>",
    "`code` and ``more``",
    "*bold* _it_ ~~gone~~",
    "\\| \\",
    "&lt;b&gt; &amp; &#124;",
    "- item",
    "1. first",
    "# title",
    "    code",
    "===",
    "> quoted",
    "|-|-|",
    "```\nfence",
]


def told(tokens: list[Token]) -> str:
    return "".join(token.content for token in tokens if token.type in ("text", "text_special", "code_inline"))


def cells(source: str) -> list[str]:
    """The cells of all tables, as text; asserts that nothing else than text is in them."""
    inline = [token for token in PARSER.parse(source) if token.type == "inline"]
    for token in inline:
        assert {child.type for child in token.children or []} <= {"text", "text_special"}, token.children
    return [told(token.children or []) for token in inline]


@pytest.mark.parametrize("text", FORGERIES)
def test_a_cell_holds_what_it_was_given_and_nothing_else(text: str) -> None:
    table = page(heads("what", "which"), row("licence", text), row("verdict", "passed"))

    assert cells(str(table)) == ["what", "which", "licence", one_line(text), "verdict", "passed"]


@given(st.text(max_size=200))
def test_any_text_is_text_in_a_cell(text: str) -> None:
    table = page(heads("what", "which"), row(text, "after"))

    assert cells(str(table)) == ["what", "which", one_line(text), "after"]


@given(st.text(max_size=200))
def test_any_text_is_text_in_a_line_of_its_own(text: str) -> None:
    parsed = PARSER.parse(str(page(md("{}", text), md(""), md("after"))))

    assert {token.type for token in parsed} == {"paragraph_open", "inline", "paragraph_close"}
    assert len(parsed) == 3 * (2 if one_line(text) else 1)
    assert told([child for token in parsed for child in token.children or []]) == one_line(text) + "after"


@given(st.lists(st.text(max_size=60), min_size=1, max_size=4))
def test_any_lines_stay_in_their_block_of_code(lines: list[str]) -> None:
    parsed = PARSER.parse(str(page(md("Read from:"), md(""), verbatim(lines), md(""), md("after"))))

    assert {token.type for token in parsed} <= {"paragraph_open", "inline", "paragraph_close", "code_block"}
    assert [token.content for token in parsed if token.type == "inline"] == ["Read from:", "after"]


@pytest.mark.parametrize(
    "text",
    [
        *("https://evil.example", "see HTTP://evil.example", "(www.evil.example)", "WWW.evil.example", "a@evil.example"),
        # Prefect's renderer looks for the beginning of an address within words, too.
        *("_www.evil.example", "1www.evil.example", "éhttps://evil.example"),
    ],
)
def test_no_address_is_made_a_link_of(text: str) -> None:
    assert not re.search(r"(?<!\\)://|(?i:www)\.|(?<!\\)@", str(md("{}", text)))


def test_a_template_is_markup_and_its_parts_are_not() -> None:
    assert str(md("**{}** of {:,.1f} MB at {}", "a*b", 1234.56, code("f00"))) == r"**a\*b** of 1,234.6 MB at `f00`"
    assert joined(", ", [md("{}", "a"), md("{}", "|")]) == md("a, {}", "|")


@pytest.mark.parametrize("name", ["a`b", "a b", "", "a|b", "-x", "x" * 301])
def test_what_could_leave_a_code_span_is_in_none(name: str) -> None:
    assert code(name) == md("{}", name)


def test_a_part_ends_and_hides_nothing() -> None:
    assert len(str(md("{}", "a" * 30_000_000))) <= 2000
    assert str(md("{}", "safe\u202eevil\x1b[31m")) == r"safe�evil␛\[31m"
    assert "hunter2" not in str(md("{}", "postgresql://slipway:hunter2@db/x"))


@pytest.mark.parametrize("text", ["a_b*c | d", "nothing", "50 %"])
def test_a_script_gets_a_cell_back_as_it_was(text: str) -> None:
    assert text_of(str(md("{}", text))) == text
    assert text_of(None) is None


def test_pieces_are_put_together_as_they_are() -> None:
    assert md("a") + md("{}", "*") == Markdown("a\\*")
    assert not md("")
