"""Somebody who uses the model all the while, through the reference router: how many requests were refused or answered wrongly."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

import httpx

#: Between two requests, in seconds.
PAUSE_SECONDS = 0.2

PROMPT = "The capital of Japan is"


class Traffic:
    """Asks the router until it is closed; use it as a context manager.

    Args:
        url: The router.
        model: The model's name.
        known: The texts that are right answers: the candidate's that served at the beginning, and the one's that is to serve.
    """

    def __init__(self, url: str, model: str, known: set[str]) -> None:
        self._url = url
        self._model = model
        self._known = known
        self._refused: list[str] = []
        self._wrong: list[str] = []
        self.asked = 0
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="traffic", daemon=True)

    @property
    def refused(self) -> tuple[str, ...]:
        """What was said instead of an answer, with the time since the beginning."""
        return tuple(self._refused)

    @property
    def wrong(self) -> tuple[str, ...]:
        """Answers that none of the candidates gives."""
        return tuple(self._wrong)

    def _ask(self) -> None:
        begin = time.monotonic()
        body = {"model": self._model, "prompt": PROMPT, "max_tokens": 8, "temperature": 0}
        with httpx.Client(timeout=20, trust_env=False) as client:
            while not self._enough.wait(PAUSE_SECONDS):
                self.asked += 1
                when = f"after {time.monotonic() - begin:.1f} s"
                try:
                    answer = client.post(f"{self._url}/v1/completions", json=body)
                except httpx.HTTPError as exc:
                    self._refused.append(f"{when}: {type(exc).__name__}: {exc}")
                    continue
                if answer.status_code != 200:
                    self._refused.append(f"{when}: {answer.status_code} {answer.text[:200]}")
                elif (text := answer.json()["choices"][0]["text"]) not in self._known:
                    self._wrong.append(f"{when}: {text!r}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self._enough.set()
        self._thread.join(30)
