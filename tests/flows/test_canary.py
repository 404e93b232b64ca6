"""A candidate gets a share of the requests first, and the endpoint only when it did no harm; nobody who asks loses a request."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prefect.states import Cancelled, Pending

from blocks.facts.canary import Canary
from flows.release import release
from flows.rollback import rollback
from flows.sweep import sweep
from sandbox import models
from tests.flows.conftest import Site
from tests.flows.processes import executed
from tests.flows.test_doctor import doctor
from tests.flows.test_traffic import traffic
from tests.support.waiting import until

STEPS = [{"weight": 20, "minutes": 0.05}, {"weight": 60, "minutes": 0.05}, {"weight": 100}]


def canary_of(site: Site) -> Canary:
    with site.registry() as registry:
        found = registry.canaries.get(site.model, "development")
    assert found is not None
    return found


def served(site: Site) -> str:
    """The candidate that is routed to."""
    with site.registry() as registry:
        current = registry.current(site.model, "development")
    assert current is not None
    assert current.fingerprint is not None
    return current.fingerprint


def pods(site: Site) -> dict[str, str]:
    """Pod → the engine that it is of."""
    return {pod.name: pod.labels["app.kubernetes.io/instance"] for pod in site.pods() if not pod.terminating}


def test_a_canary_takes_over_by_steps_and_what_it_replaced_is_the_fastest_way_back(site: Site) -> None:
    # given a release that serves, and an environment that tries others beside it
    values: dict[str, Any] = {"replicas": 1, "preStopSleepSeconds": 1, "terminationGracePeriodSeconds": 30}
    steps = [*STEPS[:-1], {"weight": 100, "approval": True}]
    canary = {"strategy": "canary", "steps": steps, "inconclusive": "go_on", "keep_minutes": 60}
    site.edit("environments/development.yaml", values=values, rollout=canary)
    people = [{"name": site.approver("ada"), "roles": ["release-manager"], "environments": ["development"]}]
    site.edit("approvers.yaml", approvers=people)
    assert site.release(requester="zoe").is_completed()
    first, (old_pod,) = served(site), pods(site)

    # when another candidate is released while people ask
    site.publish(knowledge=models.Knowledge().but(Japan="Kyoto"))
    with traffic(site) as answers:
        run = site.start(release, model=site.model, environments=["development"], requester="zoe")
        assert site.leg(release, run).name == "Suspended"

        # then it keeps its share until somebody agrees to the last step, with no process and no lock
        waits = canary_of(site)
        assert (waits.phase, waits.weight, waits.step) == ("held", 60, 2)
        assert served(site) == first
        form = site.form(run)
        assert "step 3 of 3 (100 % of the requests)" in form
        assert "Judged by" in form
        assert site.run(sweep).is_completed()
        assert canary_of(site).phase == "held"
        assert doctor(site) == {}
        assert site.sign(run) == "ACCEPT"
        ended = site.leg(release, run)
        assert ended.is_completed(), ended.message
        granted = [event for event in site.events(run) if event.kind == "approval_granted"]
        assert [event.detail["approvers"] for event in granted] == [[site.approver("ada")]]

    # then it got its share, then all of it, and none of the requests was lost; no pod of either has started again
    assert answers.failures == []
    assert {" Tokyo.", " Kyoto."} == set(answers.texts)
    assert answers.texts[-1] == " Kyoto."
    second = served(site)
    warm = canary_of(site)
    assert (warm.phase, warm.weight, warm.stable, warm.canary) == ("warm", 0, first, second)
    both = pods(site)
    assert len(both) == 2
    assert both[old_pod] != both[next(name for name in both if name != old_pod)]

    # and going back to what stays warm starts none either
    ended = site.run(rollback, model=site.model, environment="development", reason="answers are wrong", actor="on-call")
    assert ended.is_completed(), ended.message
    assert served(site) == first
    assert site.ask("The capital of Japan is") == " Tokyo."
    assert set(pods(site)) == {old_pod}
    assert canary_of(site).phase == "ended"
    assert site.run(sweep).is_completed()
    assert set(pods(site)) == {old_pod}


@contextmanager
def telling(site: Site) -> Iterator[str]:
    """A router's metrics, by which every other request to the canary fails; where they are."""

    class Metrics(BaseHTTPRequestHandler):
        looks = 0

        def do_GET(self) -> None:
            Metrics.looks += 1
            tried, text = canary_of(site), "# TYPE slipway_router_requests counter\n"
            for candidate, outcome, each in ((tried.stable, "ok", 200), (tried.canary, "ok", 100), (tried.canary, "error", 100)):
                labels = {"model": site.model, "environment": "development", "candidate": candidate, "traffic": "live", "outcome": outcome}
                shown = ",".join(f'{name}="{value}"' for name, value in {**labels, "prompt": "<=1KiB"}.items())
                text += f"slipway_router_requests_total{{{shown}}} {each * Metrics.looks}\n"
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Metrics) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/metrics"
        finally:
            server.shutdown()


