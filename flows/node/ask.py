"""One completion of an engine, as the pod of `helm test` asks for it from inside the cluster; by the standard library."""

from __future__ import annotations

import http.client
import json
import time
from typing import Any
from urllib.parse import urlsplit

from blocks.errors import EndpointRejected, EndpointUnreachable

#: The longest answer that is read.
_MOST_BYTES = 1 << 20


def ask(endpoint: str, model: str, timeout_seconds: float) -> str:
    """Ask for eight tokens; return one sentence that says what came and how long it took.

    Args:
        endpoint: `http://HOST:PORT`.
        model: The name that clients send.
        timeout_seconds: How long the answer may take; an engine that compiles first takes longest.

    Raises:
        EndpointUnreachable: Nothing answered in time.
        EndpointRejected: What answered does not serve the model.
    """
    body = json.dumps({"model": model, "prompt": "Hello", "max_tokens": 8, "temperature": 0})
    began = time.monotonic()
    status, said = _post(endpoint, "/v1/completions", body, timeout_seconds)
    seconds = time.monotonic() - began
    if status != 200:
        reason = " ".join(said.decode(errors="replace").split())[:300]
        raise EndpointRejected(f"{endpoint} refused a completion of {model} with HTTP {status}: {reason or 'it gave no reason'}.")
    tokens, text = _completion(said)
    if not tokens:
        raise EndpointRejected(f"{endpoint} answered HTTP 200, but not with a completion of {model}: is vLLM behind it?")
    return f"{model} answered {tokens} token(s) in {seconds:.2f} s: {text!r}"


def _post(endpoint: str, path: str, body: str, timeout_seconds: float) -> tuple[int, bytes]:
    where = urlsplit(endpoint)
    if where.scheme != "http" or not where.hostname:
        raise EndpointRejected(f"{endpoint} is not the address of an engine: give http://HOST:PORT.")
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=timeout_seconds)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read(_MOST_BYTES)
    except (OSError, http.client.HTTPException) as exc:
        raise EndpointUnreachable(
            f"{endpoint} did not answer ({str(exc) or type(exc).__name__}): is a pod of the release ready, and do the NetworkPolicies let "
            "this one in?"
        ) from exc
    finally:
        connection.close()


def _completion(said: bytes) -> tuple[int, str]:
    """How many tokens an answer has, and its text; none if it is no completion."""
    try:
        answer: Any = json.loads(said)
        tokens, text = answer["usage"]["completion_tokens"], answer["choices"][0]["text"]
    except (ValueError, LookupError, TypeError):
        return 0, ""
    return (tokens, text) if isinstance(tokens, int) and isinstance(text, str) else (0, "")
