"""Prefect's settings as they are found without Prefect: the same as Prefect finds, wherever they are set."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from prefect.settings.models.root import Settings

from flows.errors import SpecInvalid
from flows.runtime.prefect_settings import PrefectSettings, prefect_settings

PROFILES = """
active = "here"
[profiles.here]
PREFECT_API_URL = "http://profile:4200/api"
PREFECT_API_KEY = "key of the profile"
PREFECT_CLIENT_CUSTOM_HEADERS = '{"X-Team": "models"}'
[profiles.there]
PREFECT_API_URL = "https://there/api"
PREFECT_API_AUTH_STRING = "admin:secret"
PREFECT_API_TLS_INSECURE_SKIP_VERIFY = "true"
"""

TOML = """
[api]
url = "http://toml:4200/api"
tls_insecure_skip_verify = true
request_timeout = 7.5
[client]
max_retries = 2
custom_headers = { "X-Team" = "toml" }
"""

FILES = {
    "home/profiles.toml": PROFILES,
    "elsewhere.toml": PROFILES.replace("http://profile", "http://elsewhere"),
    ".env": "PREFECT_API_URL=http://dotenv:4200/api\nexport PREFECT_API_SSL_CERT_FILE='/ca.pem'\n",
    "prefect.toml": TOML,
    "pyproject.toml": '[project]\nname = "x"\n[tool.prefect.api]\nurl = "http://pyproject/api"\nauth_string = "user:word"\n',
}

VARIABLES = {
    "PREFECT_API_URL": "http://variable:4200/api",
    "prefect_api_key": "key of a variable",
    "PREFECT_API_TLS_INSECURE_SKIP_VERIFY": "1",
    "PREFECT_API_SSL_CERT_FILE": "/authorities.pem",
    "PREFECT_API_REQUEST_TIMEOUT": "3",
    "PREFECT_CLIENT_MAX_RETRIES": "0",
    "PREFECT_CLIENT_CUSTOM_HEADERS": '{"X-Team": "variable"}',
}


def as_prefect_finds_them() -> PrefectSettings:
    found = Settings()
    key, auth = found.api.key, found.api.auth_string
    return PrefectSettings(
        api_url=found.api.url,
        api_key=key.get_secret_value() if key else None,
        api_auth_string=auth.get_secret_value() if auth else None,
        api_ssl_cert_file=found.api.ssl_cert_file,
        api_tls_insecure_skip_verify=found.api.tls_insecure_skip_verify,
        api_request_timeout=found.api.request_timeout,
        client_max_retries=found.client.max_retries,
        client_custom_headers=found.client.custom_headers,
    )


@pytest.fixture
def nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, where nothing of this machine's settings is seen."""
    for name in os.environ:
        if name.upper().startswith("PREFECT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("files", "variables", "url"),
    [
        ([], {}, None),
        ([], VARIABLES, "http://variable:4200/api"),
        (["home/profiles.toml"], {}, "http://profile:4200/api"),
        (["home/profiles.toml"], VARIABLES, "http://variable:4200/api"),
        (["home/profiles.toml"], {"PREFECT_PROFILE": "there"}, "https://there/api"),
        (["home/profiles.toml"], {"PREFECT_PROFILE": "nowhere"}, None),
        (["home/profiles.toml"], {"PREFECT_API_URL": ""}, ""),
        (["home/profiles.toml", "elsewhere.toml"], {"PREFECT_PROFILES_PATH": "elsewhere.toml"}, "http://elsewhere:4200/api"),
        (["home/profiles.toml", "pyproject.toml"], {}, "http://pyproject/api"),
        (["home/profiles.toml", "pyproject.toml", "prefect.toml"], {}, "http://toml:4200/api"),
        (["home/profiles.toml", "pyproject.toml", "prefect.toml", ".env"], {}, "http://dotenv:4200/api"),
        (list(FILES), VARIABLES, "http://variable:4200/api"),
    ],
)
def test_they_are_what_prefect_finds(
    nothing_set: Path, monkeypatch: pytest.MonkeyPatch, files: list[str], variables: dict[str, str], url: str
) -> None:
    for name in files:
        path = nothing_set / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(FILES[name])
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert prefect_settings() == as_prefect_finds_them()
    assert prefect_settings().api_url == url


@pytest.mark.parametrize(
    ("variables", "content", "said"),
    [
        ({"PREFECT_API_TLS_INSECURE_SKIP_VERIFY": "perhaps"}, "", "PREFECT_API_TLS_INSECURE_SKIP_VERIFY is 'perhaps': it must be true"),
        ({"PREFECT_API_REQUEST_TIMEOUT": "long"}, "", "PREFECT_API_REQUEST_TIMEOUT is 'long': it must be a number"),
        ({"PREFECT_CLIENT_CUSTOM_HEADERS": "hunter2"}, "", "PREFECT_CLIENT_CUSTOM_HEADERS must be a JSON object"),
        ({}, "[profiles", "Prefect's settings cannot be read from"),
    ],
)
def test_what_cannot_be_read_is_a_sentence(
    nothing_set: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], content: str, said: str
) -> None:
    (nothing_set / "home").mkdir()
    (nothing_set / "home" / "profiles.toml").write_text(content)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SpecInvalid) as refused:
        prefect_settings()

    assert refused.value.message.startswith(said)
    assert "hunter2" not in refused.value.message


def test_secrets_are_not_shown() -> None:
    shown = repr(PrefectSettings(api_key="hunter2", api_auth_string="hunter3", client_custom_headers={"X-Token": "hunter4"}))

    assert "hunter" not in shown
