"""Nodes that share: what their Jobs are told, and what is shown of it."""

from __future__ import annotations

import base64
import re
import ssl
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from flows.node.__main__ import _parser
from flows.node.sharing.secret import client_context, server_context
from flows.weights.plot import spread_plot
from flows.weights.prefetch import prefetch_files, prefetch_job
from flows.weights.secret import share_secret
from flows.weights.shared import shared_page
from tests.support.examples import candidate, environment

NODES = ("gpu-2", "gpu-1", "gpu-3")


def test_each_job_finds_the_others_by_name_and_knows_them_by_a_mounted_secret() -> None:
    where = environment(prefetch=replace(environment().prefetch, share=True, share_mbit=400))
    jobs = [prefetch_job(candidate(), where, node, "run", "hub", nodes=NODES) for node in NODES]

    options = [_parser().parse_args(job["spec"]["template"]["spec"]["containers"][0]["args"]) for job in jobs]
    assert [each.share_rank for each in options] == [1, 0, 2]  # the same for each of them, in whatever order they are made
    assert {each.share_nodes for each in options} == {3}
    assert {each.share_bind for each in options} == {("$(POD_IP)", 8444)}
    (place,) = {tuple(each.share_with) for each in options}
    (group,) = {job["spec"]["template"]["metadata"]["labels"]["slipway.dev/group"] for job in jobs}
    assert place == ((f"{group}.{where.namespace}.svc", 8444),)
    assert {each.share_mbit for each in options} == {400}
    for job, each in zip(jobs, options, strict=True):
        pod = job["spec"]["template"]["spec"]
        (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "share"]
        (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "share"]
        assert volume["secret"]["secretName"] == group
        assert Path(mount["mountPath"]) == each.share_secret


def test_one_node_and_an_environment_that_does_not_share_are_left_as_they_are() -> None:
    sharing = environment(prefetch=replace(environment().prefetch, share=True))
    plain = prefetch_job(candidate(), environment(), "gpu-1", "run", "hub")

    assert prefetch_job(candidate(), sharing, "gpu-1", "run", "hub", nodes=("gpu-1",)) == plain
    assert prefetch_job(candidate(), environment(), "gpu-1", "run", "hub", nodes=("gpu-1", "gpu-2")) == plain
    assert "share" not in prefetch_files(candidate())["request.json"]


def test_the_key_is_another_each_time_and_its_own_authority(tmp_path: Path) -> None:
    first, second = share_secret(), share_secret()

    assert first["tls.key"] != second["tls.key"]
    for name, text in first.items():
        (tmp_path / name).write_text(text)
    for context in (client_context(tmp_path), server_context(tmp_path)):
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert len(context.get_ca_certs()) == 1


def test_the_page_says_who_brought_what_to_whom() -> None:
    page = str(
        shared_page(
            {
                "gpu-2": {"hub_bytes": 0, "peer_bytes": {"0": 30_000_000}},
                "gpu-1": {"hub_bytes": 30_000_000, "peer_bytes": {}},
                "gpu-3": {"hub_bytes": 10_000_000, "peer_bytes": {"0": 5_000_000, "1": 15_000_000, "9": 1}},
            },
            ["gpu-1", "gpu-2", "gpu-3", "gpu-4"],
        )
    )

    assert "The hub sent 40.0 MB, the nodes 50.0 MB to each other." in page
    assert "| gpu-3 | 10.0 MB | gpu-1 5.0 MB, gpu-2 15.0 MB |" in page
    assert "| gpu-1 | 30.0 MB | – |" in page
    # and the picture is of the same: the longest bars reach the edge, and what came from others begins where the hub's ends
    (address,) = re.findall(r"!\[Bytes of each node [^]]*\]\(data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)\)", page)
    drawn = ElementTree.fromstring(base64.b64decode(address))  # noqa: S314
    bars = [(float(each.get("x", 0)), float(each.get("width", 0))) for each in drawn.findall(".//{*}rect") if each.get("height") == "18.00"]
    assert bars == [(190, 590), (780, 0), (190, 0), (190, 590), (190, 196.67), (386.67, 393.33)]
    names = [each.text for each in drawn.findall(".//{*}text") if each.get("text-anchor") == "end"]
    assert names == ["gpu-1", "gpu-2", "gpu-3"]


def test_a_name_that_others_gave_is_text_in_the_picture() -> None:
    drawn = spread_plot({"<script>&": (1, {})})

    assert "<script>" not in drawn
    assert [each.text for each in ElementTree.fromstring(drawn).findall(".//{*}text")][2] == "<script>&"  # noqa: S314
