"""Where Prefect's API is and how it is asked, found as Prefect itself finds it, without importing it: that takes more than a second."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from blocks.strict_json import finite
from flows.errors import SpecInvalid

#: A setting's place in Prefect's own tree; `PREFECT_API_URL` is `("api", "url")`.
_URL = ("api", "url")
_KEY = ("api", "key")
_AUTH_STRING = ("api", "auth_string")
_SSL_CERT_FILE = ("api", "ssl_cert_file")
_SKIP_VERIFY = ("api", "tls_insecure_skip_verify")
_TIMEOUT = ("api", "request_timeout")
_MAX_RETRIES = ("client", "max_retries")
_HEADERS = ("client", "custom_headers")

_PLACES = (_URL, _KEY, _AUTH_STRING, _SSL_CERT_FILE, _SKIP_VERIFY, _TIMEOUT, _MAX_RETRIES, _HEADERS)

_Place = tuple[str, str]

#: What pydantic takes for yes and for no.
_YES = {"1", "on", "t", "true", "y", "yes"}
_NO = {"0", "off", "f", "false", "n", "no"}


@dataclass(frozen=True, kw_only=True)
class PrefectSettings:
    """Those of Prefect's settings that a request to its API needs, under Prefect's names.

    Attributes:
        api_url: The API; none where the settings name no server.
        api_key: Sent as a bearer token; a secret.
        api_auth_string: Sent as user and password instead; a secret.
        api_ssl_cert_file: The certificate authorities to trust; none for certifi's.
        api_tls_insecure_skip_verify: Whether the server's certificate is not looked at.
        api_request_timeout: How long one request may take, in seconds.
        client_max_retries: How often a request is repeated that the server turned away.
        client_custom_headers: Sent along with every request; may hold secrets.
    """

    api_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    api_auth_string: str | None = field(default=None, repr=False)
    api_ssl_cert_file: str | None = None
    api_tls_insecure_skip_verify: bool = False
    api_request_timeout: float = 60.0
    client_max_retries: int = 5
    client_custom_headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def prefect_settings() -> PrefectSettings:
    """The settings of this process: by environment variables, `.env`, `prefect.toml`, `pyproject.toml` and the profile, in this order.

    Raises:
        SpecInvalid: One of them cannot be read; the message names it.
    """
    sources = list(_sources())

    def value(place: _Place) -> Any:
        return next((source[place] for source in sources if source.get(place) is not None), None)

    def text(place: _Place) -> str | None:
        return None if value(place) is None else str(value(place))

    return PrefectSettings(
        api_url=text(_URL),
        api_key=text(_KEY),
        api_auth_string=text(_AUTH_STRING),
        api_ssl_cert_file=text(_SSL_CERT_FILE) or os.environ.get("SSL_CERT_FILE"),
        api_tls_insecure_skip_verify=_flag(_SKIP_VERIFY, text(_SKIP_VERIFY)),
        api_request_timeout=_number(_TIMEOUT, text(_TIMEOUT), 60.0),
        client_max_retries=int(_number(_MAX_RETRIES, text(_MAX_RETRIES), 5)),
        client_custom_headers=_headers(value(_HEADERS)),
    )


def require_address(url: str | None) -> None:
    """Refuse an address of Prefect's API at which nothing could be asked; Prefect's own client ends in a traceback over one.

    Raises:
        SpecInvalid: It is no address.
    """
    try:
        parts = urlsplit(url or "http://nowhere")
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and (url or "").isprintable()
        str(url).encode("ascii")
    except ValueError:
        usable = False
    if not usable:
        raise SpecInvalid(f"{_variable(_URL)} is {url!r}, which is no address: it looks like http://127.0.0.1:4200/api.")


def _sources() -> Iterator[Mapping[_Place, Any]]:
    """What each source says, the strongest first."""
    dotenv, prefect_toml = _dotenv(), _toml(Path("prefect.toml"))
    pyproject = _toml(Path("pyproject.toml")).get("tool", {}).get("prefect", {})
    # Prefect takes the names in either case.
    yield _by_variable({name.upper(): value for name, value in os.environ.items()})
    yield _by_variable(dotenv)
    for tree in (prefect_toml, pyproject):
        yield {place: tree.get(place[0], {}).get(place[1]) for place in _PLACES}
    named = os.environ.get("PREFECT_PROFILES_PATH") or dotenv.get("PREFECT_PROFILES_PATH")
    named = named or prefect_toml.get("profiles_path") or pyproject.get("profiles_path")
    home = os.environ.get("PREFECT_HOME")
    yield _by_variable(_profile(Path(named) if named else Path(home or Path.home() / ".prefect") / "profiles.toml"))


def _by_variable(variables: Mapping[str, Any]) -> Mapping[_Place, Any]:
    return {place: variables.get(_variable(place)) for place in _PLACES}


def _profile(path: Path) -> Mapping[str, Any]:
    """The settings of the active profile; none where there is no such profile: Prefect's own default names no server."""
    known = _toml(path)
    active = os.environ.get("PREFECT_PROFILE") or known.get("active")
    found = known.get("profiles", {}).get(active, {})
    return found if isinstance(found, dict) else {}


def _dotenv() -> Mapping[str, str | None]:
    if not Path(".env").is_file():
        return {}
    from dotenv import dotenv_values  # what Prefect reads it with

    return {name.upper(): value for name, value in dotenv_values(".env").items()}


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise SpecInvalid(f"Prefect's settings cannot be read from {path}: {getattr(exc, 'strerror', None) or exc}.") from exc


def _variable(place: _Place) -> str:
    return "_".join(("prefect", *place)).upper()


def _flag(place: _Place, value: str | None) -> bool:
    if value is None or value.lower() in _NO:
        return False
    if value.lower() in _YES:
        return True
    raise SpecInvalid(f"{_variable(place)} is {value!r}: it must be true or false.")


def _number(place: _Place, value: str | None, default: float) -> float:
    try:
        return default if value is None else finite(float(value))
    except ValueError as exc:
        raise SpecInvalid(f"{_variable(place)} is {value!r}: it must be a number.") from exc


def _headers(value: Any) -> Mapping[str, str]:
    try:
        found = json.loads(value) if isinstance(value, str) else value or {}
        return {str(name): str(each) for name, each in found.items()}
    except (ValueError, AttributeError) as exc:  # without the value: it may hold a secret
        raise SpecInvalid(f"{_variable(_HEADERS)} must be a JSON object of names and values.") from exc
