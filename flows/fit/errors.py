"""Why a model's memory cannot be told: sentences for people. Plain exceptions, which the rooms above turn into refusals."""

from __future__ import annotations


class Unreadable(ValueError):
    """A configuration says nonsense, or not enough; the message is one sentence."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Unknown(Unreadable):
    """A configuration says something that is not known here, and that may change what the model takes.

    Attributes:
        keys: What is not known: keys of the file, or the architecture.
    """

    def __init__(self, message: str, keys: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.keys = keys
