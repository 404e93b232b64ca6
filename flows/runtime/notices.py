"""Tells others what happened, as Prefect's events: automations make messages of them, for chats that each have a markup of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping

from prefect.events import emit_event

from blocks.wording import one_line

#: Longest text that a message quotes, in characters.
LONGEST = 300

#: What chats and mail programs make mentions, links and markup of → what looks like it and is none.
_LOOKALIKES = str.maketrans({"<": "‹", ">": "›", "&": "＆", "@": "＠", "[": "［", "]": "］", "`": "ˋ", "*": "∗", "~": "∼", "|": "∣"})


def tell(event: str, payload: Mapping[str, str], *, about: str, name: str, environment: str | None = None) -> None:
    """Emit an event of a run. A copy: the registry's row is the record.

    Args:
        event: Its name, `slipway.…`.
        payload: What messages may quote, as text that means nothing to a chat; `run` is the flow run.
        about: The id of what it is about.
        name: How people call that.
        environment: Where, for automations that match on it.
    """
    emit_event(
        event=event,
        resource={
            "prefect.resource.id": about,
            "prefect.resource.name": quoted(name),
            **({"slipway.environment": environment} if environment is not None else {}),
        },
        related=[{"prefect.resource.id": f"prefect.flow-run.{payload['run']}", "prefect.resource.role": "flow-run"}],
        payload={key: quoted(text) for key, text in payload.items()},
    )


def quoted(text: str) -> str:
    """Text for a message in any chat: one line, with an end, that mentions nobody, links nowhere and forms nothing."""
    line = one_line(text, LONGEST).translate(_LOOKALIKES)
    return re.sub(r"(?i)(?<=\w)://", ":／／", re.sub(r"(?i)(?<=www)\.", "․", line))
