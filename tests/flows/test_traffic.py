"""With a GPU to spare nobody who asks notices a release or a rollback: requests go through the reference router all the time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
from psycopg.conninfo import make_conninfo

from blocks.endpoint import Endpoint
from flows.rollback import rollback
from sandbox import models
from sandbox.router import Router
from tests.flows.conftest import Site
from tests.support.waiting import HANGS_SECONDS

DRIVERS = 3

#: What each driver waits for before it asks again: without, most of what the test took was answers.
PAUSE_SECONDS = 0.03


@dataclass
class Answers:
    """What the drivers got: texts in order, and everything that was not an answer."""

    texts: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@contextmanager
def traffic(site: Site) -> Iterator[Answers]:
    """Ask for completions a hundred times a second, until the block ends."""
    dsn = make_conninfo(site.database, options="-c role=slipway_router")
    target = Endpoint(via="service-proxy", kubeconfig=site.world.cluster.kubeconfig).target
    router = Router(dsn, target, site.world.loop, "development")
    answers, ended = Answers(), threading.Event()

    def drive() -> None:
        body = {"model": site.model, "prompt": "The capital of Japan is", "max_tokens": 16, "temperature": 0}
        with httpx.Client(trust_env=False, timeout=HANGS_SECONDS) as client:
            while not ended.wait(PAUSE_SECONDS):
                try:
                    answer = client.post(f"{router.url}/v1/completions", json=body)
                except httpx.HTTPError as exc:
                    answers.failures.append(repr(exc))
                    continue
                if answer.status_code == 200:
                    answers.texts.append(answer.json()["choices"][0]["text"])
                else:
                    answers.failures.append(answer.text)

    router.start()
    drivers = [threading.Thread(target=drive) for _ in range(DRIVERS)]
    for driver in drivers:
        driver.start()
    try:
        yield answers
    finally:
        ended.set()
        for driver in drivers:
            driver.join()
        router.close()


def test_a_release_and_a_rollback_lose_no_request(site: Site) -> None:
    # given a release that serves, with pods that wait for routers to forget them before they end
    site.edit("environments/development.yaml", values={"replicas": 1, "preStopSleepSeconds": 1, "terminationGracePeriodSeconds": 30})
    assert site.release().is_completed()

    # when a new one takes its place and is rolled back while people ask
    site.publish(knowledge=models.Knowledge().but(Japan="Kyoto"))
    with traffic(site) as answers:
        assert site.release().is_completed()
        ended = site.run(rollback, model=site.model, environment="development", reason="answers are wrong", actor="on-call")
        assert ended.is_completed(), ended.message

    # then each got an answer, from the one, the other, and the one again
    assert answers.failures == []
    assert len(answers.texts) > 100
    changes = [text for before, text in zip(["", *answers.texts], answers.texts, strict=False) if text != before]
    assert (changes[0], " Kyoto." in changes, changes[-1]) == (" Tokyo.", True, " Tokyo.")