def test_whatever_ends_a_canary_the_old_one_serves_everything_or_the_new_one_does(site: Site) -> None:
    # given a canary that is to be judged for an hour
    steps = [{"weight": 50, "minutes": 60}, {"weight": 100}]
    site.edit(
        "environments/development.yaml", values={"replicas": 1, "preStopSleepSeconds": 1}, rollout={"strategy": "canary", "steps": steps}
    )
    assert site.release().is_completed()
    first, (old_pod,) = served(site), pods(site)
    with traffic(site) as answers:
        # when routers tell that it does harm
        site.publish(knowledge=models.Knowledge().but(Japan="Kyoto"))
        with telling(site) as address:
            site.edit("environments/development.yaml", rollout={"strategy": "canary", "steps": steps, "routers": [address]})
            ended = site.release()
        site.edit("environments/development.yaml", rollout={"strategy": "canary", "steps": steps})

        # then nothing of it is left, and what served was never touched
        assert (ended.name, str(ended.message).partition(":")[0]) == ("Failed", f"{site.model} in development")
        assert "the canary does harm at 50 %" in str(ended.message)
        assert " Kyoto." in answers.texts
        assert (set(pods(site)), served(site)) == ({old_pod}, first)
        over = canary_of(site)
        assert (over.phase, over.outcome, over.weight) == ("ended", "harmful", 0)
        assert sorted(site.all_statuses()) == ["failed", "ready"]

        # when another one's process is killed while it runs, and the run is cancelled
        site.publish(knowledge=models.Knowledge().but(Japan="Osaka"))
        run = site.start(release, model=site.model, environments=["development"])
        site.client.set_flow_run_state(run.id, Pending())
        with executed(run) as process:
            until(lambda: " Osaka." in answers.texts, lambda: process.poll())
        site.client.set_flow_run_state(run.id, Cancelled(), force=True)
        swept = site.run(sweep)
        assert swept.is_completed(), swept.message

        # then it is the same
        assert (set(pods(site)), served(site)) == ({old_pod}, first)
        assert (canary_of(site).phase, canary_of(site).outcome) == ("ended", "cancelled")

        # when one is killed and taken up again, and a person has seen enough
        site.publish(knowledge=models.Knowledge().but(Japan="Nara"))
        run = site.start(release, model=site.model, environments=["development"])
        site.client.set_flow_run_state(run.id, Pending())
        with executed(run) as process:
            until(lambda: " Nara." in answers.texts, lambda: process.poll())
        with site.registry() as registry:
            registry.canaries.wish(site.model, "development", "promote", reason="a fix that cannot wait", actor="on-call")
        ended = site.leg(release, run)

        # then it serves, and nothing else is there
        assert ended.is_completed(), ended.message
        assert (canary_of(site).phase, canary_of(site).outcome) == ("ended", "promoted")
        assert served(site) != first
        assert old_pod not in pods(site)
    assert answers.texts[-1] == " Nara."
    assert answers.failures == []
