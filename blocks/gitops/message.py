"""What a commit says, and the proposal to merge it: put together at the last moment, so that what people gave stays what people gave."""

from __future__ import annotations

from dataclasses import dataclass

from blocks.wording import one_line

#: Longest line of a message, in characters.
_LONGEST = 500


@dataclass(frozen=True, kw_only=True)
class CommitMessage:
    """A subject, what it is about, and trailers that programs read (`git interpret-trailers`).

    Attributes:
        subject: The first line, and the title of a pull request.
        reason: What a person gave as the reason; it is quoted, so that no line of it passes for a trailer.
        about: What it is about, on a line of its own.
        trailers: Names of ours, and values; one without a value is left out.
    """

    subject: str
    reason: str = ""
    about: str = ""
    trailers: tuple[tuple[str, str], ...] = ()

    def text(self) -> str:
        """The message as Git keeps it."""
        paragraphs = [one_line(self.subject, _LONGEST)]
        paragraphs += [f"> {one_line(self.reason, _LONGEST)}"] if self.reason.strip() else []
        paragraphs += [one_line(self.about, _LONGEST)] if self.about else []
        paragraphs += ["\n".join(f"{name}: {one_line(value, _LONGEST)}" for name, value in self.trailers if value)]
        return "\n\n".join(paragraph for paragraph in paragraphs if paragraph) + "\n"

    def title(self) -> str:
        """The title of a pull request."""
        return one_line(self.subject, _LONGEST)

    def description(self) -> str:
        """The text of a pull request, which forges render as Markdown: the rest of the message, as a block of code."""
        return "\n".join(f"    {line}".rstrip() for line in self.text().splitlines()[2:])
