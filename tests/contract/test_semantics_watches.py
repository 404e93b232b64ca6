"""Watches that resume, selections that change, pages of one moment, and history that is gone."""

from __future__ import annotations

import json
from typing import Any

from tests.contract.conftest import Api
from tests.support.waiting import HANGS_SECONDS

JSON = dict[str, Any]


def configmap(name: str, **more: Any) -> JSON:
    return {"metadata": {"name": name, **more}}


def events(api: Api, count: int, **query: str) -> list[JSON]:
    """The first events of a watch on ConfigMaps; the service account's certificate is no part of any test."""
    selector = {"fieldSelector": "metadata.name!=kube-root-ca.crt"}
    found: list[JSON] = []
    with api.http.stream("GET", api.path("configmaps"), params={"watch": "true", **selector, **query}, timeout=HANGS_SECONDS) as response:
        for line in response.iter_lines():
            found.append(json.loads(line))
            if len(found) == count:
                break
    return found


def test_watch_resumes_where_it_ended(api: Api) -> None:
    # Given a change that a watcher has seen, and two that it missed
    seen = api.made("configmaps", configmap("a"))
    api.patch("configmaps", "a", {"data": {"k": "v"}})
    api.delete("configmaps", "a")
    # When it watches from the version it knows
    missed = events(api, 2, resourceVersion=seen["metadata"]["resourceVersion"])
    # Then it gets exactly those two
    assert [(event["type"], event["object"].get("data")) for event in missed] == [("MODIFIED", {"k": "v"}), ("DELETED", {"k": "v"})]


def test_watch_with_selector_sees_objects_come_and_go(api: Api) -> None:
    start = api.made("configmaps", configmap("a", labels={"in": "no"}))["metadata"]["resourceVersion"]
    api.patch("configmaps", "a", {"metadata": {"labels": {"in": "yes"}}})
    api.patch("configmaps", "a", {"metadata": {"labels": {"in": "no"}}})
    found = events(api, 2, resourceVersion=start, labelSelector="in=yes")
    assert [event["type"] for event in found] == ["ADDED", "DELETED"]


def test_history_that_was_compacted_is_gone(api: Api) -> None:
    # Given a version and a page from before the history was forgotten
    for name in ("a", "b"):
        api.made("configmaps", configmap(name))
    page = api.get("configmaps", limit="1").json()
    api.made("configmaps", configmap("c"))
    api.server.store.compact()
    # When one goes on from there
    error = events(api, 1, resourceVersion=page["metadata"]["resourceVersion"])[0]
    rest = api.get("configmaps", limit="1", **{"continue": page["metadata"]["continue"]})
    # Then both are told that it is too old
    assert (error["type"], error["object"]["code"], error["object"]["reason"]) == ("ERROR", 410, "Expired")
    assert (rest.status_code, rest.json()["reason"]) == (410, "Expired")


def test_pages_show_one_moment(api: Api) -> None:
    # Given a list that is read in pages
    for name in ("a", "b", "c"):
        api.made("configmaps", configmap(name, labels={"l": "1"}))
    page = api.get("configmaps", limit="2", labelSelector="l=1").json()
    # When objects come and go between the pages
    api.delete("configmaps", "c")
    api.made("configmaps", configmap("d", labels={"l": "1"}))
    rest = api.get("configmaps", limit="2", labelSelector="l=1", **{"continue": page["metadata"]["continue"]}).json()
    # Then the later page still shows what was there at the first
    assert [item["metadata"]["name"] for item in page["items"] + rest["items"]] == ["a", "b", "c"]
    assert "continue" not in rest["metadata"]
