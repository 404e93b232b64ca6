"""Who a proxy with a sign-in of its own says that somebody is."""

from __future__ import annotations

import hmac

from fastapi import Request

from flows.console.settings import ConsoleSettings

#: What the proxy sends; it must take these out of what clients send.
USER, GROUPS, SECRET = "X-Forwarded-User", "X-Forwarded-Groups", "X-Slipway-Proxy-Secret"  # a header's name


def told_by_proxy(request: Request, settings: ConsoleSettings) -> tuple[str, tuple[str, ...]] | None:
    """Who it is, and their groups; none unless a configured address says so, and proves by the secret that it is the proxy.

    The address alone would do for anybody else on that machine, the secret alone for anybody whom it was told.
    """
    peer = request.client.host if request.client is not None else ""
    if settings.proxy_secret is None or not settings.is_proxy(peer):
        return None
    secrets, names, listed = (request.headers.getlist(each) for each in (SECRET, USER, GROUPS))
    # Once each: of two, a proxy in between and we might not mean the same, and one of them may be what a client sent.
    if len(secrets) != 1 or len(names) != 1 or len(listed) > 1:
        return None
    if not hmac.compare_digest(secrets[0].encode("latin-1"), settings.proxy_secret.encode()):
        return None
    try:  # as bytes, headers have no encoding of their own; a proxy writes UTF-8
        name, said = (text.encode("latin-1").decode().strip() for text in (names[0], "".join(listed)))
    except UnicodeDecodeError:
        return None
    if not 2 <= len(name) <= 100 or not name.isprintable():
        return None
    return name, tuple(each.strip() for each in said.split(",") if each.strip())[:200]
