"""The byte-level tokenizer that `tokenizer.json` describes: one token for each byte, and special tokens.

Not emulated: merges, normalisers and post-processors; a file that has any is refused.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def byte_characters() -> dict[int, str]:
    """Return the printable character that byte-level tokenizer files write for each byte.

    Bytes that are printable in Latin-1 stand for themselves; the others get the code points from 256 on, in order.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) if byte in printable else chr(256 + others.index(byte)) for byte in range(256)}


class Tokenizer:
    """Text to tokens and back.

    Args:
        document: The parsed `tokenizer.json`.

    Raises:
        ValueError: The file is not of the kind that this module understands.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        model = document.get("model") or {}
        if model.get("type") != "BPE" or model.get("merges") or document.get("normalizer") or document.get("post_processor"):
            raise ValueError("tokenizer.json is not a plain byte-level tokenizer")
        vocabulary = model.get("vocab") or {}
        try:
            self._byte_to_token = [int(vocabulary[character]) for _, character in sorted(byte_characters().items())]
        except KeyError as exc:
            raise ValueError(f"tokenizer.json has no token for the byte written {exc}") from exc
        self._special = {str(entry["content"]): int(entry["id"]) for entry in document.get("added_tokens") or []}
        self._bytes = {token: bytes([byte]) for byte, token in enumerate(self._byte_to_token)}
        self._special_names = {token: name for name, token in self._special.items()}
        names = sorted(self._special, key=len, reverse=True)
        self._split = re.compile("(" + "|".join(map(re.escape, names)) + ")") if names else None

    @property
    def size(self) -> int:
        """The number of tokens that text can hold."""
        return len(self._bytes) + len(self._special)

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text; names of special tokens become those tokens."""
        pieces = self._split.split(text) if self._split else [text]
        tokens: list[int] = []
        for piece in pieces:
            special = self._special.get(piece)
            if special is not None:
                tokens.append(special)
            else:
                tokens += [self._byte_to_token[byte] for byte in piece.encode("utf-8", "replace")]
        return tokens

    def bytes_of(self, token: int, *, skip_special: bool = True) -> bytes:
        """Return the bytes of one token: nothing for a special one unless asked, nor for a number without a meaning."""
        if token in self._special_names:
            return b"" if skip_special else self._special_names[token].encode()
        return self._bytes.get(token, b"")

    def token_of(self, byte: int) -> int:
        """Return the token of a byte."""
        return self._byte_to_token[byte]

    def name(self, token: int) -> str:
        """Return how log-probability answers name a token: its text, or `bytes:\\xNN` where it is no text by itself."""
        raw = self.bytes_of(token, skip_special=False)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)

    def decode(self, tokens: Iterable[int], *, skip_special: bool = True) -> str:
        """Return the text of tokens; bytes that are no UTF-8 become replacement characters."""
        return b"".join(self.bytes_of(token, skip_special=skip_special) for token in tokens).decode("utf-8", "replace")

    def special(self, name: str) -> int | None:
        """Return the token of a special name, None where there is none."""
        return self._special.get(name)

    def unknown(self, tokens: Sequence[int]) -> int | None:
        """Return the first number that is no token, None if all are."""
        return next((token for token in tokens if token not in self._bytes and token not in self._special_names), None)


class TextStream:
    """Decodes tokens one at a time, holding back bytes until they make a character."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """Return the text that became complete with this token."""
        return self._decoder.decode(self._tokenizer.bytes_of(token))

    def close(self) -> str:
        """Return what was held back, as a replacement character."""
        return self._decoder.decode(b"", final=True)
