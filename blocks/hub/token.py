"""The hub's token as it can be sent; shared with the program on the nodes, and light."""

from __future__ import annotations

import re

from blocks.errors import HubRejected

#: What may stand in a header: visible ASCII.
_SENDABLE = re.compile(r"[!-~]+")


def sendable_token(text: str | None, where: str) -> str | None:
    """The token without the white space around it, such as the line end that a mounted Secret has; none if nothing is left.

    Args:
        text: What was set.
        where: Where that was, for the message; the token itself is never shown.

    Raises:
        HubRejected: It holds a character that no header can carry.
    """
    token = (text or "").strip()
    if not token:
        return None
    if not _SENDABLE.fullmatch(token):
        wrong = next(index for index, letter in enumerate(token) if not _SENDABLE.fullmatch(letter))
        raise HubRejected(
            f"The token of {where} cannot be sent: its character {wrong + 1} is white space, a control character or none of ASCII. Set it "
            "again."
        )
    return token
