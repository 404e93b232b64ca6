"""A sample of `make chaos`: runs are killed in the middle of a write, picked up, and leave everything in order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from kubernetes.client import BatchV1Api
from kubernetes.config import new_client_from_config
from prefect.settings import PREFECT_HOME

from sandbox.serving import LoopThread
from sandbox.world import World
from tests.chaos.happenings import Machines
from tests.chaos.invariants import broken
from tests.chaos.lane import Lane, open_lane
from tests.chaos.legs import Zygote
from tests.chaos.points import Point
from tests.chaos.scenarios import Back, First, Result


@pytest.fixture
def lane(world: World, prefect_deployments: dict[str, UUID], tmp_path: Path) -> Iterator[Lane]:
    """A lane whose tasks wait as long as Helm's record of a killed operation needs to be taken for dead."""
    patience = {"SLIPWAY_RETRY_SECONDS": "1,1,1,1,1,1"}
    with (
        Zygote(patience) as zygote,
        LoopThread("chaos") as loop,
        open_lane(Machines(world=world), prefect_deployments, zygote, loop, PREFECT_HOME.value(), tmp_path) as lane,
    ):
        yield lane


def test_what_is_killed_in_the_middle_of_a_write_is_taken_up_where_it_was(lane: Lane) -> None:
    # a first release, when Helm has changed the cluster and not yet its own record
    release = First(lane)
    _holds(release.try_out(Point(name="install", what="helm PATCH deployments", moment="after")))
    # the next one, when it is about to be recorded as ready
    _holds(release.try_out(Point(name="release", what="COMMIT ready_entry")))
    # and the way back, when it has been recorded and the run does not know it
    back = Back(lane)
    _holds(back.try_out(Point(name="rollback", what="COMMIT ready_entry", moment="after")))

    # what is not in order is seen, too
    assert back.last is not None
    site, (run, intended) = lane.site, back.last
    with site.registry() as registry:
        registry.locks.take(site.model, "development", "a run that is gone")
    with new_client_from_config(str(site.world.cluster.kubeconfig)) as api:
        container = {"name": "none", "image": "none"}
        job = {
            "metadata": {"name": "left-behind"},
            "spec": {"suspend": True, "template": {"spec": {"containers": [container], "restartPolicy": "Never"}}},
        }
        BatchV1Api(api).create_namespaced_job(f"development-{site.name}", job)
    assert set(broken(lane.look("development", run), intended)) == {"no_lock", "no_orphan_job"}


def _holds(result: Result) -> None:
    assert result.invariants == {}, result
