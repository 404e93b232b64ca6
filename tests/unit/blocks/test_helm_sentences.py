"""What helm says, and whether it may say otherwise soon."""

from __future__ import annotations

from pathlib import Path

import pytest

from blocks.errors import HelmNotFound, HelmRejected, HelmUnreachable, PipelineError, Transient
from blocks.helm.client import HelmClient
from blocks.helm.command import HelmCommand
from blocks.helm.sentences import error_of, kind_of, rows

_FIRST = "kubernetes cluster unreachable: "


# As Helm 4.1.4 printed it to a server that gave that answer, and on a real cluster.
@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (_FIRST + "the server has asked for the client to provide credentials", "credentials"),
        (
            _FIRST + 'Get "https://a/version": tls: failed to verify certificate: x509: certificate signed by unknown authority',
            "certificate",
        ),
        (_FIRST + "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time …", "certificate"),
        (_FIRST + "tls: failed to verify certificate: x509: certificate is valid for 10.9.9.9, not 127.0.0.1", "certificate"),
        (_FIRST + "unable to parse the server version: invalid character '<' looking for beginning of value", "no-api-server"),
        (
            "the server was unable to return a response in the time allotted, but may still be processing the request (get secrets)",
            "slow",
        ),
        ("UPGRADE FAILED: the server is currently unable to handle the request (patch deployments.apps tiny)", "slow"),
        (_FIRST + "the server has received too many requests and has asked us to try again later", "slow"),
        (_FIRST + 'an error on the server ("bad gateway") has prevented the request from succeeding', "slow"),
        ('Internal error occurred: failed calling webhook "policy": failed to call webhook: connection refused', "slow"),
        (
            'UPGRADE FAILED: update: failed to update: Put "https://10.0.0.1/api/v1/namespaces/a/secrets/b": http2: client connection lost',
            "unreachable",
        ),
        ('UPGRADE FAILED: update: failed to update: Put "https://10.0.0.1/api/v1/namespaces/a/secrets/b": EOF', "unreachable"),
        (_FIRST + 'Get "https://a/version": dial tcp: lookup a on 10.0.0.53:53: no such host', "unreachable"),
        (_FIRST + "unknown", "unreachable"),
        (
            'secrets "x" is forbidden: unable to create new content in namespace a because it is being terminated',
            "terminating",
        ),
        ('secrets is forbidden: User "u" cannot list resource "secrets" in API group "" in the namespace "a"', "refused"),
        ("values don't meet the specifications of the schema(s) in the following chart(s)", "refused"),
        ('Deployment.apps "d" is invalid: spec.selector: Required value', "refused"),
        # what a webhook says of its own is no word of Kubernetes
        ('admission webhook "images" denied the request: image not found; connection refused, context deadline exceeded', "refused"),
        ("UPGRADE FAILED: Unauthorized", "credentials"),
        ("failed to create resource: Internal error occurred: resource quota evaluation timed out", "slow"),
        ("client rate limiter Wait returned an error: rate: Wait(n=1) would exceed context deadline", "slow"),
        ('Get "https://a/version": Gateway Timeout', "slow"),
        ('Get "https://a/version": dial tcp: lookup a on 10.0.0.53:53: server misbehaving', "unreachable"),
        ("something that nobody has seen yet", None),
    ],
)
def test_the_words_of_helm_are_known_for_what_they_are(said: str, kind: str | None) -> None:
    error = error_of(kind_of(said), said)

    assert kind_of(said) == kind
    assert isinstance(error, Transient) is (kind in ("slow", "unreachable"))
    assert isinstance(error, (HelmRejected, HelmUnreachable))
    assert said in error.message


def test_what_is_final_says_what_to_do() -> None:
    assert "revoked or has expired, so renew it" in error_of("credentials", "401").message
    assert "renew the kubeconfig" in error_of("certificate", "x509").message
    assert "wait until it is gone" in error_of("terminating", "…").message
    assert "check the kubeconfig's address" in error_of("no-api-server", "<html>").message


def test_words_that_are_not_known_are_said_to_be_so() -> None:
    assert "not known" in error_of(None, "a riddle").message
    assert "not known" not in error_of("refused", "is invalid").message


STALE_METRICS = (
    'E1201 memcache.go:265] "Unhandled Error" err="metrics.k8s.io/v1beta1: the server is currently unable to handle the request"\n'
)


@pytest.mark.parametrize(
    ("status", "stderr", "error", "said"),
    [
        # a warning before it is not why it ended
        (1, STALE_METRICS + 'Error: UPGRADE FAILED: Deployment.apps "d" is invalid: spec', HelmRejected, "refused: UPGRADE FAILED: Deploy"),
        (1, STALE_METRICS + "Error: release: not found", HelmNotFound, "release: not found"),
        # nor does it end with the last "Error: " that it quotes
        (
            1,
            'Error: admission webhook "a" denied the request: \nError: no such label\n',
            HelmRejected,
            'webhook "a" denied the request: Error: no',
        ),
        (-9, "", HelmUnreachable, "killed by signal 9"),
        (-15, STALE_METRICS, HelmUnreachable, "killed by signal 15"),
        (2, "\n", HelmRejected, "exit code 2 and did not say why"),
        (2, "panic: runtime error", HelmRejected, "panic: runtime error"),
    ],
)
def test_how_helm_ends_is_read_from_its_last_word_alone(
    status: int, stderr: str, error: type[PipelineError], said: str, tmp_path: Path
) -> None:
    (tmp_path / "stderr").write_text(stderr)
    end = f"kill -{-status} $$" if status < 0 else f"exit {status}"
    helm = tmp_path / "helm"
    helm.write_text(f"#!/bin/sh\ncat {tmp_path}/stderr >&2\n{end}\n")
    helm.chmod(0o755)

    with pytest.raises(error) as told:
        HelmCommand(executable=str(helm), kubeconfig=None, context=None, timeout_seconds=10).run("list")

    assert type(told.value) is error
    assert said in told.value.message


def test_a_manifest_is_read_as_kubernetes_reads_it(tmp_path: Path) -> None:
    helm = tmp_path / "helm"
    helm.write_text("#!/bin/sh\necho '{a: =, b: 2026-12-01, c: 2001-12-14 21:59:43.10 -5, d: 1, e: true, g: <<}\n---\n---\nf: \"=\"'\n")
    helm.chmod(0o755)
    command = HelmCommand(executable=str(helm), kubeconfig=None, context=None, timeout_seconds=10)

    first, second = HelmClient(command, tmp_path, 1.0).manifest("a", "b")

    assert first == {"a": "=", "b": "2026-12-01", "c": "2001-12-14 21:59:43.10 -5", "d": 1, "e": True, "g": "<<"}
    assert second == {"f": "="}


def test_each_row_has_a_source_and_none_is_hidden_by_one_before_it() -> None:
    for number, row in enumerate(rows()):
        assert row.source
        assert kind_of(row.words) == row.kind
        assert not any(before.words in row.words for before in rows()[:number])
