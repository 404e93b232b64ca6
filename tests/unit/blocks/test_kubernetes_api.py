"""The client of the API server: how long it waits, what it makes of answers, and of those that are none."""

from __future__ import annotations

import copy
import json
import pickle
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme
import urllib3

from blocks.cluster.jobs import Jobs
from blocks.cluster.pods import Pods
from blocks.errors import ClusterConflict, ClusterRejected, ClusterUnreachable
from blocks.kubeconfig import ClusterAccess
from blocks.kubernetes_api import Document, KubernetesApi, path_of, selector
from tests.support.waiting import HANGS_SECONDS

JOBS = path_of("here", "jobs", group="batch/v1")


@dataclass
class Answering:
    """A server that answers one thing, and keeps what it was asked."""

    status: int = 200
    body: bytes = b"{}"
    silent_seconds: float = 0.0
    url: str = ""
    otherwise: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, list[str]]]] = field(default_factory=list)

    def api(self, timeout_seconds: float = HANGS_SECONDS) -> KubernetesApi:
        access = ClusterAccess(host=self.url, tls=None, pool=urllib3.PoolManager(), authorization=lambda: "Bearer mine")
        return KubernetesApi(access, timeout_seconds)


@pytest.fixture
def server() -> Iterator[Answering]:
    answering = Answering()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            place = urlsplit(self.path)
            answering.asked.append((self.command, place.path, parse_qs(place.query)))
            status, body = answering.otherwise.get(place.path, (answering.status, answering.body))
            self.send_response(status)
            self.end_headers()
            time.sleep(answering.silent_seconds)
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = do_DELETE = handle_any

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        answering.url = f"http://127.0.0.1:{http.server_port}"
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield answering
        http.shutdown()


def test_a_field_is_that_of_the_api_or_none() -> None:
    pod = json.loads('{"status": {"podIP": "10.0.0.1", "conditions": [{"type": "Ready"}]}}', object_hook=Document)

    assert (pod.status.podIP, pod.status.phase, pod.spec) == ("10.0.0.1", None, None)
    assert pod.status.conditions[0].type == "Ready"
    assert copy.deepcopy(pod) == pickle.loads(pickle.dumps(pod)) == pod  # noqa: S301  # its own
    assert isinstance(copy.deepcopy(pod).status, Document)


def test_where_objects_are() -> None:
    assert path_of("here", "pods") == "/api/v1/namespaces/here/pods"
    assert path_of("here", "jobs", "one", group="batch/v1") == "/apis/batch/v1/namespaces/here/jobs/one"
    assert selector({"b": "2", "a": "1"}) == "a=1,b=2"


def test_a_wait_may_be_longer_than_a_request(server: Answering) -> None:
    server.silent_seconds, server.body = 0.4, b'{"type": "MODIFIED"}\n'
    api = server.api(timeout_seconds=0.1)

    api.remember("here", "one", "7")
    api.wait(JOBS, "here", "one", 60.0)

    query = {"watch": ["true"], "fieldSelector": ["metadata.name=one"], "timeoutSeconds": ["60"], "resourceVersion": ["7"]}
    assert server.asked == [("GET", JOBS, query)]
    # and what is no wait has its limit
    with pytest.raises(ClusterUnreachable, match="cannot be reached"):
        api.find(f"{JOBS}/one")


def test_a_version_that_is_too_old_has_changed_since(server: Answering) -> None:
    server.status, server.body = 410, b'{"kind": "Status", "reason": "Expired", "message": "too old resource version"}'

    server.api().wait(JOBS, "here", "one", 60)

    assert [(verb, path) for verb, path, _ in server.asked] == [("GET", JOBS)]


@pytest.mark.parametrize(
    ("status", "body", "error", "said"),
    [
        (200, b"<html>Sign in</html>", ClusterRejected, "is no Kubernetes API server"),
        (200, b"[]", ClusterRejected, "is no Kubernetes API server"),
        (302, b"<html>Sign in</html>", ClusterRejected, "is no Kubernetes API server"),
        (401, b"", ClusterRejected, "does not accept the credentials"),
        (403, b'{"reason": "Forbidden", "message": "jobs is forbidden"}', ClusterRejected, "refused: jobs is forbidden."),
        (409, b'{"reason": "Conflict", "message": "it changed"}', ClusterConflict, "conflict: it changed."),
        (503, b"<html>no backend</html>", ClusterUnreachable, "answered HTTP 503"),
        (408, b"<html>too slow</html>", ClusterUnreachable, "answered HTTP 408"),
        (524, b"", ClusterUnreachable, "answered HTTP 524"),
        (501, b'{"message": null}', ClusterRejected, "refused: Not Implemented"),
    ],
)
def test_what_an_answer_means(server: Answering, status: int, body: bytes, error: type[Exception], said: str) -> None:
    server.status, server.body = status, body

    with pytest.raises(error, match=said):
        server.api().find(f"{JOBS}/one")


