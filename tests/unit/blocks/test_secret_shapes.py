"""What looks like a secret is taken out wherever it stands, what does not stays, and no text takes long."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import RegistryRejected, RolloutStalled
from blocks.secret_shapes import looks_secret, redacted
from tests.support.examples import digest

CANARY = "canaryQ7x9Z"

LEAKS = [
    f"postgresql://slipway:{CANARY}@db/registry",
    f"postgresql://slipway:{CANARY}@more@db/registry",
    f"postgresql://slipway:a/{CANARY}?b@db:5432/registry",
    f"postgresql://me@example.org:{CANARY}@db/registry",
    f"redis://:{CANARY}@cache:6379/0",
    f"https://user:{CANARY}@hub.example/v1",
    f"https://{CANARY}@hub.example/v1",
    f"ssh://git:{CANARY}@git.example/repo",
    f"host=db password={CANARY} port=5432",
    f"host=db password='with {CANARY} spaces'",
    f"HF_TOKEN={CANARY}",
    f"export HF_TOKEN={CANARY}",
    f"HF_TOKEN: {CANARY}",
    f"--api-key {CANARY}",
    f"--api-key={CANARY}",
    f"['vllm', 'serve', '--api-key', '{CANARY}']",
    f"--hf-token {CANARY}",
    f"non-default args: {{'api_key': ['{CANARY}'], 'hf_token': '{CANARY}'}}",
    f"api_key=['first', '{CANARY}']",
    f"AWS_SECRET_ACCESS_KEY={CANARY}",
    f"https://cdn.example/x?access_token={CANARY}&next=1",
    f"https://cdn.example/x?X-Amz-Security-Token={CANARY}",
    f"https://cdn.example/x?Expires=1&Signature={CANARY}",
    f"grant_type=x&client_secret={CANARY}",
    f'{{"clientSecret": "{CANARY}"}}',
    f'{{"password": "quoted \\" {CANARY}"}}',
    f"PREFECT_API_AUTH_STRING=admin:{CANARY}",
    f"PGPASSWORD={CANARY}",
    f"db_passwd = {CANARY}",
    f"x-api-key: {CANARY}",
    f"PRIVATE-TOKEN: {CANARY}",
    f"Authorization: Bearer {CANARY}",
    f"authorization: Basic dXNlcjpwYXNz{CANARY}",
    f"Bearer {CANARY}",
    f"Set-Cookie: session={CANARY}",
    f"otpauth://totp/x?secret={CANARY}&issuer=Slipway",
    f"hf_{CANARY}",
    f"ghp_{CANARY}",
    f"github_pat_{CANARY}",
    f"slipway_{'x' * 32}{CANARY}",
    f"glpat-{CANARY}",
    f"sk-{CANARY}",
    f"sk-proj-{CANARY}",
    f"xoxb-{CANARY}",
    f"https://hooks.slack.com/services/{CANARY}",
    f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx.{CANARY}",
    f"-----BEGIN OPENSSH PRIVATE KEY-----\n{CANARY}\n-----END OPENSSH PRIVATE KEY-----",
    f"-----BEGIN PRIVATE KEY-----\\n{CANARY}",
    f"host=db password=with\\ {CANARY} port=5432",
    f'{{"error": "{{\\"access_token\\": \\"{CANARY}\\"}}"}}',
    f'{{"auths": {{"registry.example": {{"auth": "dXNlcjpw{CANARY}"}}}}}}',
    f"Headers([('x-api-key', '{CANARY}')])",
    f"[(b'Authorization', b'{CANARY}')]",
    f"{{b'x-api-key': b'with {CANARY}'}}",
    f"curl -u user:{CANARY} https://hub.example",
    f"curl --user user:{CANARY} https://hub.example",
    f"env:\n  - name: HF_TOKEN\n    value: {CANARY}",
    f'{{"name": "HF_TOKEN", "value": "{CANARY}"}}',
    f"V1EnvVar(name='HF_TOKEN', value='{CANARY}', value_from=None)",
    f"{{'name': 'HF_TOKEN', 'value': '{CANARY}', 'value_from': None}}",
    f"  token: |\n    {CANARY}\n    {CANARY}\n",
    repr(f"token: |\n  {CANARY}\n"),
    repr(f"- name: HF_TOKEN\n  value: {CANARY}"),
    f"client-key-data: {CANARY}",
    f"https://blob.example/x?sv=1&sig={CANARY}&se=2",
    f"DB_PASS={CANARY}",
    f"GITHUB_PAT={CANARY}",
    f"SECRET_KEY_BASE={CANARY}",
    f"passwords: ['{CANARY}']",
    f"Authorization: ApiKey {CANARY}",
    f"Authorization%3A%20Bearer%20{CANARY}",
    f"next=x%3Faccess_token%3D{CANARY}",
    f"password := {CANARY}",
    f":password => '{CANARY}'",
    f"login user password {CANARY}",
    f"https:\\/\\/user:{CANARY}@hub.example",
    f"https%3A%2F%2Fuser%3A{CANARY}%40hub.example",
    f"\\nhf_{CANARY}",
    f"%20ghp_{CANARY}",
    f"\x1b[31msk-{CANARY}",
]

INNOCENT = [
    digest("x"),
    f"sha256:{digest('x')}",
    f"registry.example:5000/vllm/vllm-openai@sha256:{digest('x')}",
    f"oci://registry.example:5000/charts/vllm@sha256:{digest('x')}",
    f"2026-01-01 00:00:00+00:00 https://git.example/a/b.git {digest('x')[:40]}",
    "0f0f0f0f-0000-4000-8000-000000000000",
    "git@github.com:organisation/repository.git",
    "ssh://git@git.example/a/b.git",
    "http://127.0.0.1:4200/api",
    "https://registry.npmjs.org/@scope/package",
    "hf_overrides=None, hf_transfer, hf_text_config",
    "max_tokens=512 completion_tokens: 12 token_ids: [1, 2] tokenizer: llama",
    "differs at token 3",
    "set a token that may write there",
    "Basic authentication is off",
    "the bearer of this",
    "secretName: slipway-hub, token_secret: none",
    "environments/staging.yaml: prefetch.token_secret: must be a DNS label",
    "environments/staging.yaml: engine.api_key: is missing",
    "disk-pressure-task-1234567",
    "docker run --user 1000:1000 -u root",
    "name: HF_HOME, value: /cache, sort: key",
    "pass: 3, fail: 0, second_pass: 2, auth: none, sig: 1, compat: yes",
    "('tokens', 'text'), name='token' missing",
    "you login with a password",
    "tiny-llama-staging-vllm.llm-staging.svc.cluster.local:8000",
]


@pytest.mark.parametrize("text", LEAKS)
def test_what_looks_like_a_secret_is_taken_out(text: str) -> None:
    shown = redacted(f"it said {text}")

    assert CANARY not in shown
    assert shown.startswith("it said ")
    assert redacted(shown) == shown


@pytest.mark.parametrize("text", [text for text in INNOCENT if "secretName" not in text] + ["secretName and token_secret"])
def test_what_does_not_look_like_one_stays(text: str) -> None:
    assert redacted(text) == text
    assert looks_secret(text) is None


@pytest.mark.parametrize("text", [text for text in LEAKS if not text.startswith(("host=", "export"))])
def test_errors_do_not_say_one(text: str) -> None:
    error = RegistryRejected(f"it said {text}", evidence=[text], place={"line": text})

    assert CANARY not in f"{error} {error.message} {error.args} {error.facts}"


def test_an_error_is_one_sentence_of_bounded_length_without_what_commands_a_terminal() -> None:
    error = RolloutStalled("one\ntwo \x1b]0;title\x07 " + "x" * 30_000_000, evidence=["\x1b[31mred\x00", "a\nb"])

    assert error.message.startswith("one two ␛]0;title␇ xxx")
    assert len(error.message) == 4000
    assert error.facts == {"evidence": ["␛[31mred␀", "a\nb"]}


@given(st.text(max_size=400))
def test_taking_out_twice_is_taking_out_once(text: str) -> None:
    assert redacted(redacted(text)) == redacted(text)


@pytest.mark.parametrize(
    "unit",
    [
        *("a", "://x:", "://a:@", "https://", "hf_", "sk-", "eyJ", "eyJaaaaaaaaaaa.", "-----BEGIN PRIVATE KEY-----", "bearer ", "basic a"),
        *("token=", "token ", "token=[", "password='", "cookie:", "aT", "a.b-c+", "-", "--", "--a-b-"),
        *("name: a", "name: token,", "token: |\n a", "('token", "-u a", "login a ", "%3A%2F%2Fa%3A", "\\ ", "token=\\ "),
    ],
)  # fmt: skip
def test_no_text_takes_long(unit: str) -> None:
    def seconds(length: int) -> float:
        begin = time.process_time()
        redacted((unit * length)[:length])
        return time.process_time() - begin

    small, large = 2_000, 16_000
    # Eight times as long takes eight times as long, and not sixty-four times; a machine's noise is allowed for.
    assert seconds(large) < max(0.3, 24 * seconds(small))
