"""What may be said of text that others wrote: without secrets, without signs that a terminal or a reader takes for something else, and not
without end. Pure and light: the program on the nodes imports it, too."""

from __future__ import annotations

import unicodedata

from blocks.secret_shapes import LONGEST_SECRET, redacted

#: Longest sentence that is said, in characters.
LONGEST_SENTENCE = 4000

#: Longest text that a fact, a log line or a page quotes, in characters.
LONGEST_TEXT = 20_000


class _Visible(dict[int, str | int]):
    """What stands for a character; looked up once for each that is met."""

    def __missing__(self, code: int) -> str | int:
        # Controls, formats (directions, what has no width), halves of surrogate pairs, and the two separators that end a line.
        if unicodedata.category(chr(code)) not in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            shown: str | int = code
        elif code < 0x20:
            shown = 0x2400 + code  # Unicode's own pictures of them: one sign for one, so that nothing moves
        else:
            shown = "␡" if code == 0x7F else "�"
        self[code] = shown
        return shown


_VISIBLE = _Visible()
_LINES = _Visible({ord("\n"): "\n", ord("\t"): "\t"})


def visible(text: str) -> str:
    """The text on one line: every sign that shows nothing, or has others shown otherwise, is replaced by one that is seen."""
    return text.translate(_VISIBLE)


def visible_lines(text: str) -> str:
    """As `visible`, but line ends and tabs stay."""
    return text.replace("\r\n", "\n").translate(_LINES)


def bounded(text: str, most: int) -> str:
    """The text, cut to so many characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def one_line(text: str, most: int = LONGEST_SENTENCE) -> str:
    """The text as one line that may be shown: no secret, nothing hidden, white space is one space, so many characters at most."""
    return bounded(visible(" ".join(_readable(text, most).split())), most)


def many_lines(text: str, most: int = LONGEST_TEXT) -> str:
    """As `one_line`, but line ends and white space stay."""
    return bounded(visible_lines(_readable(text, most)), most)


def without_secrets(text: str, most: int = LONGEST_TEXT) -> str:
    """The text as it is, but for secrets, and cut to so many characters: for documents, which are shown elsewhere."""
    return bounded(_readable(text, most), most)


def said(value: object) -> object:
    """The same JSON-able value, each text in it as `many_lines` has it."""
    if isinstance(value, str):
        return many_lines(value)
    if isinstance(value, dict):
        return {key: said(each) for key, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(said, value))  # type: ignore[call-arg, call-overload]
    return value


def _readable(text: str, most: int) -> str:
    # No more than can be shown is looked through; a secret that is cut in two here is behind what is shown.
    return redacted(text[: most + LONGEST_SECRET])