def test_what_is_not_there(server: Answering) -> None:
    server.status, server.body = 404, b'{"reason": "NotFound", "message": "jobs one not found"}'
    api = server.api()

    assert api.find(f"{JOBS}/one") is None
    api.delete(f"{JOBS}/one")
    api.patch(f"{JOBS}/one", {}, missing_ok=True)
    with pytest.raises(ClusterRejected, match="jobs one not found"):
        api.patch(f"{JOBS}/one", {})


def test_what_was_made_by_an_earlier_attempt(server: Answering) -> None:
    server.status, server.body = 409, b'{"reason": "AlreadyExists", "message": "jobs one already exists"}'

    server.api().create(JOBS, {"metadata": {"name": "one"}})

    assert [(verb, path) for verb, path, _ in server.asked] == [("POST", JOBS)]


def test_a_log_is_text_whatever_its_bytes(server: Answering) -> None:
    server.body = b"loading \xff\n"

    assert server.api().log("/pod", tailLines="400") == "loading �\n"
    assert server.asked == [("GET", "/pod/log", {"tailLines": ["400"], "limitBytes": ["16777216"]})]


FORBIDDEN = {
    "kind": "Status",
    "reason": "Forbidden",
    "message": 'resourcequotas is forbidden: User "u" cannot list resource "resourcequotas"',
}


@pytest.mark.parametrize(
    ("namespace", "says"),
    [
        ((200, b'{"metadata": {"deletionTimestamp": "2026-11-30T19:26:37Z"}}'), "The namespace is being deleted; wait until it is gone"),
        ((200, b'{"metadata": {}}'), "The cluster refused: resourcequotas is forbidden"),
        ((403, b"{}"), "The cluster refused: resourcequotas is forbidden"),
    ],
)
def test_rights_that_went_with_their_namespace_are_not_taken_for_missing_ones(
    server: Answering, namespace: tuple[int, bytes], says: str
) -> None:
    server.status, server.body = 403, json.dumps(FORBIDDEN).encode()
    server.otherwise["/api/v1/namespaces/here"] = namespace

    with pytest.raises(ClusterRejected, match=says):
        server.api().list(path_of("here", "resourcequotas"))


def test_a_namespace_that_is_going_takes_nothing(server: Answering) -> None:
    said = "pods is forbidden: unable to create new content in namespace here because it is being terminated"
    server.status, server.body = 403, json.dumps({"reason": "Forbidden", "message": said}).encode()

    with pytest.raises(ClusterRejected, match=r"^The namespace is being deleted; wait until it is gone, and install"):
        server.api().create(JOBS, {})


def test_credentials_that_are_not_accepted_are_final(server: Answering) -> None:
    server.status, server.body = 401, json.dumps({"reason": "Unauthorized", "message": "Unauthorized"}).encode()

    with pytest.raises(ClusterRejected, match=r"HTTP 401.*revoked or has expired, so renew it"):
        server.api().list(JOBS)


def test_a_certificate_of_another_authority_is_final(tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as http:
        http.socket = context.wrap_socket(http.socket, server_side=True)
        http.handle_error = lambda *_: None  # type: ignore[method-assign]  # the client hangs up
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        tls = ssl.create_default_context(cafile=tmp_path / "ca.pem")
        pool = urllib3.PoolManager(ssl_context=tls)
        access = ClusterAccess(host=f"https://127.0.0.1:{http.server_port}", tls=tls, pool=pool, authorization=lambda: None)

        with pytest.raises(ClusterRejected, match=r"is not trusted .*another authority than the one that signed it.*renew the kubeconfig"):
            KubernetesApi(access, 5.0).list(JOBS)
        http.shutdown()


def test_a_job_is_asked_about_by_uid_and_its_program_by_name(server: Answering) -> None:
    pods = [{"metadata": {"name": "one-x", "creationTimestamp": "2026-01-01T00:00:00Z"}}]
    server.body = json.dumps({"items": pods, "reason": "FailedCreate"}).encode()
    api = server.api()
    jobs = Jobs(api, Pods(api))

    jobs.log("here", "one", "prefetch", lines=1)
    server.body = b'{"items": []}'
    assert jobs.events("here", "one", "the-second") == ()

    (_, _, _), (_, path, log), (_, _, events) = server.asked
    assert (path, log) == (
        "/api/v1/namespaces/here/pods/one-x/log",
        {"container": ["prefetch"], "tailLines": ["1"], "limitBytes": ["16777216"]},
    )
    assert events == {"fieldSelector": ["involvedObject.kind=Job,involvedObject.name=one,involvedObject.uid=the-second"]}
